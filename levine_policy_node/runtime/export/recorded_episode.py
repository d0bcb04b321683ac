# SPDX-License-Identifier: Apache-2.0
"""One recording as an episode of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from levine_policy_node.core.alignment import AlignmentLimits
from levine_policy_node.core.handovers import losses
from levine_policy_node.core.observation import Pixels
from levine_policy_node.core.observation_grid import (
    Arrivals,
    IntArray,
    ObservedGrid,
    arrivals,
    first_instant,
    instants,
    observed_grid,
)
from levine_policy_node.core.units import NS_PER_S, nanoseconds
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.episode_reader import Episode
from levine_policy_node.runtime.export.export_episode import (
    INTERVENTION,
    ExportEpisode,
    Intervention,
    Reel,
)
from levine_policy_node.runtime.export.recorded_acts import (
    Acts,
    BoolArray,
    acts_of,
    mode_changes_of,
    rewards_of,
)
from levine_policy_node.runtime.export.recorded_columns import chosen, columns_of, usable
from levine_policy_node.runtime.recorded_streams import ImageStream

CAMERA_MAX_AGE_S, JOINT_MAX_AGE_S, FROZEN_MOTION_RAD = 0.2, 0.1, 0.1
"""As `config/policy_executor.param.yaml` has them."""


@dataclass(frozen=True, slots=True)
class ExportRules:
    """How recordings become rows.

    Attributes:
        fps: Rows per second.
        cameras: Which cameras; a recording without one of them has no place.
        everything: Also rows in which nobody drives.
        size: Height and width that pictures are made; None leaves them as they are.
    """

    fps: int
    cameras: tuple[str, ...]
    everything: bool = False
    size: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class RecordedReel:
    """Pictures of a recording, decoded when they are asked for.

    Attributes:
        stream: The camera's recorded frames.
        numbers: Which of them each row shows (N,).
        size: Height and width that they are made; None leaves them as they are.
    """

    stream: ImageStream
    numbers: IntArray
    size: tuple[int, int] | None = None

    @cached_property
    def _shape(self) -> tuple[int, int]:
        height, width = self.pixels(0).shape[:2]
        return height, width

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self._shape[0]

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self._shape[1]

    def pixels(self, index: int) -> Pixels:
        """RGB of one frame, shape (H, W, 3)."""
        found = self.stream.pixels(int(self.numbers[index]))
        if self.size is None or found.shape[:2] == self.size:
            return found
        resized = cv2.resize(found, self.size[::-1], interpolation=cv2.INTER_AREA)
        return resized.astype(np.uint8, copy=False)


@dataclass(frozen=True, slots=True, eq=False)
class RecordedCameras:
    """The cameras of one recording.

    Attributes:
        streams: Frames by camera.
        arrivals: When they were received and captured, by camera.
    """

    streams: Mapping[str, ImageStream]
    arrivals: Mapping[str, Arrivals]


def recorded_cameras(
    episode: Episode, robot: Robot, names: tuple[str, ...]
) -> RecordedCameras | str:
    """The frames of these cameras, or which one was not recorded."""
    streams: dict[str, ImageStream] = {}
    received: dict[str, Arrivals] = {}
    for name in names:
        camera = robot.cameras[name]
        found = episode.camera(name, camera)
        if found is None or len(found[0]) == 0:
            return f"camera {name} was not recorded"
        streams[name] = found[0]
        # Frames of a device are published with their capture time (`ros.camera_topics`).
        late_s = 0.0 if camera.topic is None else camera.capture_delay_s
        captured_ns = found[0].stamp_ns - nanoseconds(late_s)
        received[name] = arrivals(found[0].log_ns, captured_ns)
    return RecordedCameras(streams, received)


def observations_at(
    episode: Episode, robot: Robot, cameras: RecordedCameras, now_ns: IntArray
) -> ObservedGrid:
    """What `policy_executor` would have observed at these instants (N,)."""
    joints = episode.joint_states.samples(robot.joint_names)
    limits = AlignmentLimits(
        CAMERA_MAX_AGE_S, JOINT_MAX_AGE_S, FROZEN_MOTION_RAD, robot.arm_joints()
    )
    times = np.array([(j.log_ns, j.stamp_ns) for j in joints], np.int64).reshape(-1, 2)
    states = arrivals(times[:, 0], times[:, 1])
    values = [sample.value for sample in joints]
    return observed_grid(now_ns, states.received_ns, values, cameras.arrivals, limits)


def exported(
    episode: Episode, robot: Robot, rules: ExportRules, known: Mapping[str, Any]
) -> ExportEpisode | str:
    """Make the rows of a recording, or say why there are none.

    Args:
        episode: The recording.
        robot: Its robot file.
        rules: How.
        known: What `episode.json` says of it.
    """
    cameras = recorded_cameras(episode, robot, rules.cameras)
    if isinstance(cameras, str):
        return cameras
    commands = episode.commands.track(robot.joint_names)
    states = episode.joint_states.track(robot.joint_names)
    begin_ns = first_instant(arrivals(states.log_ns, states.stamp_ns), cameras.arrivals)
    if begin_ns is None or len(commands) == 0:
        return "no joint states" if begin_ns is None else "no commands"
    # Before the first command nobody drove.
    begin_ns = max(begin_ns, int(commands.stamp_ns[0]))
    now_ns = instants(begin_ns, int(commands.stamp_ns[-1]), rules.fps)
    grid = observations_at(episode, robot, cameras, now_ns)
    if len(grid.now_ns) == 0:
        reasons = "; ".join(f"{why} ({count} times)" for why, count in grid.unseen.items())
        return reasons or "the last command came before the first picture of every camera"
    acts = acts_of(episode, robot, grid, rules.fps)
    rows = usable(acts, everything=rules.everything)
    if not np.any(rows):
        return "nobody drove"
    success = known.get("outcome") == "success"
    rewards = rewards_of(episode, acts.action_ns[rows])
    columns = chosen(columns_of(grid, acts, robot), rows, rewards, success=success)
    reels: dict[str, Reel] = {
        name: RecordedReel(stream, grid.frames[name][rows], rules.size)
        for name, stream in cameras.streams.items()
    }
    parts = _interventions(episode, acts, rows, columns[INTERVENTION].values)
    return ExportEpisode(
        columns=columns,
        cameras=reels,
        task=str(known.get("task", "")),
        success=success,
        outcome=str(known.get("outcome", "unknown")),
        interventions=parts,
        facts=_facts(known, parts, len(now_ns) - int(np.count_nonzero(rows))),
    )


def _interventions(
    episode: Episode, acts: Acts, rows: BoolArray, driven: BoolArray
) -> list[Intervention]:
    """Stretches of kept rows in which a person drove."""
    times_ns = acts.action_ns[rows]
    causes = losses(mode_changes_of(episode), int(episode.end_ns))
    edges = np.flatnonzero(np.diff(np.concatenate(([0], driven.astype(np.int8), [0]))))
    found: list[Intervention] = []
    for start, end in edges.reshape(-1, 2).tolist():
        began = [c for c in causes if c.start_ns is not None and c.start_ns <= times_ns[start]]
        cause = began[-1] if began else None
        found.append(
            Intervention(
                start,
                end,
                float(times_ns[start] - times_ns[0]) / NS_PER_S,
                float(times_ns[min(end, len(times_ns) - 1)] - times_ns[0]) / NS_PER_S,
                "" if cause is None else cause.reason,
                "" if cause is None else cause.trigger.value,
            )
        )
    return found


def _facts(
    known: Mapping[str, Any], parts: list[Intervention], left_out: int
) -> dict[str, str | int | float | bool]:
    """The episode's own columns; their types are the same in every episode."""
    outcome = str(known.get("outcome", "unknown"))
    policy = known.get("policy")
    sha256 = str(policy.get("sha256", "")) if isinstance(policy, dict) else ""  # pyright: ignore
    return {
        "episode_success": "success" if outcome == "success" else "failure",
        "outcome": outcome,
        "outcome_source": str(known.get("outcome_source", "")),
        "autonomous_success": outcome == "success" and not parts,
        "num_interventions": len(parts),
        "intervention_frames": sum(part.end_frame - part.start_frame for part in parts),
        "policy_sha256": sha256,
        "policies": " ".join(str(name) for name in known.get("policies", [])),
        "session_id": str(known.get("session", "")),
        "recovered": bool(known.get("recovered", False)),
        "lossy": bool(known.get("lossy")) or bool(known.get("lost_in_transport")),
        "frames_left_out": left_out,
    }
