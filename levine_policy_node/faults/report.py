# SPDX-License-Identifier: Apache-2.0
"""A campaign as a table, as JSON and as a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from levine_policy_node.bench.docs_section import machine, markdown_table
from levine_policy_node.faults.campaign import Campaign, CaseResult
from levine_policy_node.faults.hazards import HAZARDS
from levine_policy_node.faults.library import CASES, NOT_COVERED, TESTED
from levine_policy_node.faults.sil_results import SilResult

HEAD = ("row", "case", "where", "trials", "failed", "reaction p99", "max", "limit")

_INTRODUCTION = """# Faults

Every hazard a policy runtime must survive, by number, and what comes of it.

```
levine faults                                  # a short campaign, printed
levine faults --trials 100 --json faults.json  # a long one
levine faults --replay nan_again --seed 7      # one trial again, with all that happened
make faults                                    # a long one that writes this page
```

`dst` is a deterministic simulation: the production decisions (`core.supervisor.step`, and what
the executor aligns, places and merges with) run among fake processes, clocks, a bus that delays,
loses, repeats and reorders, an arm whose joints lag, and a controller that behaves as one release
of ros2_controllers does (`humble`, `jazzy`, `kilted`, `master`). Everything random is drawn from
the seed, so a trial that fails is repeated bit for bit by the command that is printed with it.
Robot, controller and what is going on when the fault comes take turns with the seed. `code` calls
the production code with seeded input; `sil` is real processes over loopback, whose results come
from `levine bench sil --json FILE` and `levine bench soak --json FILE` through `--sil FILE ...`.

Each trial is judged by its trace. Whatever the fault was, every command sent must be finite and
within position, velocity, acceleration and jerk limits, every window must end at rest, nothing
may move in a mode that does not move, and the arm must stand at the end where a stop was due. The
judge (`dst/judge.py`) shares no code with the gate. A reaction is timed from the moment the fault
is brought about, or from when it can first be seen where that is later (the second unusable
chunk, the arm beyond its tolerance, a stopped process that goes on), to the first command of the
reaction. Computing takes no time in the simulation.

