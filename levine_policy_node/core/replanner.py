# SPDX-License-Identifier: Apache-2.0
"""When to infer again, and from what."""

from __future__ import annotations

from dataclasses import replace

from levine_policy_node.core.alignment import AlignmentLimits, StreamFault, align
from levine_policy_node.core.context import ContextNeeds, goal_frames, past_observations
from levine_policy_node.core.frame_store import FrameStore
from levine_policy_node.core.history import History
from levine_policy_node.core.observation import Goal, JointSample, Observation
from levine_policy_node.core.replan_rule import ReplanOptions, Requests, is_due, may_be_due
from levine_policy_node.core.units import StampNs

_JOINT_HISTORY = 256
_LONG_JOINT_HISTORY = 4096


class Replanner:
    """Gives an observation when one is due, as soon as its frames are there.

    Each observation it gives must be answered before it gives the next. `observe` and `restart`
    are called from one thread at a time; `answered` and `may_be_due` from any.

    Args:
        store: Where frames arrive.
        cameras: Cameras the policy needs.
        limits: What may go into an observation.
        options: When one is due.
        needs: What the policy sees beside the present.
    """

    def __init__(
        self,
        store: FrameStore,
        cameras: tuple[str, ...],
        limits: AlignmentLimits,
        options: ReplanOptions,
        needs: ContextNeeds | None = None,
    ) -> None:
        self._store = store
        self._needs = needs or ContextNeeds()
        self._cameras = tuple(name for name in cameras if name not in self._needs.goals)
        self._limits = limits
        self._options = options
        self._joints: History[JointSample] = History()
        self._task = ""
        self._goal: Goal | None = None
        # Two values and not one, so that no thread overwrites what another has changed.
        self._last_ns: StampNs | None = None
        self._outstanding = False

    def add_joint_sample(self, sample: JointSample) -> None:
        """Note a joint state."""
        capacity = _JOINT_HISTORY if self._needs.past_steps == 1 else _LONG_JOINT_HISTORY
        self._joints = self._joints.extended(sample, capacity)

    def tell(self, task: str, goal: Goal | None = None) -> None:
        """Note what is to be done, in words and as a place; observations have it from now on."""
        self._task, self._goal = task, goal

    def continue_from(self, other: Replanner) -> None:
        """Know the joint states that another one has seen, and the task and goal it was told."""
        self._joints = other._joints
        self._task, self._goal = other._task, other._goal

    def restart(self) -> None:
        """Let the next observation be due at once, or as soon as the last one is answered."""
        self._last_ns = None

    def answered(self) -> None:
        """Note that the observation given last has been inferred from, or was dropped."""
        self._outstanding = False

    def may_be_due(self, stamp_ns: StampNs) -> bool:
        """Whether an observation of this time might be used, or why not is to be told."""
        # After stamps that went back, none may ever be due by its time alone.
        went_back = any(self._store.history(name).unsettled for name in self._cameras)
        if went_back or self._flaw() is not None:
            return True
        return may_be_due(self._requests, stamp_ns, self._options)

    def observe(
        self, now_ns: StampNs, ends_ns: int | None = None
    ) -> Observation | StreamFault | None:
        """The observation to infer from now; None if none is due, or why there cannot be one.

        Args:
            now_ns: Present time on the ROS clock.
            ends_ns: When the timeline being played ends, None if none is.
        """
        flaw = self._flaw()
        if flaw is not None:
            return flaw
        cameras = {name: self._store.history(name) for name in self._cameras}
        found = align(now_ns, cameras, self._joints, self._limits)
        if isinstance(found, StreamFault):
            return found
        if not is_due(self._requests, found.stamp_ns, now_ns, ends_ns, self._options):
            return None
        complete = self._complete(found)
        if isinstance(complete, Observation):
            self._last_ns = found.stamp_ns
            self._outstanding = True
        return complete

    def _complete(self, found: Observation) -> Observation | StreamFault:
        """The observation with the task, goals and what was before it."""
        needs = self._needs
        goals = goal_frames(needs.goals, {n: self._store.history(n) for n in needs.goals})
        if isinstance(goals, StreamFault):
            return goals
        frames = {name: self._store.history(name) for name in needs.past_cameras}
        gap_s = self._limits.joint_max_age_s
        return replace(
            found,
            images={**found.images, **{name: goal.pixels for name, goal in goals.items()}},
            frames_ns={**found.frames_ns, **{name: g.stamp_ns for name, g in goals.items()}},
            task=self._task,
            goal=self._goal,
            past=past_observations(found.stamp_ns, needs, frames, self._joints, gap_s),
        )

    def _flaw(self) -> StreamFault | None:
        """What the newest frames of a camera show to be wrong with it."""
        flaws = (self._store.flaw(name) for name in self._cameras)
        return next((flaw for flaw in flaws if flaw is not None), None)

    @property
    def _requests(self) -> Requests:
        return Requests(self._last_ns, self._outstanding)
