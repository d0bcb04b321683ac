# SPDX-License-Identifier: Apache-2.0
"""robomimic HDF5, with the labels that IWR and Sirius read.

Layout of robomimic v0.3 (`docs/datasets/overview`); `action_modes` and `intv_labels` as in the
Sirius fork (`robomimic/utils/dataset.py`). Episodes are written apart, since a crash may cost an
HDF5 file that is open, and are put together at the end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import numpy.typing as npt

from levine_policy_node.runtime.export.export_episode import (
    ACTION,
    DONE,
    EXTRA,
    LABEL,
    REWARD,
    STATE,
    VELOCITY,
    ExportEpisode,
)
from levine_policy_node.runtime.export.format_writer import (
    DataSet,
    EpisodeRecord,
    Place,
    Written,
)
from levine_policy_node.runtime.export.packages import package

FILE = "dataset.hdf5"
_PARTS = "parts"
_OBSERVED = {STATE: "joint_pos", VELOCITY: "joint_vel"}
_BEFORE = -10
"""Sirius's label of what led to an intervention; a policy drove it."""


class RobomimicWriter:
    """One HDF5 file in the making."""

    def __init__(self, folder: Path, data_set: DataSet) -> None:
        self._folder = folder
        self._data_set = data_set
        self._h5py = package("h5py", "an export to robomimic")

    def add(self, place: Place, episode: ExportEpisode) -> Written:
        """Write one episode as a file of its own."""
        path = self._part(place.index)
        with self._h5py.File(path, "w") as file:
            _fill(file.create_group("demo"), episode)
        _sync(path)
        masks = ["success" if episode.success else "failure"]
        masks.append("intervened" if episode.interventions else "autonomous")
        return Written([str(path.relative_to(self._folder))], {"masks": masks})

    def reuse(self, old: Path, record: EpisodeRecord) -> Sequence[str]:
        """Copy an unchanged episode out of the file that is there."""
        path = self._part(record.index)
        with self._h5py.File(old / FILE, "r") as held, self._h5py.File(path, "w") as file:
            held.copy(held[f"data/demo_{record.index}"], file, "demo")
        _sync(path)
        return [str(path.relative_to(self._folder))]

    def finish(self, records: Sequence[EpisodeRecord]) -> None:
        """Put the episodes into one file."""
        path = self._folder / FILE
        masks: dict[str, list[str]] = {}
        with self._h5py.File(path, "w") as file:
            data = file.create_group("data")
            data.attrs["total"] = sum(record.frames for record in records)
            data.attrs["env_args"] = json.dumps(self._environment())
            for record in records:
                name = f"demo_{record.index}"
                with self._h5py.File(self._part(record.index), "r") as part:
                    part.copy(part["demo"], data, name)
                for mask in record.written["masks"]:
                    masks.setdefault(mask, []).append(name)
            for mask, names in masks.items():
                file[f"mask/{mask}"] = np.array(names, dtype="S")
        _sync(path)
        rmtree(self._folder / _PARTS)

    def _part(self, index: int) -> Path:
        (self._folder / _PARTS).mkdir(exist_ok=True)
        return self._folder / _PARTS / f"demo_{index}.hdf5"

    def _environment(self) -> dict[str, Any]:
        """There is no simulator to make again: type 2 is a gym-like environment."""
        return {
            "env_name": self._data_set.robot,
            "env_type": 2,
            "env_kwargs": {"fps": self._data_set.fps},
        }


def _fill(demo: Any, episode: ExportEpisode) -> None:
    columns = episode.columns
    demo.attrs["num_samples"] = episode.length
    demo.attrs["task"] = episode.task
    demo.attrs["outcome"] = episode.outcome
    labels = columns[LABEL].values
    demo["actions"] = columns[ACTION].values
    demo["rewards"] = columns[REWARD].values
    demo["dones"] = columns[DONE].values.astype(np.int64)
    demo["states"] = columns[STATE].values
    demo["intv_labels"] = labels
    demo["action_modes"] = np.where(labels == _BEFORE, 0, labels)
    for name, column in columns.items():
        if name.startswith(EXTRA) and column.dtype != "string" and name != LABEL:
            demo[name.removeprefix(EXTRA)] = column.values
    for name, key in _OBSERVED.items():
        if name in columns:
            _observe(demo, key, columns[name].values)
    for camera, reel in episode.cameras.items():
        shape = (episode.length, reel.height, reel.width, 3)
        pictures = demo.create_dataset(
            f"obs/{camera}_image", shape, np.uint8, chunks=(1, *shape[1:]), compression="lzf"
        )
        for index in range(episode.length):
            pictures[index] = reel.pixels(index)


def _observe(demo: Any, key: str, values: npt.NDArray[Any]) -> None:
    """What was seen and what was seen next; after the last frame nothing was."""
    demo[f"obs/{key}"] = values
    demo[f"next_obs/{key}"] = np.concatenate([values[1:], values[-1:]])


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
