# SPDX-License-Identifier: Apache-2.0
"""One recorded episode as a value: what it is of, when it starts and ends, how it went.

The recorder follows the supervisor's modes. An episode opens when the arm is handed from rest
(ARMED or PAUSED) to a policy or a person, and closes on DISARMED; holds, stops and faults between
belong to it. Its outcome is what a person or a test says; an episode that a latch ended, and that
nobody judged, counts as aborted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from levine_policy_node.core.handovers import (
    Intervention,
    ModeChange,
    losses,
    modes_alone,
)
from levine_policy_node.core.units import StampNs, seconds

Outcome = Literal["success", "failure", "aborted", "unknown"]
Trigger = Literal["start", "end"]

MOVING_MODES = frozenset({"POLICY", "HUMAN"})
# DISARMED and INIT lead to motion only through ARMED, which a busy reader may have missed.
RESTING_MODES = frozenset({"INIT", "DISARMED", "ARMED", "PAUSED"})
LATCHED_MODES = frozenset({"PSTOP", "FAULT", "ESTOP"})
END_MODE = "DISARMED"

_POLICY_TAG = re.compile(r"policy:(?P<name>.+)@(?P<hash8>[0-9a-f]{8})(?:#\d+)?")


def trigger_of(previous: str | None, mode: str, *, is_open: bool) -> Trigger | None:
    """Say whether a mode change opens or closes an episode.

    Args:
        previous: The mode before, or None if this is the first one seen: a recorder that joins
            while the arm moves records the rest.
        mode: The mode now.
        is_open: Whether an episode is being recorded.
    """
    if is_open:
        return "end" if mode == END_MODE else None
    started = previous is None or previous in RESTING_MODES
    return "start" if mode in MOVING_MODES and started else None


def policy_of_tag(source: str) -> str | None:
    """Read `<name>@<hash8>` from a source tag `policy:<name>@<hash8>#<epoch>`, else None."""
    match = _POLICY_TAG.fullmatch(source)
    return f"{match['name']}@{match['hash8']}" if match else None


@dataclass(frozen=True, slots=True)
class Provenance:
    """What an episode was recorded with; known when it starts.

    Attributes:
        session: Identifier of the recorder's run.
        robot: Name in the robot file.
        robot_sha256: Hash of the robot file.
        policy: Name of the bundle, "" if only the source tags tell.
        policy_sha256: Hash of the bundle, "" if only the source tags tell.
        seed: Scene of the simulation, None on a real robot.
        task: Language instruction.
        operator: Who ran it; a pseudonym.
        software: Name and version of this package.
        site: Where; a pseudonym.
        licence: Of the recording, such as `CC-BY-4.0`.
        consent: Where the consent of people in the pictures is filed; a reference, not the form.
        notes: Anything.
        topics: Recorded topics by the relative names that nodes use.
    """

    session: str
    robot: str
    robot_sha256: str
    policy: str = ""
    policy_sha256: str = ""
    seed: int | None = None
    task: str = ""
    operator: str = ""
    software: str = ""
    site: str = ""
    licence: str = ""
    consent: str = ""
    notes: str = ""
    topics: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Episode:
    """The record of one episode; every change makes a new value.

    Attributes:
        index: Number within the session, from 0.
        provenance: What it was recorded with.
        start_ns: When recording began.
        end_ns: When recording ended, None while open.
        outcome: How it went.
        outcome_source: Who or what said so.
        outcome_ns: When it was said.
        outcome_by: Pseudonym of the person who said so, "" if it was none.
        discarded: Marked as not to be used; never deleted.
        discarded_by: Pseudonym of the person who said so.
        modes: Every mode that was seen, as (time, mode).
        changes: Mode changes as the supervisor explained them.
        policies: Every `<name>@<hash8>` that proposed motion, in order.
    """

    index: int
    provenance: Provenance
    start_ns: StampNs
    end_ns: StampNs | None = None
    outcome: Outcome = "unknown"
    outcome_source: str = ""
    outcome_ns: StampNs | None = None
    outcome_by: str = ""
    discarded: bool = False
    discarded_by: str = ""
    modes: tuple[tuple[int, str], ...] = ()
    changes: tuple[ModeChange, ...] = ()
    policies: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the episode's directory and file."""
        return f"ep_{self.index:06d}"

    @property
    def duration_s(self) -> float:
        """Length [s]; 0 while open."""
        return 0.0 if self.end_ns is None else seconds(self.end_ns - self.start_ns)

    @property
    def helped(self) -> bool:
        """Whether a person drove at any time."""
        return any(change.drives for change in self._changes)

    @property
    def _changes(self) -> tuple[ModeChange, ...]:
        """What was explained, and the mode it began with; else what was seen."""
        seen = modes_alone(self.modes)
        if not self.changes:
            return seen
        return (*(c for c in seen[:1] if c.time_ns < self.changes[0].time_ns), *self.changes)

    @property
    def losses(self) -> tuple[Intervention, ...]:
        """Each time a policy lost the arm; the last is open while the episode is."""
        changes = self._changes
        newest = max((c.time_ns for c in changes), default=int(self.start_ns))
        return losses(changes, newest if self.end_ns is None else max(newest, self.end_ns))

    @property
    def interventions(self) -> tuple[Intervention, ...]:
        """Those in which a person drove."""
        return tuple(loss for loss in self.losses if loss.corrected)

    def entered(self, mode: str, now_ns: StampNs) -> Episode:
        """Note a supervisor mode; a latch aborts what nobody judged."""
        seen = replace(self, modes=(*self.modes, (int(now_ns), mode)))
        if mode in LATCHED_MODES and self.outcome == "unknown":
            return seen.marked("aborted", f"mode {mode}", now_ns)
        return seen

    def explained(self, changes: Sequence[ModeChange]) -> Episode:
        """Note what the supervisor said of its changes of mode."""
        return replace(self, changes=(*self.changes, *changes))

    def proposed_by(self, source: str) -> Episode:
        """Note the source tag of a chunk."""
        policy = policy_of_tag(source)
        if policy is None or policy in self.policies:
            return self
        return replace(self, policies=(*self.policies, policy))

    def instructed(self, task: str) -> Episode:
        """Note the language instruction; the newest one holds."""
        return replace(self, provenance=replace(self.provenance, task=task))

    def marked(self, outcome: Outcome, source: str, now_ns: StampNs, by: str = "") -> Episode:
        """Judge the episode; the newest judgement holds."""
        judged = replace(self, outcome=outcome, outcome_source=source, outcome_ns=now_ns)
        return replace(judged, outcome_by=by)

    def set_aside(self, by: str = "") -> Episode:
        """Mark the episode as not to be used."""
        return replace(self, discarded=True, discarded_by=by)

    def ended(self, now_ns: StampNs) -> Episode:
        """Close the episode."""
        return replace(self, end_ns=now_ns)

    def document(self) -> dict[str, object]:
        """The episode as plain values, for `episode.json`."""
        made = self.provenance
        return {
            "session": made.session,
            "episode": self.index,
            "start_ns": self.start_ns,
            "end_ns": self.end_ns,
            "duration_s": self.duration_s,
            "outcome": self.outcome,
            "outcome_source": self.outcome_source,
            "outcome_by": self.outcome_by,
            "outcome_ns": self.outcome_ns,
            "autonomous_success": self.outcome == "success" and not self.helped,
            "discarded": self.discarded,
            "discarded_by": self.discarded_by,
            "interventions": len(self.interventions),
            "policy_lost_the_arm": [_plain(loss) for loss in self.losses],
            "policy": {"name": made.policy, "sha256": made.policy_sha256},
            "policies": list(self.policies),
            "robot": {"name": made.robot, "sha256": made.robot_sha256},
            "seed": made.seed,
            "task": made.task,
            "operator": made.operator,
            "software": made.software,
            "site": made.site,
            "licence": made.licence,
            "consent": made.consent,
            "notes": made.notes,
        }


def _plain(loss: Intervention) -> dict[str, object]:
    return {
        "onset_ns": loss.onset_ns,
        "human_from_ns": loss.start_ns,
        "end_ns": loss.end_ns,
        "trigger": loss.trigger.value,
        "reason": loss.reason,
        "then": loss.then,
    }
