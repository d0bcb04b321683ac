# SPDX-License-Identifier: Apache-2.0
"""One recorded episode as a value: what it is of, when it starts and ends, how it went.

The recorder follows the supervisor's modes. An episode opens when the arm is handed from rest
(ARMED or PAUSED) to a policy or a person, and closes on DISARMED; holds, stops and faults between
belong to it. Its outcome is what a person or a test says; an episode that a latch ended, and that
nobody judged, counts as aborted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

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
        discarded: Marked as not to be used; never deleted.
        interventions: How often a person took over.
        policies: Every `<name>@<hash8>` that proposed motion, in order.
    """

    index: int
    provenance: Provenance
    start_ns: StampNs
    end_ns: StampNs | None = None
    outcome: Outcome = "unknown"
    outcome_source: str = ""
    outcome_ns: StampNs | None = None
    discarded: bool = False
    interventions: int = 0
    policies: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the episode's directory and file."""
        return f"ep_{self.index:06d}"

    @property
    def duration_s(self) -> float:
        """Length [s]; 0 while open."""
        return 0.0 if self.end_ns is None else seconds(self.end_ns - self.start_ns)

    def entered(self, mode: str, now_ns: StampNs) -> Episode:
        """Note a new supervisor mode: takeovers count, a latch aborts what nobody judged."""
        if mode == "HUMAN":
            return replace(self, interventions=self.interventions + 1)
        if mode in LATCHED_MODES and self.outcome == "unknown":
            return self.marked("aborted", f"mode {mode}", now_ns)
        return self

    def proposed_by(self, source: str) -> Episode:
        """Note the source tag of a chunk."""
        policy = policy_of_tag(source)
        if policy is None or policy in self.policies:
            return self
        return replace(self, policies=(*self.policies, policy))

    def instructed(self, task: str) -> Episode:
        """Note the language instruction; the newest one holds."""
        return replace(self, provenance=replace(self.provenance, task=task))

    def marked(self, outcome: Outcome, source: str, now_ns: StampNs) -> Episode:
        """Judge the episode; the newest judgement holds."""
        return replace(self, outcome=outcome, outcome_source=source, outcome_ns=now_ns)

    def set_aside(self) -> Episode:
        """Mark the episode as not to be used."""
        return replace(self, discarded=True)

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
            "outcome_ns": self.outcome_ns,
            "autonomous_success": self.outcome == "success" and self.interventions == 0,
            "discarded": self.discarded,
            "interventions": self.interventions,
            "policy": {"name": made.policy, "sha256": made.policy_sha256},
            "policies": list(self.policies),
            "robot": {"name": made.robot, "sha256": made.robot_sha256},
            "seed": made.seed,
            "task": made.task,
            "operator": made.operator,
            "software": made.software,
        }
