# SPDX-License-Identifier: Apache-2.0
"""RLDS, as Open X-Embodiment lays it out: TFRecord files that TensorFlow Datasets reads.

One record is one episode, and each has a file of its own. `features.json` and `dataset_info.json`
are what `tfds.builder_from_directory` needs (tensorflow_datasets 4.9, `core/features`,
`core/dataset_info.py`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from levine_policy_node.runtime.export.export_episode import (
    ACTION,
    EXTRA,
    REWARD,
    STATE,
    SUCCESS,
    VELOCITY,
    Column,
    ExportEpisode,
)
from levine_policy_node.runtime.export.export_files import linked, write_document
from levine_policy_node.runtime.export.format_writer import (
    DataSet,
    EpisodeRecord,
    Place,
    Written,
)
from levine_policy_node.runtime.export.picture_bytes import png_bytes
from levine_policy_node.runtime.export.tf_record import Values, example_bytes, record_bytes

VERSION = "1.0.0"
_CORE = "tensorflow_datasets.core.features"
_OBSERVED = {STATE: "state", VELOCITY: "velocity"}
_FLAGS = ("is_first", "is_last", "is_terminal")


class RldsWriter:
    """One version of a data set in the making."""

    def __init__(self, folder: Path, data_set: DataSet) -> None:
        self._folder = folder
        self._data_set = data_set

    def add(self, place: Place, episode: ExportEpisode) -> Written:
        """Write one episode."""
        path = self._folder / VERSION / _shard(place.index)
        path.parent.mkdir(exist_ok=True)
        steps = _steps(episode)
        flat: dict[str, Values] = {f"steps/{name}": values for name, values in steps.items()}
        source = f"{self._data_set.name}/{place.index}"
        flat["episode_metadata/file_path"] = [source.encode()]
        flat["episode_metadata/outcome"] = [episode.outcome.encode()]
        data = record_bytes(example_bytes(flat))
        with path.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        remember = {"features": _features(episode), "bytes": len(data)}
        return Written([str(path.relative_to(self._folder))], remember)

    def reuse(self, old: Path, record: EpisodeRecord) -> Sequence[str]:
        """Take over the file under the name it has while a version is made."""
        path = self._folder / VERSION / _shard(record.index)
        final = sorted((old / VERSION).glob(f"*.tfrecord-{record.index:05d}-of-*"))
        linked(final[0], path)
        return [str(path.relative_to(self._folder))]

    def finish(self, records: Sequence[EpisodeRecord]) -> None:
        """Give every file the name that tells how many there are, and describe them."""
        folder = self._folder / VERSION
        name = self._data_set.name
        for record in records:
            final = f"{name}-train.tfrecord-{record.index:05d}-of-{len(records):05d}"
            (folder / _shard(record.index)).rename(folder / final)
        write_document(folder / "features.json", records[0].written["features"])
        document = {
            "name": name,
            "version": VERSION,
            "moduleName": "levine_policy_node",
            "description": "Recorded episodes of a robot. See README.md.",
            "citation": "",
            "fileFormat": "tfrecord",
            "splits": [
                {
                    "name": "train",
                    "numBytes": str(sum(record.written["bytes"] for record in records)),
                    "shardLengths": ["1"] * len(records),
                    "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                }
            ],
        }
        write_document(folder / "dataset_info.json", document)


def _shard(index: int) -> str:
    return f"episode-{index:05d}.tfrecord"


def _steps(episode: ExportEpisode) -> dict[str, Values]:
    """Every value of every step, one name after the other."""
    length = episode.length
    last = np.arange(length) == length - 1
    steps: dict[str, Values] = {
        "action": episode.columns[ACTION].values,
        "reward": episode.columns[REWARD].values,
        "discount": np.ones(length, dtype=np.float32),
        "is_first": (np.arange(length) == 0),
        "is_last": last,
        # An episode that nobody has judged may have been cut short.
        "is_terminal": last & (episode.outcome in {"success", "failure"}),
        "language_instruction": [episode.task.encode()] * length,
    }
    for name, key in _OBSERVED.items():
        if name in episode.columns:
            steps[f"observation/{key}"] = episode.columns[name].values
    for name, column in _further(episode).items():
        text = column.dtype == "string"
        steps[name] = [str(v).encode() for v in column.values] if text else column.values
    for camera, reel in episode.cameras.items():
        pictures = [png_bytes(reel.pixels(index)) for index in range(length)]
        steps[f"observation/{camera}"] = pictures
    return steps


def _further(episode: ExportEpisode) -> dict[str, Column]:
    """Columns that RLDS has no name for, under ours."""
    return {
        name.removeprefix(EXTRA): column
        for name, column in episode.columns.items()
        if name.startswith(EXTRA) or name == SUCCESS
    }


def _features(episode: ExportEpisode) -> dict[str, Any]:
    observed: dict[str, Any] = {
        key: _column(episode.columns[name])
        for name, key in _OBSERVED.items()
        if name in episode.columns
    }
    for camera, reel in episode.cameras.items():
        observed[camera] = {
            "pythonClassName": f"{_CORE}.image_feature.Image",
            "image": {
                "shape": {"dimensions": [str(reel.height), str(reel.width), "3"]},
                "dtype": "uint8",
                "encodingFormat": "png",
            },
        }
    step = {
        "observation": _group(observed),
        "action": _column(episode.columns[ACTION]),
        "reward": _scalar("float32"),
        "discount": _scalar("float32"),
        **{name: _scalar("bool") for name in _FLAGS},
        "language_instruction": _text(),
        **{name: _column(column) for name, column in _further(episode).items()},
    }
    steps = {
        "pythonClassName": f"{_CORE}.dataset_feature.Dataset",
        "sequence": {"feature": _group(step), "length": "-1"},
    }
    return _group(
        {"steps": steps, "episode_metadata": _group({"file_path": _text(), "outcome": _text()})}
    )


def _group(features: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "pythonClassName": f"{_CORE}.features_dict.FeaturesDict",
        "featuresDict": {"features": dict(features)},
    }


def _column(column: Column) -> dict[str, Any]:
    if column.dtype == "string":
        return _text()
    if column.width is None:
        return _scalar(column.dtype)
    return {
        "pythonClassName": f"{_CORE}.tensor_feature.Tensor",
        "tensor": {
            "shape": {"dimensions": [str(column.width)]},
            "dtype": column.dtype,
            "encoding": "none",
        },
        "description": column.about,
    }


def _scalar(dtype: str) -> dict[str, Any]:
    return {
        "pythonClassName": f"{_CORE}.scalar.Scalar",
        "tensor": {"shape": {}, "dtype": dtype, "encoding": "none"},
    }


def _text() -> dict[str, Any]:
    return {"pythonClassName": f"{_CORE}.text_feature.Text", "text": {}}
