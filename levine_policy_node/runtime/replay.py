# SPDX-License-Identifier: Apache-2.0
"""Run the recorded observations of an episode through a policy again, without ROS.

With the bundle that was recorded, every chunk is to come out bit for bit: joint states, task, goal
and what was said to be played meanwhile are recorded as they were, noise begins with the same seed
at every reset, and what a policy remembers is made again by replaying every inference since then.
What stands in the way is told per inference: an image that is not the one that was seen, or an
inference that is missing from the recording.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.action_prefix import ActionPrefix
from levine_policy_node.core.inference_record import InferenceRecord
from levine_policy_node.core.message_bytes import TrajectoryRows
from levine_policy_node.core.observation import Observation
from levine_policy_node.core.policy import Policy
from levine_policy_node.core.units import FloatArray, StampNs
from levine_policy_node.errors import InferenceError, ObservationError, RecordingError
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.episode_reader import Episode
from levine_policy_node.runtime.recorded_observations import RecordedObservations, differences

# As config/policy_executor.param.yaml has it.
_MAX_AGE_S = 0.2


class ReplayedPolicy(Policy, Protocol):
    """A loaded policy that knows its bundle."""

    @property
    def bundle(self) -> Bundle:
        """The bundle as the robot can serve it."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ReplayedInference:
    """One recorded inference, and what the policy said to it now.

    Attributes:
        stamp_ns: Reference time of the observation.
        source: Whose it was, `policy:<name>@<hash8>#<epoch>`.
        original: Whether that is the policy that was asked now.
        told: Whether `policy/inference` was recorded for it; else the observation is what the
            streams had at that time.
        in_sequence: Whether the policy remembers what it did then: every inference since it was
            reset was replayed.
        unlike: What of the observation is not what was seen, bit for bit.
        difference: Now minus then at the times of the recorded rows that both have, shape (K, J)
            [rad] ([N m] for efforts); None without a chunk on either side.
        exact: Whether the chunk (or the failure) is the recorded one bit for bit.
        problem: Why it was not replayed or compared, or "".
    """

    stamp_ns: StampNs
    source: str
    original: bool
    told: bool
    in_sequence: bool
    unlike: tuple[str, ...] = ()
    difference: FloatArray | None = None
    exact: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _Occasion:
    """One recorded inference: what is known of it and what came of it."""

    stamp_ns: StampNs
    source: str
    record: InferenceRecord | None
    rows: TrajectoryRows | None
    task: str = ""

    @property
    def number(self) -> int | None:
        return None if self.record is None else self.record.number


def replay(episode: Episode, robot: Robot, policy: ReplayedPolicy) -> Iterator[ReplayedInference]:
    """Replay every recorded inference, in their order.

    Args:
        episode: What was recorded.
        robot: The robot it was recorded with.
        policy: Loaded for that robot.

    Raises:
        RecordingError: If no inference was recorded, or an image cannot be read.
    """
    occasions = list(_occasions(episode))
    if not occasions:
        raise RecordingError(
            f"{episode.path}: no inference of a policy was recorded (policy/inference or "
            "policy/raw_chunk), so there is nothing to replay"
        )
    made = _Replay(RecordedObservations(episode, robot), robot, policy)
    for occasion in occasions:
        yield made.run(occasion)


class _Replay:
    """Keeps account of whether the policy remembers what it did then."""

    def __init__(
        self, observations: RecordedObservations, robot: Robot, policy: ReplayedPolicy
    ) -> None:
        self._observations = observations
        self._robot = robot
        self._policy = policy
        self._source = ""
        self._next: int | None = None

    def run(self, occasion: _Occasion) -> ReplayedInference:
        """Reset the policy where it was reset, show it what was seen and compare."""
        if occasion.source != self._source or occasion.number == 0:
            self._policy.reset()
            self._next = 0
        self._source = occasion.source
        in_sequence = occasion.number is not None and occasion.number == self._next
        # One that is left out is never made up for: the next begins from another memory.
        self._next = None
        original = occasion.source.rpartition("#")[0] == self._policy.source
        told = occasion.record is not None
        try:
            observation = self._observation(occasion, original=original)
        except ObservationError as error:
            return ReplayedInference(
                occasion.stamp_ns, occasion.source, original, told, in_sequence, problem=str(error)
            )
        if in_sequence and occasion.number is not None:
            self._next = occasion.number + 1
        chunk, failure = self._infer(occasion, observation, original=original)
        difference, exact, problem = _compared(occasion, chunk, failure)
        return ReplayedInference(
            occasion.stamp_ns,
            occasion.source,
            original,
            told,
            in_sequence,
            () if occasion.record is None else _unlike(occasion.record, observation),
            difference,
            exact and original,
            problem,
        )

    def _observation(self, occasion: _Occasion, *, original: bool) -> Observation:
        record, document = occasion.record, self._policy.bundle.document
        cameras = [n for n in self._policy.bundle.cameras if n in self._robot.cameras]
        if record is not None:
            enough = set(cameras) <= set(record.seen.frames) and document.context.past_steps == 1
            if original or enough:
                return self._observations.seen(record)
        made = self._observations.at(occasion.stamp_ns, cameras, _MAX_AGE_S, document.context)
        return _told(made, occasion)

    def _infer(
        self, occasion: _Occasion, observation: Observation, *, original: bool
    ) -> tuple[ActionChunk | None, str]:
        # Rows of another policy's chunk are at other times.
        prefix: ActionPrefix | None = None
        if original and occasion.record is not None:
            prefix = occasion.record.prefix
        try:
            return self._policy.infer(observation, prefix), ""
        except (InferenceError, ObservationError) as error:
            return None, str(error)


