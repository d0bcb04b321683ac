# SPDX-License-Identifier: Apache-2.0
"""A picture of an episode: who had the arm, what was asked, sent and measured."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from levine_policy_node.core.labels import Phase
from levine_policy_node.runtime.episode_view import EpisodeView

COLOURS = {
    Phase.POLICY: "#d9ead3",
    Phase.HUMAN: "#fff2cc",
    Phase.PAUSED: "#eeeeee",
    Phase.HANDOVER: "#f9cb9c",
    Phase.RESET: "#cfe2f3",
}
_MOST_POINTS = 4000


def plot_episode(view: EpisodeView, image_file: Path) -> Path:
    """Draw every joint over the phases of an episode; returns `image_file`."""
    # A backend without display; chosen here because importing pyplot fixes it.
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    count = max(len(view.joint_names), 1)
    figure, axes = pyplot.subplots(
        count, 1, sharex=True, squeeze=False, figsize=(11, 1.4 * count + 1), layout="constrained"
    )
    for j, axis in enumerate(axes[:, 0]):
        _draw_joint(axis, view, j)
        _draw_phases(axis, view)
    top, bottom = axes[0, 0], axes[-1, 0]
    present = [Phase(p) for p in np.unique(view.phase)]
    patches = [Patch(color=COLOURS[p], label=p.name.lower()) for p in present]
    handles, _ = top.get_legend_handles_labels()
    top.legend(handles=[*handles, *patches], loc="upper left", fontsize=7, ncols=8)
    known = view.episode.document
    top.set_title(f"{view.episode.path.stem}: {known.get('outcome', 'unknown')}", fontsize=9)
    bottom.set_xlabel("time since the episode began [s]")
    image_file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(image_file, dpi=90)
    pyplot.close(figure)
    return image_file


def _draw_joint(axis: Any, view: EpisodeView, j: int) -> None:
    for track, label, colour, width in (
        (view.measured, "measured", "#999999", 1.2),
        (view.proposals, "asked for", "#e69138", 2.2),
        (view.commands, "sent", "#0b5394", 1.0),
    ):
        if len(track):
            every = len(track) // _MOST_POINTS + 1
            times_s = view.seconds(track.stamp_ns[::every])
            axis.plot(times_s, track.position[::every, j], color=colour, lw=width, label=label)
    if view.joint_names:
        axis.set_ylabel(f"{view.joint_names[j]}\n[rad]", fontsize=8)


def _draw_phases(axis: Any, view: EpisodeView) -> None:
    if not len(view.phase):
        return
    times_s = view.seconds(view.commands.stamp_ns)
    edges = [0, *(np.flatnonzero(np.diff(view.phase)) + 1).tolist(), len(view.phase)]
    for begin, end in itertools.pairwise(edges):
        until = times_s[min(end, len(times_s) - 1)]
        colour = COLOURS[Phase(int(view.phase[begin]))]
        axis.axvspan(times_s[begin], until, color=colour, alpha=0.6, lw=0)
    for loss in view.losses:
        axis.axvline(view.seconds(np.array([loss.onset_ns]))[0], color="#cc0000", lw=1.0)
