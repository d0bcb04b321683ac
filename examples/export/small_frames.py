# SPDX-License-Identifier: Apache-2.0
"""A recording of the Franka Research 3 with frames that fit into few network packets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from export_common import Recording, record
from hand_recording import record_hand

_STEPS, _FRAME = 5, (72, 96)


def record_small(rate: float, cameras: Sequence[str], task: str = "") -> Recording:
    """A slow motion and frames of 72 by 96 pixels; the camera `goal` shows one image.

    Args:
        rate: Of the bundle [Hz].
        cameras: Names.
        task: What the policy is told.
    """
    images = dict(record(rate, steps=_STEPS, cameras=dict.fromkeys(cameras, _FRAME)).images)
    if "goal" in images:
        images["goal"] = images["goal"][:1].repeat(_STEPS, axis=0)
    return replace(record_hand(rate, _STEPS, (), task), images=images)
