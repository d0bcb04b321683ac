# SPDX-License-Identifier: Apache-2.0
"""The three rows, what they must show, and a plot of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from success import Score

BEFORE, CONTROL = "before", "control"

_RAISED, _OVER_CONTROL, _NOISE = 0.40, 0.25, 0.03
_MOST_EPISODES = 80
_HALVES = ("the half it knew", "the half it did not know")
_COLOURS = ("#999999", "#b45f06", "#6aa84f", "#0b5394")


@dataclass(frozen=True, slots=True)
class Row:
    """One policy on both halves of the table."""

    name: str
    known: Score
    new: Score


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [f"| policy | {_HALVES[0]} | {_HALVES[1]} |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {row.name} | {row.known} | {row.new} |" for row in rows)])


def verdicts(rows: Mapping[str, Row], after: str, corrected: int) -> dict[str, bool]:
    """What the example must show, and whether it does.

    Args:
        rows: By name, with `before` and `control`.
        after: Name of the policy that was trained with the corrections.
        corrected: Episodes in which the person took over.
    """
    before, control, improved = rows[BEFORE], rows[CONTROL], rows[after]
    return {
        "raised by 40 points where it failed": _points(improved, before) >= _RAISED,
        "25 points over the control": _points(improved, control) >= _OVER_CONTROL,
        "Wilson intervals apart from the control's": improved.new.interval[0]
        > control.new.interval[1],
        # A scene or two of a hundred is chance.
        "nothing lost on the half it knew": before.known.rate - improved.known.rate < _NOISE,
        "fewer than 80 episodes with an intervention": corrected < _MOST_EPISODES,
    }


def _points(improved: Row, other: Row) -> float:
    """How much more often it succeeds on the half it did not know; 0.25 however it is rounded."""
    return round(improved.new.rate - other.new.rate, 9)


def plot(rows: Sequence[Row], image_file: Path) -> Path:
    """Draw success on both halves with 95 % Wilson intervals; returns `image_file`."""
    # A backend without display; chosen here because importing pyplot fixes it.
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    width = 0.8 / len(rows)
    for number, row in enumerate(rows):
        scores = (row.known, row.new)
        places = [half + (number - (len(rows) - 1) / 2) * width for half in range(2)]
        rates = [100 * s.rate for s in scores]
        below = [r - 100 * s.interval[0] for r, s in zip(rates, scores, strict=True)]
        above = [100 * s.interval[1] - r for r, s in zip(rates, scores, strict=True)]
        axis.bar(places, rates, 0.92 * width, color=_COLOURS[number], label=row.name)
        axis.errorbar(places, rates, [below, above], fmt="none", ecolor="black", capsize=3)
    axis.set_xticks(range(2), _HALVES)
    axis.set_ylim(0, 105)
    axis.set_ylabel("success [%], 95 % Wilson interval")
    axis.set_title(f"{rows[0].new.episodes} held-out scenes on each half", fontsize=10)
    figure.legend(fontsize=9, loc="outside lower center", ncols=len(rows))
    image_file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(image_file, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    return image_file