def _told(observation: Observation, occasion: _Occasion) -> Observation:
    record = occasion.record
    if record is None:
        return replace(observation, task=occasion.task)
    return replace(observation, task=record.task, goal=record.goal)


def _unlike(record: InferenceRecord, observation: Observation) -> tuple[str, ...]:
    if set(record.seen.frames) != set(observation.images) or len(record.past) != len(
        observation.past
    ):
        return ("what the policy sees",)
    return differences(record, observation)


def _occasions(episode: Episode) -> Iterator[_Occasion]:
    """Every inference with its chunk; of a recording without records, every chunk.

    What a policy said only before the episode began belongs to no part of it.
    """
    start_ns = int(episode.metadata.get("start_ns") or 0)
    chunks: Mapping[tuple[str, StampNs], TrajectoryRows] = {
        (said.value.header.frame_id, said.stamp_ns): said.value for said in episode.raw_chunks
    }
    if episode.inferences:
        during = {s.value.source for s in episode.inferences if s.log_ns >= start_ns}
        for said in episode.inferences:
            record = said.value
            if record.source not in during:
                continue
            rows = chunks.get((record.source, said.stamp_ns))
            yield _Occasion(said.stamp_ns, record.source, record, rows)
        return
    for said in episode.raw_chunks:
        if said.log_ns < start_ns:
            continue
        tasks = [task.value for task in episode.tasks if task.log_ns <= said.log_ns]
        task = tasks[-1] if tasks else ""
        source = said.value.header.frame_id
        yield _Occasion(said.stamp_ns, source, None, said.value, task)


def _compared(
    occasion: _Occasion, chunk: ActionChunk | None, failure: str
) -> tuple[FloatArray | None, bool, str]:
    """Difference, whether it is exact, and why there is none."""
    record, then = occasion.record, occasion.rows
    if record is not None and record.error:
        same = failure == record.error
        return None, same, "" if same else f"then: {record.error}; now: {failure or 'a chunk'}"
    if chunk is None:
        return None, False, failure
    if then is None:
        unused = record is not None and not record.used
        return None, False, "" if unused else "its chunk was not recorded"
    efforts = chunk.efforts is not None
    now = chunk.positions if chunk.efforts is None else chunk.efforts
    rows = then.efforts if efforts else then.positions
    if set(then.names) != set(chunk.joint_names) or rows.shape[1] != len(then.names):
        return None, False, "the recorded chunk is of other joints, or of another kind"
    rows = rows[:, [then.names.index(name) for name in chunk.joint_names]]
    if now.shape == rows.shape:
        times_s = chunk.dt_s * np.arange(1, len(now) + 1)
        if np.max(np.abs(times_s - then.times_s), initial=0.0) < 1e-6:
            return now - rows, now.tobytes() == rows.tobytes(), ""
    return _at_recorded_times(chunk, now, then, rows), False, ""


def _at_recorded_times(
    chunk: ActionChunk, now: FloatArray, then: TrajectoryRows, rows: FloatArray
) -> FloatArray | None:
    """The difference where both chunks have rows, linear between the rows of the new one."""
    times_s = chunk.dt_s * np.arange(1, len(now) + 1)
    both = (then.times_s >= times_s[0] - 1e-9) & (then.times_s <= times_s[-1] + 1e-9)
    if not np.any(both):
        return None
    columns = [np.interp(then.times_s[both], times_s, now[:, j]) for j in range(now.shape[1])]
    return np.stack(columns, axis=1) - rows[both]
