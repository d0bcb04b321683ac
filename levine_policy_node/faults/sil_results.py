# SPDX-License-Identifier: Apache-2.0
"""What trials with real processes found, from the file that they wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from levine_policy_node.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SilResult:
    """All trials of one case with real processes.

    Attributes:
        rows: Hazards it belongs to.
        name: Of the case.
        injection: What was done, in words.
        trials: How many there were; 0 if it could not run.
        failed: How many failed.
        p99_ms: 99th percentile of the reactions; None where nothing had to happen.
        most_ms: Longest of them.
        limit_ms: What is allowed.
    """

    rows: tuple[int, ...]
    name: str
    injection: str
    trials: int
    failed: int
    p99_ms: float | None
    most_ms: float | None
    limit_ms: float | None

    def entry(self, row: int, hazard: str) -> dict[str, Any]:
        """As `levine faults --json` writes it, for one of its rows."""
        return {
            "row": row,
            "name": self.name,
            "hazard": hazard,
            "where": "sil",
            "trials": self.trials,
            "failed": self.failed,
            "reaction_ms": {"p99": self.p99_ms, "max": self.most_ms},
            "limit_ms": self.limit_ms,
            "covered": self.trials > 0,
            "note": self.injection,
        }


def read_sil_results(path: Path) -> tuple[SilResult, ...]:
    """Read what `--json` of the trials with real processes wrote.

    Raises:
        ConfigError: If the file cannot be read or is none of these.
    """
    try:
        cases = json.loads(path.read_text())["cases"]
        return tuple(
            SilResult(
                tuple(int(row) for row in case["rows"]),
                str(case["name"]),
                str(case["injection"]),
                int(case["trials"]),
                int(case["failed"]),
                case["reaction_ms_p99"],
                case["reaction_ms_max"],
                case["limit_ms"],
            )
            for case in cases
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            str(path),
            "cases",
            f"expected results of trials with real processes, found {error!r}",
            "Write it with `levine bench sil --json FILE`",
        ) from error
