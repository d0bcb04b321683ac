# SPDX-License-Identifier: Apache-2.0
"""Recorded episodes as tracks: what the cameras saw, what was measured, what the arm was sent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from corrections import Floats, Frames, Grid, Labelled, Span, Track, corrections, spans_of
from pipeline import IMAGE_SIZE

from levine_policy_node.core.units import NS_PER_S
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.episode_reader import Episode, read_episode
from levine_policy_node.runtime.recorded_streams import ImageStream


@dataclass(frozen=True, slots=True)
class Reading:
    """Which frames become samples.

    Attributes:
        modes: Those seen in these modes of the supervisor.
        every: Of them one in so many; those between look the same.
    """

    modes: frozenset[str]
    every: int


PERSON_ONLY = Reading(frozenset({"HUMAN"}), every=2)
EVERYTHING = Reading(frozenset({"HUMAN", "POLICY"}), every=6)


def recorded_corrections(files: list[Path], robot: Robot) -> Labelled:
    """The corrections of every recorded episode in which the person took over."""
    return Labelled.join([corrections(read_track(path, robot), Grid()) for path in files])


def episode_files(recordings: Path) -> list[Path]:
    """Every closed episode under a folder of recordings, oldest first."""
    return sorted(recordings.rglob("ep_*.mcap"))


def read_track(path: Path, robot: Robot, reading: Reading = PERSON_ONLY) -> Track:
    """Read one episode.

    Args:
        path: A closed episode.
        robot: Whose cameras and joints are in it.
        reading: Which of its frames become samples.

    Raises:
        RecordingError: If the file is no closed episode, or a camera or topic is missing.
    """
    episode = read_episode(path)
    changes = [(_seconds(said.stamp_ns, episode), said.value) for said in episode.modes]
    driven = spans_of(reading.modes, changes, episode.duration_s)
    cameras = [_images(episode, robot, name) for name in robot.cameras]
    stamps = [np.asarray(_seconds(camera.stamp_ns, episode)) for camera in cameras]
    seen = _inside(stamps[0], driven)[:: reading.every]
    seen_s = stamps[0][seen]
    nearest = [[int(np.abs(s - at).argmin()) for at in seen_s] for s in stamps]
    frames = [
        [_small(camera.pixels(index)) for index in indices]
        for camera, indices in zip(cameras, nearest, strict=True)
    ]
    measured = episode.joint_states.track(robot.joint_names)
    sent = episode.commands.track(robot.joint_names)
    shape = (len(cameras), len(seen_s), IMAGE_SIZE, IMAGE_SIZE, 3)
    return Track(
        seen_s,
        np.array(frames, dtype=np.uint8).reshape(shape).swapaxes(0, 1),
        _at(seen_s, np.asarray(_seconds(measured.stamp_ns, episode)), measured.position),
        np.asarray(_seconds(sent.stamp_ns, episode)),
        sent.position,
        spans_of(frozenset({"HUMAN"}), changes, episode.duration_s),
    )


def _images(episode: Episode, robot: Robot, name: str) -> ImageStream:
    found = episode.camera(name, robot.cameras[name])
    if found is None:
        raise SystemExit(f"{episode.path}: camera {name} was not recorded. Record it again")
    return found[0]


def _inside(stamps_s: Floats, spans: tuple[Span, ...]) -> npt.NDArray[np.intp]:
    inside = np.zeros(len(stamps_s), dtype=bool)
    for begin_s, end_s in spans:
        inside |= (stamps_s >= begin_s) & (stamps_s < end_s)
    return np.flatnonzero(inside)


def _at(at_s: Floats, stamps_s: Floats, values: Floats) -> Floats:
    """Values (M, J) at other times (N,), linear between, shape (N, J)."""
    return np.stack([np.interp(at_s, stamps_s, column) for column in values.T], axis=1)


def _small(frame: Frames) -> Frames:
    if frame.shape[:2] == (IMAGE_SIZE, IMAGE_SIZE):
        return frame
    return cv2.resize(frame, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA)


def _seconds(stamp_ns: npt.NDArray[np.int64] | int, episode: Episode) -> Floats | float:
    return (stamp_ns - int(episode.start_ns)) / NS_PER_S
