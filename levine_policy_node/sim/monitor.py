# SPDX-License-Identifier: Apache-2.0
"""An independent witness: counts what the arm was told and what of it broke a limit."""

from __future__ import annotations

from collections import deque

import numpy as np

from levine_policy_node.core.units import NS_PER_S, SteadyNs
from levine_policy_node.sim.limit_checks import KINDS, Findings, Kind, Violation

_GAPS_KEPT = 10_000
_PAUSE_NS = NS_PER_S // 2
_FIRST_KEPT = 10
# A controller is given its commands 40 ms ahead. One that runs in real time is never so late.
_LATE_NS = NS_PER_S // 50


class CommandMonitor:
    """Counts commands, rejections and violations since it was made."""

    def __init__(self) -> None:
        self.commands = 0
        self._rejected = 0
        self._last_rejection = ""
        self._received_ns: SteadyNs | None = None
        self._gaps_ms: deque[float] = deque(maxlen=_GAPS_KEPT)
        self._gap_max_ms = 0.0
        self._pauses = 0
        self._late = 0
        self._counts: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self._worst: dict[Kind, float] = dict.fromkeys(KINDS, 0.0)
        self._first: list[Violation] = []

    def received(self, received_ns: SteadyNs, rejection: str | None = None) -> None:
        """Count one command and when it came; half a second of silence is a pause, no gap."""
        self.commands += 1
        if rejection is not None:
            self._rejected += 1
            self._last_rejection = rejection
        if self._received_ns is not None:
            gap_ns = received_ns - self._received_ns
            if gap_ns < _PAUSE_NS:
                self._gaps_ms.append(gap_ns / 1e6)
                self._gap_max_ms = max(self._gap_max_ms, gap_ns / 1e6)
            else:
                self._pauses += 1
        self._received_ns = received_ns

    def was_late(self, late_ns: int) -> None:
        """The simulation itself heard a command, or began a cycle, so much too late.

        What it does then no arm would do: it has no computer of its own and waits for this one's.
        """
        self._late += late_ns > _LATE_NS

    def interrupt(self) -> None:
        """The arm was reset: silence until the next command is no gap."""
        self._received_ns = None

    def record(self, findings: Findings) -> None:
        """Add the result of one check."""
        for violation in findings.violations:
            self._counts[violation.kind] += 1
            if len(self._first) < _FIRST_KEPT:
                self._first.append(violation)
        for kind, ratio in findings.worst:
            self._worst[kind] = max(self._worst[kind], ratio)

    def counts(self) -> dict[str, str]:
        """How often commands were beyond a limit, and the simulation late, so far."""
        total = sum(self._counts.values())
        return {"limit_violations": str(total), "late": str(self._late)}

    def report(self) -> dict[str, object]:
        """Everything so far, as values JSON can hold.

        Ratios are value/limit: above 1 is a violation (for position, 1 is the end of the range
        and 0 its middle). Gaps and jitter are in [ms]; jitter is the distance of a gap from the
        median gap.
        """
        gaps = np.array(self._gaps_ms) if self._gaps_ms else np.zeros(1)
        p50, p99 = (float(value) for value in np.percentile(gaps, [50, 99]))
        jitter = np.abs(gaps - p50)
        return {
            "commands": self.commands,
            "rejected": self._rejected,
            "last_rejection": self._last_rejection,
            "pauses": self._pauses,
            "late": self._late,
            "command_gap_ms": {"p50": p50, "p99": p99, "max": self._gap_max_ms},
            "command_jitter_ms_p99": float(np.percentile(jitter, 99)),
            "limit_violations": dict(self._counts),
            "total_violations": sum(self._counts.values()),
            "worst_ratio": dict(self._worst),
            "first_violations": [_as_document(v) for v in self._first],
        }


def _as_document(violation: Violation) -> dict[str, object]:
    return {
        "kind": violation.kind,
        "joint": violation.joint,
        "where": violation.where,
        "time_s": violation.time_s,
        "value": violation.value,
        "limit": violation.limit if np.isfinite(violation.limit) else None,
    }
