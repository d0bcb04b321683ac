# SPDX-License-Identifier: Apache-2.0
"""LeRobotDataset v3.0, written without lerobot and without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from levine_policy_node.core.column_statistics import PixelCounts, figures_of, pooled
from levine_policy_node.runtime.export.export_episode import IMAGE_PREFIX, ExportEpisode, Reel
from levine_policy_node.runtime.export.export_files import linked, write_document
from levine_policy_node.runtime.export.format_writer import (
    DataSet,
    EpisodeRecord,
    Place,
    Written,
)
from levine_policy_node.runtime.export.lerobot_layout import (
    EPISODES_PATH,
    data_file,
    features_of,
    info_document,
    video_file,
)
from levine_policy_node.runtime.export.lerobot_tables import Tables
from levine_policy_node.runtime.export.picture_bytes import png_bytes
from levine_policy_node.runtime.export.video_file import VideoFile


class LeRobotWriter:
    """One directory in the making."""

    def __init__(self, folder: Path, data_set: DataSet) -> None:
        self._folder = folder
        self._data_set = data_set
        self._tables = Tables()

    def add(self, place: Place, episode: ExportEpisode) -> Written:
        """Write the Parquet file of one episode, and its videos."""
        stats = {
            name: figures_of(column.values)
            for name, column in episode.columns.items()
            if column.dtype != "string"
        }
        stats |= _automatic_figures(place, episode.length, self._data_set.fps)
        pictures: dict[str, list[bytes]] = {}
        files = [data_file(place.index)]
        for camera, reel in episode.cameras.items():
            key = f"{IMAGE_PREFIX}{camera}"
            counts = PixelCounts()
            if self._data_set.images == "video":
                files.append(video_file(key, place.index))
                self._write_video(self._folder / files[-1], reel, episode.length, counts)
            else:
                pictures[camera] = _pngs(reel, episode.length, counts)
            stats[key] = {
                name: value if name == "count" else value.reshape(3, 1, 1)
                for name, value in counts.figures().items()
            }
        path = self._folder / files[0]
        self._tables.write_frames(path, episode, place, self._data_set.fps, pictures)
        remember = {
            "features": features_of(episode, self._data_set),
            "stats": {key: _plain(figures) for key, figures in stats.items()},
        }
        return Written([str(file) for file in files], remember)

    def reuse(self, old: Path, record: EpisodeRecord) -> Sequence[str]:
        """Link the files of an unchanged episode."""
        for file in record.files:
            linked(old / file, self._folder / file)
        return list(record.files)

    def finish(self, records: Sequence[EpisodeRecord]) -> None:
        """Write `meta/`."""
        features = records[0].written["features"]
        meta = self._folder / "meta"
        tasks = {record.task_index: record.task for record in records}
        self._tables.write_tasks(meta / "tasks.parquet", [tasks[i] for i in sorted(tasks)])
        self._tables.write_episodes(
            self._folder / EPISODES_PATH, records, features, self._data_set.fps
        )
        write_document(meta / "stats.json", _pooled_figures(records))
        write_document(meta / "info.json", info_document(features, self._data_set, records))

    def _write_video(self, path: Path, reel: Reel, length: int, counts: PixelCounts) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        video = VideoFile(path, self._data_set.fps, reel.height, reel.width)
        for index in range(length):
            pixels = reel.pixels(index)
            counts.add(pixels)
            video.add(pixels)
        video.close()


def _pngs(reel: Reel, length: int, counts: PixelCounts) -> list[bytes]:
    encoded: list[bytes] = []
    for index in range(length):
        pixels = reel.pixels(index)
        counts.add(pixels)
        encoded.append(png_bytes(pixels))
    return encoded


def _automatic_figures(place: Place, length: int, fps: int) -> dict[str, dict[str, Any]]:
    count = np.arange(length)
    values = {
        "timestamp": count / fps,
        "frame_index": count,
        "episode_index": np.full(length, place.index),
        "index": count + place.first_frame,
        "task_index": np.full(length, place.task_index),
    }
    return {name: figures_of(column) for name, column in values.items()}


def _plain(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: json.loads(json.dumps(value.tolist())) for name, value in figures.items()}


def _pooled_figures(records: Sequence[EpisodeRecord]) -> dict[str, Any]:
    return {
        feature: _plain(
            pooled(
                [
                    {
                        name: np.asarray(value)
                        for name, value in r.written["stats"][feature].items()
                    }
                    for r in records
                ]
            )
        )
        for feature in records[0].written["stats"]
    }
