# SPDX-License-Identifier: Apache-2.0
"""A picture of a replay: how far each joint's rows are from the recorded ones, over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from levine_policy_node.runtime.replay import ReplayedInference

_EXACT, _OTHER = "#38761d", "#cc0000"


def plot_replay(
    replayed: Sequence[ReplayedInference], joint_names: Sequence[str], image_file: Path
) -> Path:
    """Draw mean and range of every inference's differences; returns `image_file`."""
    # A backend without display; chosen here because importing pyplot fixes it.
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    shown = [one for one in replayed if one.difference is not None]
    begin_ns = replayed[0].stamp_ns
    times_s = [(one.stamp_ns - begin_ns) / 1e9 for one in shown]
    colours = [_EXACT if one.exact else _OTHER for one in shown]
    figure, axes = pyplot.subplots(
        len(joint_names), 1, sharex=True, squeeze=False, figsize=(11, 1.4 * len(joint_names)),
        layout="constrained",
    )  # fmt: skip
    for j, axis in enumerate(axes[:, 0]):
        columns = [one.difference[:, j] for one in shown if one.difference is not None]
        lows, highs = [np.min(c) for c in columns], [np.max(c) for c in columns]
        axis.vlines(times_s, lows, highs, colors=colours, lw=1.5)
        axis.scatter(times_s, [np.mean(c) for c in columns], c=colours, s=8)
        axis.axhline(0.0, color="#999999", lw=0.6)
        axis.set_ylabel(f"{joint_names[j]}\n[rad]", fontsize=8)
    axes[0, 0].set_title("now minus then; green: equal bit for bit", fontsize=9)
    axes[-1, 0].set_xlabel("time of the observation [s]")
    image_file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(image_file, dpi=90)
    pyplot.close(figure)
    return image_file
