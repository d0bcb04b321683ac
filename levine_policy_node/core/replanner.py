# SPDX-License-Identifier: Apache-2.0
"""When to infer again, and from what."""

from __future__ import annotations

from levine_policy_node.core.alignment import AlignmentLimits, StreamFault, align
from levine_policy_node.core.frame_store import FrameStore
from levine_policy_node.core.history import History
from levine_policy_node.core.observation import JointSample, Observation
from levine_policy_node.core.units import StampNs

_JOINT_HISTORY = 256


class Replanner:
    """Gives one observation per period, as soon as its frames are there.

    Args:
        store: Where frames arrive.
        cameras: Cameras the policy needs.
        limits: What may go into an observation.
        period_ns: Time between two observations [ns].
        slack_ns: How much before its time a frame may be used [ns]; without it, a frame that
            comes a little early would make the policy wait for the next one.
    """

    def __init__(
        self,
        store: FrameStore,
        cameras: tuple[str, ...],
        limits: AlignmentLimits,
        period_ns: int,
        slack_ns: int,
    ) -> None:
        self._store = store
        self._cameras = cameras
        self._limits = limits
        self._wait_ns = period_ns - slack_ns
        self._joints: History[JointSample] = History()
        self._last_ns: StampNs | None = None

    def add_joint_sample(self, sample: JointSample) -> None:
        """Note a joint state."""
        self._joints = self._joints.extended(sample, _JOINT_HISTORY)

    def restart(self) -> None:
        """Let the next observation be due at once."""
        self._last_ns = None

    def is_due(self, stamp_ns: StampNs) -> bool:
        """Whether an observation of this time would be used; callable from any thread."""
        last_ns = self._last_ns
        if last_ns is None or stamp_ns < last_ns:
            return True
        return stamp_ns - last_ns >= self._wait_ns

    def observe(self, now_ns: StampNs) -> Observation | StreamFault | None:
        """The observation to infer from now; None if none is due, or why there cannot be one."""
        cameras = {name: self._store.history(name) for name in self._cameras}
        found = align(now_ns, cameras, self._joints, self._limits)
        if isinstance(found, StreamFault):
            return found
        if not self.is_due(found.stamp_ns):
            return None
        self._last_ns = found.stamp_ns
        return found