What a controller makes of a clock that is set is not judged: it plays by its own clock, and skips
or repeats what it has, whatever is sent.
"""


def rows(campaign: Campaign) -> list[tuple[str, ...]]:
    """One line per case."""
    return [_line(result) for result in campaign.results]


def document(campaign: Campaign, sil: Sequence[SilResult] = ()) -> dict[str, Any]:
    """What `--json` writes.

    Args:
        campaign: What was run.
        sil: What trials with real processes found before.
    """
    shown = [_entry(result) for result in campaign.results]
    shown += [found.entry(row, HAZARDS[row].text) for found in sil for row in found.rows]
    for row, (file, what) in TESTED.items():
        shown.append({**_missing(row), "covered": True, "note": f"{file}: {what}"})
    missing = not_covered(sil)
    for row, why in missing.items():
        shown.append({**_missing(row), "note": why})
    trials = sum(result.trials for result in campaign.results)
    return {
        "cases": sorted(shown, key=lambda entry: entry["row"]),
        "trials": trials,
        "failed": sum(len(result.failures) for result in campaign.results)
        + sum(found.failed for found in sil),
        "rows_covered": len(HAZARDS) - len(missing),
        "rows": len(HAZARDS),
        "simulated_s": round(campaign.simulated_s, 1),
        "took_s": round(campaign.took_s, 1),
        "simulated_per_second": round(campaign.simulated_s / max(campaign.took_s, 1e-9), 2),
    }


def covered_rows() -> set[int]:
    """Hazards with a case that runs, or a test."""
    return {case.row for case in CASES if case.row in HAZARDS} | set(TESTED)


def not_covered(sil: Sequence[SilResult] = ()) -> Mapping[int, str]:
    """Hazards that nothing shows, and why."""
    shown = {row for found in sil if found.trials > 0 for row in found.rows}
    return {row: why for row, why in NOT_COVERED.items() if row not in shown}


def markdown(campaign: Campaign, sil: Sequence[SilResult] = ()) -> str:
    """The whole of `docs/faults.md`."""
    by_row: dict[int, list[CaseResult]] = {}
    for result in campaign.results:
        by_row.setdefault(result.case.row, []).append(result)
    lines: list[tuple[str, ...]] = []
    for row, hazard in HAZARDS.items():
        if row in by_row:
            lines += [_described(result) for result in by_row[row]]
        lines += [_with_processes(row, trials) for trials in sil if row in trials.rows]
        if row in TESTED:
            file, what = TESTED[row]
            lines.append((str(row), hazard.text, f"{what} (`{file}`)", "test", "", "", "", ""))
    missing = [
        (str(row), HAZARDS[row].text, HAZARDS[row].reaction, why)
        for row, why in sorted(not_covered(sil).items())
    ]
    found = document(campaign, sil)
    head = (
        "row",
        "hazard",
        "what is done",
        "where",
        "trials",
        "failed",
        "reaction p99 / max",
        "limit",
    )
    return (
        f"{_INTRODUCTION}\n## Shown\n\n"
        f"{found['rows_covered']} of {found['rows']} rows; {found['trials']} trials, "
        f"{found['failed']} failed; {found['simulated_s']:g} simulated seconds, "
        f"{found['simulated_per_second']:g} per second on {machine()}.\n\n"
        f"{markdown_table(head, lines)}\n{_not_shown(missing)}"
    )


def _not_shown(missing: Sequence[tuple[str, ...]]) -> str:
    if not missing:
        return ""
    head = ("row", "hazard", "what must happen", "why it is not shown")
    return (
        "\n## Not shown yet\n\n"
        "Each row says why. Nothing here is claimed to be met.\n\n"
        f"{markdown_table(head, missing)}\n"
    )


def _with_processes(row: int, found: SilResult) -> tuple[str, ...]:
    times = "" if found.most_ms is None else f"{_ms(found.p99_ms)} / {_ms(found.most_ms)}"
    return (
        str(row),
        HAZARDS[row].text,
        f"{found.injection} (`{found.name}`)",
        "sil",
        str(found.trials),
        str(found.failed),
        times,
        "" if found.limit_ms is None else _ms(found.limit_ms),
    )


def _line(result: CaseResult) -> tuple[str, ...]:
    return (
        str(result.case.row),
        result.case.name,
        result.case.where,
        str(result.trials),
        str(len(result.failures)),
        _ms(result.percentile_ms(99.0)),
        _ms(result.percentile_ms(100.0)),
        _ms(result.case.limit_ms),
    )


def _described(result: CaseResult) -> tuple[str, ...]:
    _, _, where, trials, failed, p99, most, limit = _line(result)
    case = result.case
    hazard = HAZARDS[case.row].text
    times = "" if most == "-" else f"{p99} / {most}"
    return (
        str(case.row),
        hazard,
        f"{case.injection} (`{case.name}`)",
        where,
        trials,
        failed,
        times,
        "" if limit == "-" else limit,
    )


def _entry(result: CaseResult) -> dict[str, Any]:
    case = result.case
    return {
        "row": case.row,
        "name": case.name,
        "hazard": HAZARDS[case.row].text if case.row in HAZARDS else "none",
        "where": case.where,
        "trials": result.trials,
        "failed": len(result.failures),
        "reaction_ms": {"p99": result.percentile_ms(99.0), "max": result.percentile_ms(100.0)},
        "limit_ms": case.limit_ms,
        "covered": True,
        "note": "; ".join(f"{f.where}: {f.problem} ({f.replay})" for f in result.failures[:3]),
    }


def _missing(row: int) -> dict[str, Any]:
    return {
        "row": row,
        "name": f"row_{row}",
        "hazard": HAZARDS[row].text,
        "where": HAZARDS[row].where,
        "trials": 0,
        "failed": 0,
        "reaction_ms": {"p99": None, "max": None},
        "limit_ms": None,
        "covered": False,
        "note": "",
    }


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
