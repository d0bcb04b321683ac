# SPDX-License-Identifier: Apache-2.0
"""Record what training makes of two frames, for the runtime's test to compare with."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from pipeline import preprocess

from levine_policy_node.sim.arm import SimArm
from levine_policy_node.sim.scene import CAMERA_NAMES, CameraRenderer
from levine_policy_node.sim.tasks import PickPlaceTask

_SIZES = ((96, 96), (128, 160))


def main() -> None:
    """Write `frame_<camera>_<height>x<width>` and `tensor_...` of every camera and size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("test/data/so101_preprocess_golden.npz"))
    out: Path = parser.parse_args().out
    arm = SimArm()
    PickPlaceTask().reset(arm, 1)
    arrays: dict[str, np.ndarray] = {}
    for height, width in _SIZES:
        renderer = CameraRenderer(height=height, width=width)
        for camera in CAMERA_NAMES:
            frame = renderer.render(camera, arm.scene_state())
            arrays[f"frame_{camera}_{height}x{width}"] = frame
            arrays[f"tensor_{camera}_{height}x{width}"] = preprocess(frame)
        renderer.close()
    np.savez_compressed(out, **arrays)


if __name__ == "__main__":
    main()
