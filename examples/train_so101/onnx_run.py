# SPDX-License-Identifier: Apache-2.0
"""Run an exported graph, as the runtime does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from pipeline import Observation, preprocess

from levine_policy_node.core.units import FloatArray


class OnnxChunkPolicy:
    """A chunk policy from an ONNX file; one thread, which is fastest for so small a graph."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, seen: Observation) -> FloatArray:
        """Joint targets (16, 6) [rad]: the graph's output is relative to the measured joints."""
        front, wrist = (preprocess(frame)[None] for frame in seen.frames)
        feed = {
            "observation.state": seen.joints[None],
            "observation.images.front": front,
            "observation.images.wrist": wrist,
        }
        (action,) = self._session.run(["action"], feed)
        return np.asarray(action[0], dtype=np.float64) + seen.joints
