# SPDX-License-Identifier: Apache-2.0
"""The Parquet files of a LeRobotDataset v3.0."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.export.export_episode import IMAGE_PREFIX, ExportEpisode
from levine_policy_node.runtime.export.format_writer import EpisodeRecord, Place
from levine_policy_node.runtime.export.lerobot_layout import chunk_and_file, image_keys
from levine_policy_node.runtime.export.packages import package

_USE = "an export to LeRobot"


class Tables:
    """Writes them with pyarrow, each in one row group, as the format wants it of episodes."""

    def __init__(self) -> None:
        self._pa = package("pyarrow", _USE)
        self._parquet = package("pyarrow.parquet", _USE)

    def write_frames(
        self,
        path: Path,
        episode: ExportEpisode,
        place: Place,
        fps: int,
        pictures: Mapping[str, Sequence[bytes]],
    ) -> None:
        """Write the frames of one episode.

        Args:
            path: File to make.
            episode: Its columns.
            place: Where it stands.
            fps: Frames per second.
            pictures: Encoded pictures by camera, where they are not in videos.
        """
        pa = self._pa
        columns: dict[str, Any] = {}
        described: dict[str, Any] = {}
        for name, column in episode.columns.items():
            values = np.ascontiguousarray(column.values)
            if column.width is None:
                columns[name] = pa.array(values.tolist() if column.dtype == "string" else values)
                described[name] = {"dtype": column.dtype, "_type": "Value"}
            else:
                columns[name] = pa.FixedSizeListArray.from_arrays(
                    pa.array(values.reshape(-1)), column.width
                )
                described[name] = {
                    "feature": {"dtype": column.dtype, "_type": "Value"},
                    "length": column.width,
                    "_type": "List",
                }
        for camera, encoded in pictures.items():
            kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
            rows = [
                {"bytes": data, "path": f"frame-{k:06d}.png"} for k, data in enumerate(encoded)
            ]
            columns[f"{IMAGE_PREFIX}{camera}"] = pa.array(rows, kind)
            described[f"{IMAGE_PREFIX}{camera}"] = {"_type": "Image"}
        count = np.arange(episode.length, dtype=np.int64)
        for name, values in {
            "timestamp": (count / fps).astype(np.float32),
            "frame_index": count,
            "episode_index": np.full_like(count, place.index),
            "index": count + place.first_frame,
            "task_index": np.full_like(count, place.task_index),
        }.items():
            columns[name] = pa.array(values)
            described[name] = {"dtype": str(values.dtype), "_type": "Value"}
        # What Hugging Face's `datasets` reads the types from.
        metadata = {"huggingface": json.dumps({"info": {"features": described}})}
        self._write(path, pa.table(columns).replace_schema_metadata(metadata))

    def write_tasks(self, path: Path, tasks: Sequence[str]) -> None:
        """Write the tasks; pandas reads the text as the index."""
        names = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
        pandas = {
            "index_columns": ["task"],
            "column_indexes": [],
            "columns": [
                {
                    "name": name,
                    "field_name": name,
                    "pandas_type": kinds[0],
                    "numpy_type": kinds[1],
                    "metadata": None,
                }
                for name, kinds in names.items()
            ],
            "creator": {"library": "pyarrow", "version": str(self._pa.__version__)},
            "pandas_version": "2.0.0",
        }
        indexes = self._pa.array(range(len(tasks)), self._pa.int64())
        table = self._pa.table({"task_index": indexes, "task": list(tasks)})
        self._write(path, table.replace_schema_metadata({"pandas": json.dumps(pandas)}))

    def write_episodes(
        self, path: Path, records: Sequence[EpisodeRecord], features: Mapping[str, Any], fps: int
    ) -> None:
        """Write one row per episode, in their order: readers take row i for episode i."""
        rows = [_episode_row(record, image_keys(features, "video"), fps) for record in records]
        names = list(dict.fromkeys(name for row in rows for name in row))
        columns = {name: [row.get(name) for row in rows] for name in names}
        self._write(path, self._pa.table(columns))

    def _write(self, path: Path, table: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._parquet.write_table(
                table, str(path), compression="snappy", row_group_size=max(1, table.num_rows)
            )
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        except OSError as error:
            raise RecordingError(f"{path}: cannot be written ({error})") from error


def _episode_row(record: EpisodeRecord, videos: Sequence[str], fps: int) -> dict[str, Any]:
    place = chunk_and_file(record.index)
    row: dict[str, Any] = {
        "episode_index": record.index,
        "tasks": [record.task],
        "length": record.frames,
        **{f"data/{name}": value for name, value in place.items()},
        "dataset_from_index": record.first_frame,
        "dataset_to_index": record.first_frame + record.frames,
    }
    for key in videos:
        row |= {f"videos/{key}/{name}": value for name, value in place.items()}
        row[f"videos/{key}/from_timestamp"] = 0.0
        row[f"videos/{key}/to_timestamp"] = record.frames / fps
    for feature, figures in record.written["stats"].items():
        row |= {f"stats/{feature}/{name}": value for name, value in figures.items()}
    # Rows are in the one file there is.
    row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
    return row | dict(record.facts)
