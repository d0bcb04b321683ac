# SPDX-License-Identifier: Apache-2.0
"""An episode tick by tick: who had the arm, what was asked, sent and measured."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from levine_policy_node.core import labels
from levine_policy_node.core.handovers import (
    Intervention,
    ModeChange,
    losses,
    mode_changes,
    modes_alone,
)
from levine_policy_node.core.labels import IntArray
from levine_policy_node.core.units import NS_PER_S, BoolArray, FloatArray
from levine_policy_node.runtime.episode_reader import Episode
from levine_policy_node.runtime.recorded_streams import JointTrack

_SAME = 1e-6
_NO_MODE = ""
_ENCAPSULATION = 4


@dataclass(frozen=True, slots=True, eq=False)
class EpisodeView:
    """What a person wants to know of an episode; T ticks of the supervisor, J joints.

    Attributes:
        episode: As it was read.
        joint_names: J names.
        commands: What was sent, one row per tick; times count by their stamps.
        proposals: What was asked for.
        measured: What the arm did.
        phase: `labels.Phase` of each tick (T,).
        altered: Ticks (T,) in which something else was sent than was asked for.
        deviation: Largest distance between the two for each joint (J,) [rad].
        losses: Each time a policy lost the arm.
        events: How often the supervisor said what, but for changes of mode.
        rewards: Times [ns] and values.
    """

    episode: Episode
    joint_names: tuple[str, ...]
    commands: JointTrack
    proposals: JointTrack
    measured: JointTrack
    phase: IntArray
    altered: BoolArray
    deviation: FloatArray
    losses: tuple[Intervention, ...]
    events: Counter[str]
    rewards: tuple[tuple[int, float], ...]

    def seconds(self, stamp_ns: IntArray) -> FloatArray:
        """Times [s] since the episode began."""
        return (stamp_ns - int(self.episode.start_ns)) / NS_PER_S

    def phase_at(self, stamp_ns: int) -> int:
        """`labels.Phase` at a time; PAUSED where nothing was sent."""
        at = labels.newest_before(np.array([stamp_ns]), self.commands.stamp_ns)[0]
        return int(self.phase[at]) if at >= 0 else int(labels.Phase.PAUSED)


def view_of(episode: Episode) -> EpisodeView:
    """Work out who had the arm when, and what became of what was asked.

    Raises:
        RecordingError: If a message cannot be read.
    """
    first = next(episode.commands.values(), None) or next(episode.joint_states.values(), None)
    names = first.value.names if first is not None else ()
    commands = episode.commands.track(names)
    proposals = episode.proposals.track(names)
    changes = _changes(episode)
    modes = _modes_at(commands.stamp_ns, changes)
    sources = np.array([labels.control_source(tag) for tag in commands.sources], dtype=np.int64)
    distance = _distances(commands, proposals)
    said = Counter(event.value.name for event in episode.events)
    del said["MODE"]
    return EpisodeView(
        episode,
        names,
        commands,
        proposals,
        episode.joint_states.track(names),
        labels.phases(modes, sources),
        np.asarray((distance > _SAME).any(axis=1)),
        distance.max(axis=0, initial=0.0),
        losses(changes, int(episode.end_ns)),
        said,
        _rewards(episode),
    )


def _changes(episode: Episode) -> tuple[ModeChange, ...]:
    """As the supervisor explained them, begun with the mode the episode began in."""
    seen = modes_alone((int(m.log_ns), m.value) for m in episode.modes)
    # What was said in one message belongs together: a fault and the mode it led to.
    together = groupby(episode.events, key=lambda event: int(event.stamp_ns))
    told = mode_changes((stamp_ns, [e.value for e in group]) for stamp_ns, group in together)
    if not told:
        return seen
    return (*(c for c in seen[:1] if c.time_ns < told[0].time_ns), *told)


def _modes_at(times_ns: IntArray, changes: tuple[ModeChange, ...]) -> list[str]:
    starts = np.array([c.time_ns for c in changes], dtype=np.int64)
    at = labels.newest_before(times_ns, starts)
    return [changes[int(i)].mode if i >= 0 else _NO_MODE for i in at]


def _distances(commands: JointTrack, proposals: JointTrack) -> FloatArray:
    """Distance (T, J) of each command from the proposal of the same tick; 0 without one."""
    found = np.zeros_like(commands.position)
    if not len(proposals):
        return found
    at = labels.newest_before(commands.stamp_ns, proposals.stamp_ns)
    same = (at >= 0) & (proposals.stamp_ns[at] == commands.stamp_ns)
    found[same] = np.abs(commands.position[same] - proposals.position[at[same]])
    return np.nan_to_num(found)


def _rewards(episode: Episode) -> tuple[tuple[int, float], ...]:
    """Of std_msgs/Float64, which is one number after the encapsulation."""
    return tuple(
        (m.log_ns, float(np.frombuffer(m.data, "<f8", 1, _ENCAPSULATION)[0]))
        for m in episode.messages("reward")
        if len(m.data) >= _ENCAPSULATION + 8
    )
