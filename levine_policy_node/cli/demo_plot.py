# SPDX-License-Identifier: Apache-2.0
"""A plot of one recorded episode: what was proposed, what was sent, the mode, the seams."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mcap.reader import make_reader
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.core.units import NS_PER_S
from levine_policy_node.ros.clocks import stamp_from_msg

_COLOURS = {"POLICY": "#d9ead3", "HUMAN": "#fff2cc", "STOPPING": "#f4cccc", "PAUSED": "#eeeeee"}


@dataclass
class _Track:
    """Times [s] and positions (N, J) [rad] of one JointState topic."""

    times: list[float] = field(default_factory=list)
    rows: list[list[float]] = field(default_factory=list)


def plot_episode(mcap_file: Path, image_file: Path) -> Path:
    """Draw joint positions proposed, sent and measured over time; returns `image_file`."""
    tracks, modes, seams, names = _read(mcap_file)
    # A backend without display; chosen here because importing pyplot fixes it.
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(names), 1, sharex=True, figsize=(10, 1.6 * len(names)), layout="constrained"
    )
    styles = {
        "joint_states": ("measured", "#999999", 1.0, "-"),
        "supervisor/proposal": ("proposed", "#e69138", 2.5, "-"),
        "supervisor/command": ("sent", "#0b5394", 1.0, "-"),
    }
    for j, axis in enumerate(np.atleast_1d(axes)):
        for topic, (label, colour, width, line) in styles.items():
            track = tracks[topic]
            if track.times:
                values = np.array(track.rows)[:, j]
                axis.plot(track.times, values, line, color=colour, lw=width, label=label)
        for seam in seams:
            axis.axvline(seam, color="#674ea7", lw=0.4, alpha=0.5)
        for begin, end, mode in modes:
            axis.axvspan(begin, end, color=_COLOURS.get(mode, "white"), alpha=0.5, lw=0)
        axis.set_ylabel(f"{names[j]}\n[rad]", fontsize=8)
    top = np.atleast_1d(axes)[0]
    top.legend(loc="upper right", fontsize=8, ncols=3)
    top.set_title(f"{mcap_file.stem}: thin violet lines are chunk seams", fontsize=9)
    np.atleast_1d(axes)[-1].set_xlabel("time [s]")
    image_file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(image_file, dpi=110)
    pyplot.close(figure)
    return image_file


def _read(
    mcap_file: Path,
) -> tuple[dict[str, _Track], list[tuple[float, float, str]], list[float], list[str]]:
    tracks: dict[str, _Track] = defaultdict(_Track)
    changes: list[tuple[float, str]] = []
    seams: list[float] = []
    names: list[str] = []
    first_ns: int | None = None
    last_s = 0.0
    with mcap_file.open("rb") as stream:
        for _, channel, message in make_reader(stream).iter_messages():
            first_ns = message.log_time if first_ns is None else first_ns
            last_s = (message.log_time - first_ns) / NS_PER_S
            topic = channel.topic.lstrip("/")
            if topic.endswith(("joint_states", "supervisor/proposal", "supervisor/command")):
                state: Any = deserialize_message(message.data, JointState)
                names = names or list(state.name)
                table = dict(zip(state.name, state.position, strict=True))
                track = tracks[
                    "/".join(topic.split("/")[-2:]) if "supervisor" in topic else "joint_states"
                ]
                track.times.append((stamp_from_msg(state.header.stamp) - first_ns) / NS_PER_S)
                track.rows.append([table[name] for name in names])
            elif topic.endswith("supervisor/mode"):
                mode: Any = deserialize_message(message.data, String)
                changes.append((last_s, mode.data))
            elif topic.endswith("policy/action_chunk"):
                chunk: Any = deserialize_message(message.data, JointTrajectory)
                seams.append((stamp_from_msg(chunk.header.stamp) - first_ns) / NS_PER_S)
    ends = [time for time, _ in changes[1:]] + [last_s]
    modes = [(begin, end, mode) for (begin, mode), end in zip(changes, ends, strict=True)]
    return tracks, modes, seams, names
