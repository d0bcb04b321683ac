# SPDX-License-Identifier: Apache-2.0
"""What a policy would have observed at each instant of a recording.

The recording is played back into the same histories and through the same `align` as while the arm
moved: at an instant nothing counts that had not been received by then. Frames stand for themselves
by their numbers, so no picture is decoded to find out which ones are seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.alignment import AlignmentLimits, StreamFault, align
from levine_policy_node.core.history import History
from levine_policy_node.core.observation import Frame, JointSample, Observation
from levine_policy_node.core.units import NS_PER_S, FloatArray, StampNs

IntArray = npt.NDArray[np.int64]

_FRAMES, _JOINT_STATES = 16, 256
"""As many as `core.frame_store` and `core.replanner` keep."""


@dataclass(frozen=True, slots=True, eq=False)
class Arrivals:
    """When the messages of one stream were received and made.

    Attributes:
        received_ns: Shape (M,), in order.
        stamp_ns: Capture or measurement time, shape (M,).
    """

    received_ns: IntArray
    stamp_ns: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class ObservedGrid:
    """N observations.

    Attributes:
        now_ns: When each was made (N,).
        stamp_ns: Reference time of each (N,): capture of its images.
        positions: Joint state at the reference time (N, J) [rad].
        velocities: Likewise [rad/s], None if the robot does not measure them.
        frames: Number of the frame that each shows (N,), by camera.
        oldest_ns: Capture time of the oldest frame in each (N,).
        unseen: How many instants had no observation, by reason.
    """

    now_ns: IntArray
    stamp_ns: IntArray
    positions: FloatArray
    velocities: FloatArray | None
    frames: Mapping[str, IntArray]
    oldest_ns: IntArray
    unseen: Mapping[str, int]


def arrivals(received_ns: IntArray, stamp_ns: IntArray) -> Arrivals:
    """When whoever drove had these messages, by what the recorder says.

    The recorder yields to everything else, so a message may wait for it and not for the policy:
    none counts as later than the stream's usual delay after its stamp.

    Args:
        received_ns: When the recorder had each, shape (M,), in order.
        stamp_ns: Capture or measurement time, shape (M,).
    """
    usual_ns = int(np.median(received_ns - stamp_ns)) if len(stamp_ns) else 0
    likely = np.minimum(received_ns, stamp_ns + usual_ns)
    return Arrivals(np.maximum.accumulate(likely), stamp_ns)


def instants(first_ns: int, last_ns: int, fps: float) -> IntArray:
    """Times from `first_ns` to at most `last_ns` at `fps` [Hz], each rounded on its own."""
    count = int((last_ns - first_ns) * fps / NS_PER_S) + 1 if last_ns >= first_ns else 0
    return first_ns + np.rint(np.arange(count) * (NS_PER_S / fps)).astype(np.int64)


def first_instant(joints: Arrivals, cameras: Mapping[str, Arrivals]) -> int | None:
    """When to begin: half a frame after all streams are there; None if one never is.

    Instants that fell together with the arrival of frames would miss every other one by chance.
    """
    streams = [joints, *cameras.values()]
    if any(len(stream.received_ns) == 0 for stream in streams):
        return None
    begin_ns = max(int(stream.received_ns[0]) for stream in streams)
    slowest = max((_period_ns(camera) for camera in cameras.values()), default=0)
    return begin_ns + slowest // 2


def _period_ns(stream: Arrivals) -> int:
    return int(np.median(np.diff(stream.received_ns))) if len(stream.received_ns) > 1 else 0


def observed_grid(
    now_ns: IntArray,
    joint_received_ns: IntArray,
    joints: Sequence[JointSample],
    cameras: Mapping[str, Arrivals],
    limits: AlignmentLimits,
) -> ObservedGrid:
    """The observations of these instants; those without one are left out and counted.

    Args:
        now_ns: Instants (N,) in order, on the ROS clock.
        joint_received_ns: When each joint state was received (M,), in order.
        joints: M joint states.
        cameras: The frames of each camera.
        limits: Ages that are allowed.
    """
    seen: list[tuple[int, Observation]] = []
    unseen: Counter[str] = Counter()
    for time_ns, states, frames in _histories(now_ns, joint_received_ns, joints, cameras):
        found = align(StampNs(time_ns), frames, states, limits)
        if isinstance(found, StreamFault):
            unseen[f"{found.stream}: {found.problem.value}"] += 1
        else:
            seen.append((time_ns, found))
    numbers = {
        name: np.array([_number(o.images[name]) for _, o in seen], dtype=np.int64)
        for name in cameras
    }
    stamps = np.array([o.stamp_ns for _, o in seen], dtype=np.int64)
    captured = [cameras[name].stamp_ns[index] for name, index in numbers.items()]
    velocities = [o.joint_velocities for _, o in seen if o.joint_velocities is not None]
    return ObservedGrid(
        np.array([time_ns for time_ns, _ in seen], dtype=np.int64),
        stamps,
        np.array([o.joint_positions for _, o in seen]),
        np.array(velocities) if seen and len(velocities) == len(seen) else None,
        numbers,
        np.min(captured, axis=0) if captured else stamps,
        dict(unseen),
    )


_Moment = tuple[int, History[JointSample], dict[str, History[Frame]]]


def _histories(
    now_ns: IntArray,
    joint_received_ns: IntArray,
    joints: Sequence[JointSample],
    cameras: Mapping[str, Arrivals],
) -> Iterator[_Moment]:
    """What had been received at each instant."""
    states: History[JointSample] = History()
    frames: dict[str, History[Frame]] = {name: History() for name in cameras}
    state = 0
    following = dict.fromkeys(cameras, 0)
    for time_ns in now_ns.tolist():
        while state < len(joints) and joint_received_ns[state] <= time_ns:
            states = states.extended(joints[state], _JOINT_STATES)
            state += 1
        for name, camera in cameras.items():
            index = following[name]
            while index < len(camera.received_ns) and camera.received_ns[index] <= time_ns:
                frame = Frame(StampNs(int(camera.stamp_ns[index])), _token(index))
                frames[name] = frames[name].extended(frame, _FRAMES)
                index += 1
            following[name] = index
        yield time_ns, states, dict(frames)


def _token(index: int) -> npt.NDArray[np.uint8]:
    """A number in the place of pixels."""
    return np.array([index], dtype=np.int64).view(np.uint8)


def _number(token: npt.NDArray[np.uint8]) -> int:
    return int(token.view(np.int64)[0])
