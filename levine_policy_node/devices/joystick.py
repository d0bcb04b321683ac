# SPDX-License-Identifier: Apache-2.0
"""From deflections to motions, the same for every device that is pushed and not placed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from levine_policy_node.core.units import FloatArray
from levine_policy_node.devices.device import HandRates, JointRates, Motion, Speeds


def deflection(value: float, dead_zone: float) -> float:
    """A deflection of -1 to 1 without its dead zone, still from -1 to 1."""
    size = min(abs(value), 1.0)
    if size <= dead_zone:
        return 0.0
    return float(np.sign(value)) * (size - dead_zone) / (1.0 - dead_zone)


def hand_rates(linear: FloatArray, angular: FloatArray, gripper: float, speeds: Speeds) -> Motion:
    """The hand at these shares of its speeds, (3,) each; a diagonal is no faster than an axis."""
    return HandRates(
        np.concatenate([speeds.linear * _whole(linear), speeds.angular * _whole(angular)]),
        float(np.clip(gripper, -1.0, 1.0)),
    )


def joint_rates(shares: Mapping[str, float], speeds: Speeds) -> Motion:
    """Joints at these shares of the speed of joints."""
    return JointRates({name: speeds.joint * share for name, share in shares.items()})


def _whole(shares: FloatArray) -> FloatArray:
    return shares / max(1.0, float(np.linalg.norm(shares)))
