# SPDX-License-Identifier: Apache-2.0
"""How far a joystick, a keyboard or a tracked controller has brought the joints of an arm.

Joints are led from where the arm is told to be: `begin` says where that is, and every step after
it adds to it, so what a device does is never more than a few steps ahead of what it was asked
from. No step is faster than the joints may be, also near singularities, and one that would leave
the reach of the hand is not made.
"""

from __future__ import annotations

import numpy as np

from levine_policy_node.core.cartesian import Poses
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.rotations import to_matrices, transposed
from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import OutOfReachError
from levine_policy_node.runtime.hand_kinematics import HandKinematics

# Of the velocity limits: the supervisor follows with a lag, and must be able to catch up.
_SHARE_OF_VELOCITY = 0.7
# Longer gaps between two steps are no motion: whoever was not looked at is not followed.
_LONGEST_STEP_S = 0.1


class HandJog:
    """Joint positions that are led in small steps.

    Attributes:
        joints: Where they have been led to, shape (J,) [rad].
        problem: Why the newest step was not made, or "".
    """

    def __init__(self, limits: JointLimits, hand: HandKinematics | None) -> None:
        """Begin nowhere; `begin` comes first.

        Args:
            limits: Of the arm.
            hand: Its kinematics; None if only joints are jogged.
        """
        self._limits, self._hand = limits, hand
        self.joints: FloatArray = np.full(len(limits.names), np.nan)
        self.problem = ""
        self._tracked: tuple[Poses, Poses] | None = None

    def begin(self, commanded: FloatArray) -> None:
        """Lead from where the arm is told to be, shape (J,) [rad]."""
        self.joints = np.clip(commanded, self._limits.lower, self._limits.upper)
        self._tracked = None
        self.problem = ""

    def by_rates(self, rates: FloatArray, dt_s: float) -> None:
        """Move joints at `rates` (J,) [rad/s] for `dt_s` [s]."""
        most = _SHARE_OF_VELOCITY * self._limits.velocity
        step = np.clip(rates, -most, most) * min(dt_s, _LONGEST_STEP_S)
        self.joints = np.clip(self.joints + step, self._limits.lower, self._limits.upper)

    def by_twist(self, twist: FloatArray, dt_s: float) -> None:
        """Move the hand at `twist` (6,) [m/s, rad/s], along the axes of its base."""
        self.problem = ""
        if self._hand is None or not np.any(twist):
            return
        step = twist * min(dt_s, _LONGEST_STEP_S)
        here = self._hand.pose(self.joints)
        turn = to_matrices(step[3:], "axis_angle")
        self._reach(self._hand, Poses(here.positions + step[:3], turn @ here.rotations), dt_s)

    def by_pose(self, tracked: Poses, dt_s: float) -> None:
        """Move the hand as a controller has moved since the first call after `begin`."""
        self.problem = ""
        if self._hand is None:
            return
        if self._tracked is None:
            self._tracked = (tracked, self._hand.pose(self.joints))
        before, hand = self._tracked
        turn = tracked.rotations @ transposed(before.rotations)
        moved = hand.positions + (tracked.positions - before.positions)
        self._reach(self._hand, Poses(moved, turn @ hand.rotations), dt_s)

    def _reach(self, hand: HandKinematics, pose: Poses, dt_s: float) -> None:
        """Go towards a pose, as far as the joints may in this time."""
        row = Poses(pose.positions[None], pose.rotations[None])
        try:
            reached = hand.follow(row, self.joints, dt_s, turned=False)[0]
        except OutOfReachError as error:
            self.problem = str(error)
            return
        step = reached - self.joints[hand.joints]
        most = _SHARE_OF_VELOCITY * self._limits.velocity[hand.joints]
        times = float(np.max(np.abs(step) / (most * min(dt_s, _LONGEST_STEP_S))))
        moved = self.joints.copy()
        moved[hand.joints] += step / max(1.0, times)
        self.joints = np.clip(moved, self._limits.lower, self._limits.upper)
