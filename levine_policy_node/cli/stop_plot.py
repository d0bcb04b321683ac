# SPDX-License-Identifier: Apache-2.0
"""A picture of a stop: what was asked, sent and measured, and how old the inputs were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from levine_policy_node.core.modes import LATCHED
from levine_policy_node.core.stop_messages import ESTOP, HEARTBEAT, JOINT_STATES, TARGET
from levine_policy_node.core.stop_record import StopRecord
from levine_policy_node.core.stop_report import StopReport

_COLOURS = {"POLICY": "#d9ead3", "HUMAN": "#fff2cc", "STOPPING": "#f4cccc", "PAUSED": "#eeeeee"}
_LATCHED = "#ea9999"
_LATCHES = {mode.value for mode in LATCHED}
_AGES = {
    JOINT_STATES: "#0b5394",
    HEARTBEAT: "#e69138",
    TARGET: "#6aa84f",
    ESTOP: "#cc0000",
}
# Beyond it an age says no more.
_OLDEST_MS = 500.0


def plot_stop(record: StopRecord, report: StopReport, image_file: Path) -> Path:
    """Draw every joint and the ages of the inputs around a stop; returns `image_file`."""
    # A backend without display; chosen here because importing pyplot fixes it.
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    count = len(record.joint_names) + 1
    figure, axes = pyplot.subplots(
        count, 1, sharex=True, figsize=(11, 1.5 * count), layout="constrained"
    )
    for j, axis in enumerate(axes[:-1]):
        _draw_joint(axis, record, j)
        axis.set_ylabel(f"{record.joint_names[j]}\n[rad]", fontsize=8)
    _draw_ages(axes[-1], record)
    for axis in axes:
        _draw_modes(axis, record, report)
    axes[0].legend(loc="upper left", fontsize=8, ncols=3)
    cause, evidence = record.metadata["cause"], record.metadata["evidence"]
    axes[0].set_title(f"{cause}: {evidence}", fontsize=9)
    axes[-1].set_xlabel("time after the stop began [s]")
    image_file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(image_file, dpi=90)
    pyplot.close(figure)
    return image_file


def _draw_joint(axis: Any, record: StopRecord, j: int) -> None:
    for track, label, colour, width in (
        (record.measured, "measured", "#999999", 1.2),
        (record.proposal, "proposed", "#e69138", 2.5),
        (record.command, "sent", "#0b5394", 1.0),
    ):
        if len(track.times_s):
            axis.plot(track.times_s, track.position[:, j], color=colour, lw=width, label=label)


def _draw_ages(axis: Any, record: StopRecord) -> None:
    times = [tick["time_s"] for tick in record.ticks]
    for topic, colour in _AGES.items():
        ages = [tick["age_ms"].get(topic) for tick in record.ticks]
        if any(age is not None for age in ages):
            shown = np.array([np.nan if age is None else age for age in ages])
            axis.plot(times, np.minimum(shown, _OLDEST_MS), color=colour, lw=1.0, label=topic)
    late = np.array([tick["late_ms"] for tick in record.ticks])
    axis.plot(times, late, color="#674ea7", lw=0.8, label="lateness of the tick")
    axis.set_ylabel("age\n[ms]", fontsize=8)
    axis.legend(loc="upper left", fontsize=7, ncols=5)


def _draw_modes(axis: Any, record: StopRecord, report: StopReport) -> None:
    for begin, end, mode in _spans(record):
        colour = _COLOURS.get(mode, _LATCHED if mode in _LATCHES else "white")
        axis.axvspan(begin, end, color=colour, alpha=0.5, lw=0)
    for stop in record.end.get("stops", [{"time_ns": record.metadata["time_ns"]}]):
        later_s = (stop["time_ns"] - record.metadata["time_ns"]) / 1e9
        axis.axvline(later_s, color="#cc0000", lw=1.2)
    if report.rest_s is not None:
        axis.axvline(report.rest_s, color="#38761d", lw=1.0, ls="--")


def _spans(record: StopRecord) -> list[tuple[float, float, str]]:
    """Begin and end [s] of every mode in the file."""
    found: list[tuple[float, float, str]] = []
    for tick in record.ticks:
        time_s, mode = float(tick["time_s"]), str(tick["mode"]).partition("(")[0]
        if found and found[-1][2] == mode:
            found[-1] = (found[-1][0], time_s, mode)
        else:
            found.append((time_s, time_s, mode))
    return found
