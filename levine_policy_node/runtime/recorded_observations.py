# SPDX-License-Identifier: Apache-2.0
"""Observations of a recorded episode, put together by the code that does so while it is driven.

What is equal to what a policy saw, bit for bit: joint states always, images where the recording
holds the bytes that the policy had, which are those of a camera that publishes JPEG itself and
those of a recorder with `image_format: raw`. A JPEG that the recorder made of a raw image is not.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from levine_policy_node.core.alignment import StreamFault, joint_samples, observation_of
from levine_policy_node.core.context import ContextNeeds, past_observations
from levine_policy_node.core.history import History
from levine_policy_node.core.inference_record import InferenceRecord, SeenMoment, pixel_digest
from levine_policy_node.core.observation import Frame, JointSample, Observation
from levine_policy_node.core.units import NS_PER_S, StampNs, nanoseconds, seconds
from levine_policy_node.errors import ObservationError
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.episode_reader import Episode
from levine_policy_node.runtime.recorded_streams import ImageStream

_KEPT_FRAMES = 64
_AROUND_NS = nanoseconds(1.0)


@dataclass(frozen=True, slots=True, eq=False)
class RecordedCamera:
    """A camera of the robot file in an episode.

    Attributes:
        stream: Its images.
        exact: Whether their pixels are those that a policy saw.
        stamps_ns: `header.stamp` of each, in rising order.
        indices: Which image of the stream has it.
        delay_ns: What the robot file subtracts from stamps.
    """

    stream: ImageStream
    exact: bool
    stamps_ns: tuple[int, ...]
    indices: tuple[int, ...]
    delay_ns: int

    def at(self, header_ns: int) -> int | None:
        """The image with this `header.stamp`, None if there is none."""
        place = bisect_left(self.stamps_ns, header_ns)
        found = place < len(self.stamps_ns) and self.stamps_ns[place] == header_ns
        return self.indices[place] if found else None

    def newest(self, header_ns: int) -> tuple[int, int] | None:
        """`header.stamp` and index of the last image up to then."""
        place = bisect_right(self.stamps_ns, header_ns) - 1
        return None if place < 0 else (self.stamps_ns[place], self.indices[place])

    def nearest(self, header_ns: int) -> tuple[int, int] | None:
        """`header.stamp` and index of the image that is nearest; of two the earlier."""
        place = bisect_left(self.stamps_ns, header_ns)
        near = range(max(place - 1, 0), min(place + 1, len(self.stamps_ns)))
        best = min(near, key=lambda p: abs(self.stamps_ns[p] - header_ns), default=None)
        return None if best is None else (self.stamps_ns[best], self.indices[best])


class RecordedObservations:
    """Makes observations of an episode.

    Attributes:
        cameras: Cameras of the robot file that were recorded.

    Args:
        episode: What was recorded.
        robot: The robot it was recorded with.
    """

    def __init__(self, episode: Episode, robot: Robot) -> None:
        self._joint_names = robot.joint_names
        received = episode.joint_states.samples(robot.joint_names)
        # Of equal stamps the first counts, as while it was driven.
        states = {said.stamp_ns: said.value for said in reversed(received)}
        self._states: dict[StampNs, JointSample] = states
        self._stamps = sorted(states)
        self.cameras: dict[str, RecordedCamera] = {}
        for name, stream in robot.cameras.items():
            found = episode.camera(name, stream)
            if found is not None:
                delay_ns = nanoseconds(stream.capture_delay_s if stream.topic else 0.0)
                self.cameras[name] = _camera(*found, delay_ns)
        self._kept: OrderedDict[tuple[str, int], Frame] = OrderedDict()

    def seen(self, record: InferenceRecord) -> Observation:
        """What the policy saw at one inference.

        Raises:
            ObservationError: If an image was not recorded, or the joints are others.
            RecordingError: If an image cannot be read.
        """
        if record.joint_names != self._joint_names:
            raise ObservationError(
                f"the joints were {', '.join(record.joint_names)}, and the robot file has "
                f"{', '.join(self._joint_names)}. Give the robot file it was recorded with"
            )
        delays_ns = {name: nanoseconds(s) for name, s in record.delays_s.items()}
        return replace(
            self._moment(record.seen, delays_ns),
            task=record.task,
            goal=record.goal,
            past=tuple(self._moment(moment, delays_ns) for moment in record.past),
        )

    def at(
        self,
        stamp_ns: StampNs,
        cameras: Iterable[str],
        max_age_s: float,
        needs: ContextNeeds | None = None,
    ) -> Observation:
        """What a policy would have seen at a reference time, with everything that was recorded.

        The rule is that of `core.alignment`: the nearest frame of every camera, joint states
        interpolated. A goal is the newest image up to then.

        Args:
            stamp_ns: The reference time.
            cameras: Cameras that are seen.
            max_age_s: Furthest a frame may be from it, and longest gap between joint states [s].
            needs: What is seen beside the present.

        Raises:
            ObservationError: If something was not recorded near enough to it.
            RecordingError: If an image cannot be read.
        """
        needs = needs or ContextNeeds()
        frames: dict[str, Frame] = {}
        for name in cameras:
            frame = self._chosen(name, stamp_ns, is_goal=name in needs.goals)
            distance_s = None if frame is None else abs(seconds(frame.stamp_ns - stamp_ns))
            if name in needs.goals:
                if frame is None and not needs.goals[name]:
                    raise ObservationError(f"camera {name}: was not recorded")
            elif distance_s is None or distance_s > max_age_s:
                near = "nothing was recorded" if distance_s is None else f"{distance_s:.3f} s away"
                raise ObservationError(f"camera {name}: {near} (limit {max_age_s:g} s)")
            if frame is not None:
                frames[name] = frame
        joints = self._joints_around(stamp_ns, needs.past_s)
        if not joints.samples:
            raise ObservationError("joint_states: nothing was recorded near this time")
        samples = joint_samples(joints, stamp_ns, max_age_s)
        if isinstance(samples, StreamFault):
            raise ObservationError(str(samples))
        past = past_observations(
            stamp_ns, needs, self._past_frames(stamp_ns, needs), joints, max_age_s
        )
        return replace(observation_of(stamp_ns, frames, samples), past=past)

    def _moment(self, moment: SeenMoment, delays_ns: Mapping[str, int]) -> Observation:
        frames: dict[str, Frame] = {}
        for name, seen in moment.frames.items():
            camera = self.cameras.get(name)
            index = None if camera is None else camera.at(seen.stamp_ns + delays_ns.get(name, 0))
            if camera is None or index is None:
                raise ObservationError(f"camera {name}: the image that was seen was not recorded")
            frames[name] = self._frame(name, index, seen.stamp_ns)
        samples = [self._states[ns] for ns in moment.joints_ns if ns in self._states]
        if len(samples) != len(moment.joints_ns):
            # The recorder missed one; what was made of it is in the record, bit for bit.
            samples = [JointSample(moment.stamp_ns, moment.positions, moment.velocities)]
        return observation_of(moment.stamp_ns, frames, samples)

    def _chosen(self, name: str, stamp_ns: int, *, is_goal: bool = False) -> Frame | None:
        camera = self.cameras.get(name)
        if camera is None:
            return None
        choose = camera.newest if is_goal else camera.nearest
        found = choose(stamp_ns + camera.delay_ns)
        if found is None:
            return None
        return self._frame(name, found[1], StampNs(found[0] - camera.delay_ns))

    def _past_frames(self, stamp_ns: StampNs, needs: ContextNeeds) -> dict[str, History[Frame]]:
        """Of each camera whose past is seen, the frames nearest to its moments."""
        histories: dict[str, History[Frame]] = {}
        for name in needs.past_cameras:
            near: dict[int, Frame] = {}
            for back in range(1, needs.past_steps):
                frame = self._chosen(name, stamp_ns - round(back * needs.period_s * NS_PER_S))
                if frame is not None:
                    near[frame.stamp_ns] = frame
            histories[name] = History(tuple(near[stamp] for stamp in sorted(near)))
        return histories

    def _joints_around(self, stamp_ns: StampNs, past_s: float) -> History[JointSample]:
        begin = bisect_left(self._stamps, stamp_ns - nanoseconds(past_s) - _AROUND_NS)
        end = bisect_left(self._stamps, stamp_ns + _AROUND_NS)
        return History(tuple(self._states[stamp] for stamp in self._stamps[begin:end]))

    def _frame(self, name: str, index: int, stamp_ns: StampNs) -> Frame:
        key = name, index
        if key not in self._kept:
            self._kept[key] = Frame(stamp_ns, self.cameras[name].stream.pixels(index))
            if len(self._kept) > _KEPT_FRAMES:
                self._kept.popitem(last=False)
        return self._kept[key]


def differences(record: InferenceRecord, observation: Observation) -> tuple[str, ...]:
    """What of an observation is not what the policy saw, bit for bit; () if all is.

    Images are compared by the digests of what was seen.
    """
    found: list[str] = []
    moments = [(record.seen, observation), *zip(record.past, observation.past, strict=True)]
    for moment, made in moments:
        where = "" if moment is record.seen else " of the past"
        if moment.positions.tobytes() != made.joint_positions.tobytes():
            found.append(f"joint positions{where}")
        speeds = made.joint_velocities
        if (moment.velocities is None) != (speeds is None) or (
            moment.velocities is not None
            and speeds is not None
            and moment.velocities.tobytes() != speeds.tobytes()
        ):
            found.append(f"joint velocities{where}")
        found += [
            f"camera {name}{where}"
            for name, seen in moment.frames.items()
            if seen.digest != pixel_digest(made.images[name])
        ]
    return tuple(dict.fromkeys(found))


def _camera(stream: ImageStream, exact: bool, delay_ns: int) -> RecordedCamera:  # noqa: FBT001
    stamps = [int(stamp) for stamp in stream.stamp_ns]
    first: dict[int, int] = {}
    for index, stamp in enumerate(stamps):
        first.setdefault(stamp, index)
    rising = sorted(first)
    return RecordedCamera(
        stream, exact, tuple(rising), tuple(first[stamp] for stamp in rising), delay_ns
    )
