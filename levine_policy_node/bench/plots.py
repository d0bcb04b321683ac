# SPDX-License-Identifier: Apache-2.0
"""A picture of the seam benchmark: the same two seconds by several executors, and all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from levine_policy_node.bench.chunk_stream import PolicyStream, StreamSpec
from levine_policy_node.bench.chunks import PREFIX, Row, play_executor

_SHOWN = {
    "linear, played from arrival": "#cc0000",
    "Isaac ROS Deploy chunk_sampler": "#e69138",
    "axol align + ensemble + filter": "#6aa84f",
    "levine blend + smoothing 60 ms": "#0b5394",
}
_SECONDS = 2.0
_OURS, _THEIRS = "#0b5394", "#b45f06"


def plot_chunks(rows: Sequence[Row], image_file: Path) -> Path:
    """Draw the commands of one joint, and jerk against error of every executor.

    Args:
        rows: One row per executor, of one policy rate and latency.
        image_file: Where to; written anew.

    Returns:
        `image_file`.
    """
    # A backend without display; chosen here because importing pyplot fixes it.
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    spec = StreamSpec(
        policy_hz=float(rows[0]["policy_hz"]),
        latency_s=float(rows[0]["latency_ms"]) / 1000.0,
        jitter_s=float(rows[0]["jitter_ms"]) / 1000.0,
    )
    figure, (above, below) = pyplot.subplots(2, 1, figsize=(11, 9), layout="constrained")
    _draw_commands(above, spec)
    _draw_scatter(below, rows)
    title = f"{spec.policy_hz:.0f} Hz policy, {rows[0]['latency_ms']:.0f} ms from observation"
    above.set_title(f"{title} to chunk, replanned at once", fontsize=10)
    image_file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(image_file, dpi=100, metadata={"Software": None})
    pyplot.close(figure)
    return image_file


def _draw_commands(axis: Any, spec: StreamSpec) -> None:
    """One joint, as it should move and as it is commanded."""
    motion = PolicyStream(spec, 0).motion
    for name, colour in _SHOWN.items():
        played = play_executor(name, spec, 0, _SECONDS)
        axis.plot(played.times_s, played.commands[:, 0], color=colour, lw=1.3, label=name)
        if name.startswith(PREFIX):
            truth = motion.arm(played.times_s)[:, 0]
            axis.plot(played.times_s, truth, color="black", lw=1.0, ls="--", label="true motion")
    axis.set_xlabel("time [s]")
    axis.set_ylabel("joint_0 [rad]")
    axis.legend(fontsize=8)


def _draw_scatter(axis: Any, rows: Sequence[Row]) -> None:
    """Down and to the left is better; the points are numbered, the list beside names them."""
    for number, row in enumerate(rows, 1):
        error, jerk = float(row["rmse_mrad"]), float(row["rms_jerk"])
        name = str(row["executor"])
        colour = _OURS if name.startswith(PREFIX) else _THEIRS
        axis.plot(error, jerk, "o", color=colour, label=f"{number}  {name}")
        # Neighbours are often close, so their numbers alternate between above and below.
        axis.annotate(
            str(number),
            (error, jerk),
            xytext=(0, 6 if number % 2 else -6),
            textcoords="offset points",
            ha="center",
            va="bottom" if number % 2 else "top",
            fontsize=8,
            color=colour,
        )
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.margins(0.08)
    axis.set_xlabel("RMSE against the true motion [mrad]")
    axis.set_ylabel("RMS jerk [rad/s³]")
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, handlelength=0.8)
    axis.grid(visible=True, which="major", alpha=0.3)
