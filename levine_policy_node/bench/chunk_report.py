# SPDX-License-Identifier: Apache-2.0
"""The seam benchmark as tables."""

from __future__ import annotations

from collections.abc import Sequence

from levine_policy_node.bench.chunks import ChunkBench, Row
from levine_policy_node.bench.docs_section import machine, markdown_table

_ARM = {
    "RMS jerk [rad/s³]": ("rms_jerk", 0),
    "RMS accel [rad/s²]": ("rms_accel", 1),
    "p99.9 accel": ("accel_p999", 0),
    "max step [mrad]": ("max_step_mrad", 1),
    "RMSE [mrad]": ("rmse_mrad", 1),
    "lag [ms]": ("lag_ms", 0),
    "shape RMSE [mrad]": ("shape_rmse_mrad", 1),
    "starved [%]": ("starved_pct", 1),
}
_GRIPPER = {
    "late, mean [ms]": ("gripper_late_ms", 0),
    "late, worst [ms]": ("gripper_worst_ms", 0),
    "neither open nor closed [ms]": ("gripper_smear_ms", 0),
    "switches for one": ("gripper_crossings", 1),
    "overshoot [%]": ("gripper_overshoot_pct", 0),
}
_INTRODUCTION = """\
One synthetic policy through our placement (`core/placement.py` and `core/merge.py`, as on the
robot) and through the rules of other projects, each rewritten in a few lines of NumPy from the
file its docstring names (`levine_policy_node/bench/peer_rules.py`, `peer_curves.py`). Six joints
move as sums of sines. A chunk covers two seconds, starts where an arm that trails its command by
60 ms was, and has a bias (15 mrad) and noise (2 mrad, standard deviations) of its own. The next
observation is made when a chunk arrives. The output is sampled at 100 Hz.

What this is not: the policy does not react to what is executed; rows that are held or jump would
be smoothed by a servo or a controller behind them; the rewrites lack each project's tuning and
threads. Use it for orders of magnitude and against regressions, not as a claim about a product.
Biases that are independent from chunk to chunk favour whoever averages chunks."""


def case_rows(rows: Sequence[Row], bench: ChunkBench) -> list[Row]:
    """The rows of the middle policy rate and latency."""
    (spec,) = bench.middle().specs()
    case = (spec.policy_hz, 1000.0 * spec.latency_s)
    return [row for row in rows if (row["policy_hz"], row["latency_ms"]) == case]


def arm_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of what the arm does."""
    return _table(rows, _ARM)


def gripper_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of what the gripper does."""
    return _table(rows, _GRIPPER)


def chunk_section(
    bench: ChunkBench, rows: Sequence[Row], ablations: Sequence[Row], command: str, image: str
) -> str:
    """The Markdown of a run.

    Args:
        bench: What was run.
        rows: Of all cases.
        ablations: Of the middle case.
        command: What to type for it.
        image: Path of the plot, relative to the document.
    """
    main = case_rows(rows, bench)
    (spec,) = bench.middle().specs()
    parts = [
        "## Seams between chunks",
        f"```\n{command}\n```",
        f"Run on {machine()}; mean of {bench.seeds} seeds of {bench.duration_s:g} s.",
        _INTRODUCTION,
        f"![Commands of one joint, and jerk against error]({image})",
        f"### {spec.policy_hz:g} Hz policy, {1000 * spec.latency_s:.0f} ± "
        f"{1000 * spec.jitter_s:.0f} ms",
        markdown_table(*arm_table(main)),
        "Ours with a part left out, in the same run (without smoothing at 20 times the limits, "
        "since the noise of the rows alone breaks them):",
        markdown_table(*arm_table(ablations)),
        "### Gripper in the same run",
        "One channel that opens and closes; each chunk predicts the switch with an error of "
        "20 ms. Ours takes 80 to 100 ms, a whole number of rows that its limits allow; the "
        "others have no limits.",
        markdown_table(*gripper_table(main)),
        "### Other policies and latencies: RMS jerk [rad/s³] / RMSE [mrad] / lag [ms]",
        markdown_table(*_cases_table(rows)),
    ]
    return "\n\n".join(parts)


def _table(
    rows: Sequence[Row], columns: dict[str, tuple[str, int]]
) -> tuple[list[str], list[list[str]]]:
    cells = [
        [str(row["executor"])]
        + [f"{float(row[key]):.{digits}f}" for key, digits in columns.values()]
        for row in rows
    ]
    return ["executor", *columns], cells


def _cases_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    cases = list(dict.fromkeys((row["policy_hz"], row["latency_ms"]) for row in rows))
    found = {(row["executor"], row["policy_hz"], row["latency_ms"]): row for row in rows}
    names = dict.fromkeys(row["executor"] for row in rows)
    cells = [
        [str(name), *(_brief(found[name, hz, latency]) for hz, latency in cases)] for name in names
    ]
    header = [f"{float(hz):.0f} Hz, {float(latency):.0f} ms" for hz, latency in cases]
    return ["executor", *header], cells


def _brief(row: Row) -> str:
    jerk, error, lag = (float(row[key]) for key in ("rms_jerk", "rmse_mrad", "lag_ms"))
    return f"{jerk:.0f} / {error:.1f} / {lag:.0f}"
