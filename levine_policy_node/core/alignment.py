# SPDX-License-Identifier: Apache-2.0
"""One observation from streams that arrive at their own times, or the reason there is none.

The reference time is the oldest of the newest frames, so that every camera has a frame near it.
Nothing is ever made up: a stream that is missing, late or suspicious means no observation.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from levine_policy_node.core.history import History
from levine_policy_node.core.observation import Frame, JointSample, Observation
from levine_policy_node.core.units import BoolArray, FloatArray, StampNs, seconds

JOINT_STATES = "joint_states"
FROZEN_FRAMES = 3
"""So many bit-identical frames in a row are none of a living camera."""

_CLOCK_TOLERANCE_S = 0.05


class Problem(Enum):
    """Why a stream cannot be used."""

    MISSING = "nothing received"
    STALE = "too old"
    AHEAD = "stamped in the future; synchronise the clocks"
    REVERSED = "stamps went back"
    FROZEN = "pixels do not change while the arm moves"
    APART = "no sample near enough to the reference time"
    REPEATED = "pixels do not change"
    DARK = "the picture is dark"
    BRIGHT = "the picture is white"
    UNIFORM = "the picture shows nothing"
    RESIZED = "frames changed their size"
    UNREADABLE = "frame dropped"
    CHATTERS = "turns to and fro faster than the arm can"
    OUT_OF_RANGE = "far beyond the range of the joint"


@dataclass(frozen=True, slots=True)
class StreamFault:
    """Why there is no observation, or no use for what the policy makes of it.

    Attributes:
        stream: `camera <name>`, `joint_states` or `policy output`.
        problem: What is wrong with it.
        age_s: Age, or distance in time, that was found [s].
        limit_s: What is allowed [s].
        detail: What was found, where that is no time.
    """

    stream: str
    problem: Problem
    age_s: float = 0.0
    limit_s: float = 0.0
    detail: str = ""

    def __str__(self) -> str:
        figures = f" ({self.age_s:.3f} s, limit {self.limit_s:.3f} s)" if self.limit_s else ""
        figures += f" ({self.detail})" if self.detail else ""
        return f"{self.stream}: {self.problem.value}{figures}"


@dataclass(frozen=True, slots=True, eq=False)
class AlignmentLimits:
    """What may go into an observation.

    Attributes:
        camera_max_age_s: Oldest frame, and furthest from the reference time [s].
        joint_max_age_s: Oldest joint state, and longest gap to interpolate over [s].
        frozen_motion_rad: A camera whose pixels stay bit-identical while an arm joint moves this
            far is frozen; a still scene is not [rad].
        arm: Which joints move what the cameras see, shape (J,).
    """

    camera_max_age_s: float
    joint_max_age_s: float
    frozen_motion_rad: float
    arm: BoolArray


def align(
    now_ns: StampNs,
    cameras: Mapping[str, History[Frame]],
    joints: History[JointSample],
    limits: AlignmentLimits,
) -> Observation | StreamFault:
    """Build the newest observation that all streams support.

    Args:
        now_ns: Present time on the ROS clock [ns].
        cameras: Frames of every camera the policy needs, by name.
        joints: Joint states.
        limits: Ages that are allowed.

    Returns:
        The observation at the reference time, or the first fault found.
    """
    fault = _check(JOINT_STATES, now_ns, joints, limits.joint_max_age_s)
    for name, history in cameras.items():
        fault = fault or _check(f"camera {name}", now_ns, history, limits.camera_max_age_s)
    if fault is not None:
        return fault
    reference_ns = reference_time(cameras, joints)
    images: dict[str, Frame] = {}
    for name, history in cameras.items():
        frame = min(history.samples, key=lambda f: abs(f.stamp_ns - reference_ns))
        distance_s = abs(seconds(frame.stamp_ns - reference_ns))
        if distance_s > limits.camera_max_age_s:
            stream = f"camera {name}"
            return StreamFault(stream, Problem.APART, distance_s, limits.camera_max_age_s)
        if _is_frozen(history, joints, limits):
            return StreamFault(f"camera {name}", Problem.FROZEN)
        images[name] = frame
    samples = joint_samples(joints, reference_ns, limits.joint_max_age_s)
    if isinstance(samples, StreamFault):
        return samples
    return observation_of(reference_ns, images, samples)


def observation_of(
    stamp_ns: StampNs, frames: Mapping[str, Frame], samples: Sequence[JointSample]
) -> Observation:
    """What was seen at one instant, of the frames and joint states that were chosen for it.

    Args:
        stamp_ns: The instant, on the ROS clock.
        frames: Images by camera.
        samples: One or two, as `joint_samples` gives them.
    """
    state = joint_state_at(stamp_ns, samples)
    return Observation(
        stamp_ns=stamp_ns,
        joint_positions=state.positions,
        images={name: frame.pixels for name, frame in frames.items()},
        joint_velocities=state.velocities,
        joints_ns=tuple(sample.stamp_ns for sample in samples),
        frames_ns={name: frame.stamp_ns for name, frame in frames.items()},
    )


def reference_time(cameras: Mapping[str, History[Frame]], joints: History[JointSample]) -> StampNs:
    """The oldest of the newest frames; without cameras the newest joint state [ns].

    Every history must have a sample.
    """
    streams = [history.samples[-1].stamp_ns for history in cameras.values()]
    return min(streams) if streams else joints.samples[-1].stamp_ns


def joint_samples(
    joints: History[JointSample], stamp_ns: StampNs, max_gap_s: float
) -> tuple[JointSample, ...] | StreamFault:
    """The two samples around an instant, or the one that holds for it.

    Past the newest sample the last slope goes on for at most one period, since a frame may arrive
    just before the joint state of its instant; before the oldest it is held for as long.

    Args:
        joints: At least one sample.
        stamp_ns: The instant, on the ROS clock.
        max_gap_s: Longest gap between the two samples [s].
    """
    samples = joints.samples
    after = bisect_left(samples, stamp_ns, key=lambda sample: sample.stamp_ns)
    if after < len(samples) and samples[after].stamp_ns == stamp_ns:
        return (samples[after],)
    if len(samples) == 1:
        return _apart(stamp_ns, samples[0], 0.0)
    period_s = seconds(samples[-1].stamp_ns - samples[0].stamp_ns) / (len(samples) - 1)
    if after == 0:
        outside_s = seconds(samples[0].stamp_ns - stamp_ns)
        return samples[:1] if outside_s <= period_s else _apart(stamp_ns, samples[0], period_s)
    if after == len(samples):
        if seconds(stamp_ns - samples[-1].stamp_ns) > period_s:
            return _apart(stamp_ns, samples[-1], period_s)
        after -= 1
    gap_s = seconds(samples[after].stamp_ns - samples[after - 1].stamp_ns)
    if gap_s > max_gap_s:
        return StreamFault(JOINT_STATES, Problem.APART, gap_s, max_gap_s)
    return samples[after - 1 : after + 1]


def joint_state_at(stamp_ns: StampNs, samples: Sequence[JointSample]) -> JointSample:
    """Joint state at one instant: of one sample what it says, of two the line through them."""
    if len(samples) == 1:
        return JointSample(stamp_ns, samples[0].positions, samples[0].velocities)
    before, after = samples
    u = seconds(stamp_ns - before.stamp_ns) / seconds(after.stamp_ns - before.stamp_ns)
    return JointSample(
        stamp_ns,
        _between(before.positions, after.positions, u),
        None
        if before.velocities is None or after.velocities is None
        else _between(before.velocities, after.velocities, u),
    )


def _check(
    stream: str,
    now_ns: StampNs,
    history: History[Frame] | History[JointSample],
    max_age_s: float,
) -> StreamFault | None:
    newest = history.newest
    if newest is None:
        return StreamFault(stream, Problem.MISSING)
    age_s = seconds(now_ns - newest.stamp_ns)
    if age_s > max_age_s:
        return StreamFault(stream, Problem.STALE, age_s, max_age_s)
    if age_s < -_CLOCK_TOLERANCE_S:
        return StreamFault(stream, Problem.AHEAD, -age_s, _CLOCK_TOLERANCE_S)
    if history.unsettled:
        return StreamFault(stream, Problem.REVERSED)
    return None


def _is_frozen(
    frames: History[Frame], joints: History[JointSample], limits: AlignmentLimits
) -> bool:
    """Whether the arm moved through a run of bit-identical frames.

    A real camera never repeats its noise, but a rendered still scene is rightly the same.
    """
    samples = frames.samples
    run = min(samples[-1].repeats + 1, len(samples))
    if run < FROZEN_FRAMES:
        return False
    begin_ns, end_ns = samples[-run].stamp_ns, samples[-1].stamp_ns
    seen = [s.positions[limits.arm] for s in joints.samples if begin_ns <= s.stamp_ns <= end_ns]
    return bool(seen) and bool(
        np.max(np.ptp(seen, axis=0), initial=0.0) > limits.frozen_motion_rad
    )


def _apart(stamp_ns: StampNs, sample: JointSample, limit_s: float) -> StreamFault:
    distance_s = abs(seconds(stamp_ns - sample.stamp_ns))
    return StreamFault(JOINT_STATES, Problem.APART, distance_s, limit_s)


def _between(before: FloatArray, after: FloatArray, u: float) -> FloatArray:
    return before + u * (after - before)
