# SPDX-License-Identifier: Apache-2.0
"""What was done about each observation of a recording: commanded, proposed, wanted, and by whom.

All of it at the time of the action, which is one period after the reference time of the
observation: the runtime plays row i of a chunk `(i + 1) / fps` after it (`core.action_chunk`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.handovers import ModeChange, mode_changes, modes_alone
from levine_policy_node.core.labels import (
    VERDICT_EVENTS,
    ControlSource,
    Verdict,
    altered,
    control_source,
    newest_before,
    phases,
    verdict_flags,
)
from levine_policy_node.core.observation_grid import ObservedGrid
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import NS_PER_S, BoolArray, FloatArray, StampNs, nanoseconds
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.episode_reader import Episode
from levine_policy_node.runtime.recorded_streams import JointTrack

IntArray = npt.NDArray[np.int64]

_LONGEST_GAP_S = 0.1
"""Between commands that may be interpolated, and age of what a person wants."""
_SAME_RAD = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Acts:
    """What was done about N observations; see the module.

    Attributes:
        action_ns: Time of each action (N,).
        executed: Commands (N, J) [rad], NaN where there is none.
        source: `ControlSource` of each (N,).
        tags: Source tag of each.
        phase: `Phase` (N,).
        proposed: What the policy proposes (N, J) [rad], NaN where it is not known.
        wanted: Where the person wants the arm (N, J) [rad], likewise, joint by joint.
        verdict: `Verdict` (N,).
    """

    action_ns: IntArray
    executed: FloatArray
    source: IntArray
    tags: Sequence[str]
    phase: IntArray
    proposed: FloatArray
    wanted: FloatArray
    verdict: IntArray


def acts_of(episode: Episode, robot: Robot, grid: ObservedGrid, fps: int) -> Acts:
    """What was done about these observations."""
    times = grid.stamp_ns + nanoseconds(1.0 / fps)
    names = robot.joint_names
    commands = episode.commands.track(names)
    newest = newest_before(times, commands.stamp_ns)
    tags = [commands.sources[int(i)] if i >= 0 else "" for i in newest]
    source = np.array([control_source(tag) for tag in tags], dtype=np.int64)
    executed = between(times, commands)
    asked = between(times, episode.proposals.track(names))
    proposed = proposals(episode, times, names)
    return Acts(
        action_ns=times,
        executed=executed,
        source=source,
        tags=tags,
        phase=phases(_modes(episode, times), source),
        proposed=proposed,
        wanted=_wanted(episode, times, names),
        verdict=_verdicts(episode, times, asked, executed),
    )


def between(times_ns: IntArray, track: JointTrack) -> FloatArray:
    """Positions (N, J) at these times, linear between two that are near; NaN elsewhere."""
    found = np.full((len(times_ns), track.position.shape[1]), np.nan)
    if len(track) < 2:
        return found
    after = np.clip(np.searchsorted(track.stamp_ns, times_ns), 1, len(track) - 1)
    begin, end = track.stamp_ns[after - 1], track.stamp_ns[after]
    gap = (end - begin).astype(np.float64)
    inside = (begin <= times_ns) & (times_ns <= end) & (gap <= _LONGEST_GAP_S * NS_PER_S)
    share = ((times_ns - begin) / np.maximum(gap, 1.0))[inside, None]
    low, high = track.position[after - 1][inside], track.position[after][inside]
    found[inside] = low + share * (high - low)
    return found


def held(times_ns: IntArray, track: JointTrack) -> FloatArray:
    """The newest positions (N, J) before each time if they are recent; NaN elsewhere."""
    found = np.full((len(times_ns), track.position.shape[1]), np.nan)
    if len(track) == 0:
        return found
    newest = newest_before(times_ns, track.stamp_ns)
    age_ns = times_ns - track.stamp_ns[np.maximum(newest, 0)]
    recent = (newest >= 0) & (age_ns <= _LONGEST_GAP_S * NS_PER_S)
    found[recent] = track.position[newest[recent]]
    return found


def proposals(episode: Episode, times_ns: IntArray, names: Sequence[str]) -> FloatArray:
    """What the newest chunk of the policy says for each time (N, J), also while a person drives.

    NaN where no chunk had come, or the newest one does not reach so far.
    """
    found = np.full((len(times_ns), len(names)), np.nan)
    received = np.array([chunk.log_ns for chunk in episode.chunks], dtype=np.int64)
    newest = newest_before(times_ns, received)
    for index in {int(i) for i in newest if i >= 0}:
        rows = episode.chunks[index].value
        if set(rows.names) != set(names) or rows.positions.shape[1] == 0:
            continue  # of efforts, or for another arm
        order = [rows.names.index(name) for name in names]
        first_s = float(rows.times_s[0])
        start_ns = StampNs(rows.header.stamp_ns + nanoseconds(first_s))
        offsets_s = (times_ns - start_ns) / NS_PER_S
        last_s = float(rows.times_s[-1]) - first_s
        inside = (newest == index) & (offsets_s >= 0.0) & (offsets_s <= last_s)
        if np.any(inside):
            timeline = Timeline(
                tuple(names),
                start_ns,
                rows.times_s - first_s,
                rows.positions[:, order],
                rows.velocities[:, order],
                rows.accelerations[:, order],
            )
            found[inside] = timeline.sample_each(offsets_s[inside]).position
    return found


def _wanted(episode: Episode, times_ns: IntArray, names: Sequence[str]) -> FloatArray:
    """Where the person wants the arm: what the supervisor understood, else what was sent."""
    proposals_track = episode.proposals.track(names)
    human = np.array(
        [control_source(tag) == ControlSource.HUMAN for tag in proposals_track.sources], dtype=bool
    )
    understood = held(times_ns, _part(proposals_track, human))
    sent = held(times_ns, episode.operator_targets.track(names))
    return np.where(np.isnan(understood), sent, understood)


def _part(track: JointTrack, rows: BoolArray) -> JointTrack:
    return JointTrack(
        track.log_ns[rows],
        track.stamp_ns[rows],
        track.position[rows],
        track.velocity[rows],
        track.effort[rows],
        tuple(tag for tag, chosen in zip(track.sources, rows, strict=True) if chosen),
    )


def mode_changes_of(episode: Episode) -> tuple[ModeChange, ...]:
    """The supervisor's modes from the beginning on.

    Events have the time of the tick in which the mode changed; the topic of the modes has none.
    """
    # Statuses of one message belong together: the fault that demanded a change is beside it.
    messages = groupby(episode.events, key=lambda event: (event.log_ns, event.stamp_ns))
    changes = mode_changes(
        [(int(times[1]), [event.value for event in events]) for times, events in messages]
    )
    said = modes_alone([(int(mode.log_ns), mode.value) for mode in episode.modes])
    if not changes:
        return said
    return (*(change for change in said[:1] if change.time_ns < changes[0].time_ns), *changes)


def _modes(episode: Episode, times_ns: IntArray) -> list[str]:
    changes = mode_changes_of(episode)
    newest = newest_before(times_ns, np.array([c.time_ns for c in changes], dtype=np.int64))
    return [changes[int(i)].mode if i >= 0 else "" for i in newest]


def rewards_of(episode: Episode, times_ns: IntArray) -> FloatArray | None:
    """What was given on the topic `reward` from row to row (N,); None if nothing ever was.

    Args:
        episode: The recording.
        times_ns: Times of the rows that are kept (N,); the last has all that was given after it.
    """
    given = episode.messages("reward")
    if not given:
        return None
    sums = np.zeros(len(times_ns))
    for message in given:
        row = int(np.searchsorted(times_ns, message.log_ns))
        sums[min(row, len(sums) - 1)] += _float64(message.data)
    return sums


def _float64(data: bytes) -> float:
    """The number of a serialized std_msgs/Float64, after four bytes that tell the byte order."""
    return float(np.frombuffer(data, "<f8" if data[1] == 1 else ">f8", count=1, offset=4)[0])


def _verdicts(
    episode: Episode, times_ns: IntArray, asked: FloatArray, executed: FloatArray
) -> IntArray:
    events = [event for event in episode.events if event.value.name in VERDICT_EVENTS]
    flags = verdict_flags(
        times_ns,
        np.array([event.stamp_ns for event in events], dtype=np.int64),
        np.array([VERDICT_EVENTS[event.value.name] for event in events], dtype=np.int64),
        np.array([chunk.log_ns for chunk in episode.chunks], dtype=np.int64),
    )
    flags[altered(asked, executed, _SAME_RAD)] |= Verdict.ALTERED
    return flags
