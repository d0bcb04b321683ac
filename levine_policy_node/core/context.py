# SPDX-License-Identifier: Apache-2.0
"""What goes into an observation beside the newest frames and joints: goals and the past."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from levine_policy_node.core.alignment import (
    Problem,
    StreamFault,
    joint_samples,
    observation_of,
)
from levine_policy_node.core.history import History
from levine_policy_node.core.observation import Frame, JointSample, Observation
from levine_policy_node.core.units import NS_PER_S, StampNs


@dataclass(frozen=True, slots=True)
class ContextNeeds:
    """What a policy sees beside the present.

    Attributes:
        goals: Cameras whose newest image shows what is wanted, however old; whether it may be
            missing.
        past_steps: How many moments it sees, the present one included.
        past_cameras: Cameras whose past it sees, too.
        period_s: Time between moments [s].
    """

    goals: Mapping[str, bool] = field(default_factory=dict[str, bool])
    past_steps: int = 1
    past_cameras: tuple[str, ...] = ()
    period_s: float = 0.1

    @property
    def past_s(self) -> float:
        """How far back it sees [s]."""
        return (self.past_steps - 1) * self.period_s


def goal_frames(
    goals: Mapping[str, bool], cameras: Mapping[str, History[Frame]]
) -> dict[str, Frame] | StreamFault:
    """The newest image of every goal, or the first that must not be missing and is.

    Args:
        goals: Whether each may be missing, by camera.
        cameras: Frames of every goal.
    """
    frames: dict[str, Frame] = {}
    for name, optional in goals.items():
        newest = cameras[name].newest
        if newest is not None:
            frames[name] = newest
        elif not optional:
            return StreamFault(f"camera {name}", Problem.MISSING)
    return frames


def past_observations(
    now_ns: StampNs,
    needs: ContextNeeds,
    cameras: Mapping[str, History[Frame]],
    joints: History[JointSample],
    max_gap_s: float,
) -> tuple[Observation, ...]:
    """What was measured at the moments before `now`, oldest first, as far back as is known.

    A frame belongs to a moment if it is at most half a period away from it.

    Args:
        now_ns: Reference time of the present observation [ns].
        needs: Which moments.
        cameras: Frames of `needs.past_cameras`.
        joints: Joint states.
        max_gap_s: Longest gap between joint states to interpolate over [s].
    """
    past: list[Observation] = []
    for back in range(1, needs.past_steps):
        stamp_ns = StampNs(now_ns - round(back * needs.period_s * NS_PER_S))
        frames = _frames(stamp_ns, needs, cameras)
        samples = joint_samples(joints, stamp_ns, max_gap_s) if joints.samples else None
        if frames is None or samples is None or isinstance(samples, StreamFault):
            break
        past.append(observation_of(stamp_ns, frames, samples))
    return tuple(reversed(past))


def _frames(
    stamp_ns: StampNs, needs: ContextNeeds, cameras: Mapping[str, History[Frame]]
) -> dict[str, Frame] | None:
    frames: dict[str, Frame] = {}
    for name in needs.past_cameras:
        samples = cameras[name].samples
        nearest = min(samples, key=lambda f: abs(f.stamp_ns - stamp_ns), default=None)
        reach_ns = needs.period_s * NS_PER_S / 2
        if nearest is None or abs(nearest.stamp_ns - stamp_ns) > reach_ns:
            return None
        frames[name] = nearest
    return frames
