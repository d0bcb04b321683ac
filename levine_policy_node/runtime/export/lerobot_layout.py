# SPDX-License-Identifier: Apache-2.0
"""Where things are in a LeRobotDataset v3.0, and what `meta/info.json` says about them.

Read from lerobot 0.4.4 (`datasets/utils.py`, `datasets/lerobot_dataset.py`). Every episode has
data and video files of its own, which the format allows; readers find them by the episode's row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from levine_policy_node.runtime.export.export_episode import (
    IMAGE_PREFIX,
    ExportEpisode,
)
from levine_policy_node.runtime.export.format_writer import DataSet, EpisodeRecord
from levine_policy_node.runtime.export.video_file import (
    CODEC,
    CRF,
    KEYFRAME_EVERY,
    PRESET,
    pixel_format,
)

VERSION = "v3.0"
FILES_PER_CHUNK = 1000
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-000/file-000.parquet"
AUTOMATIC = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


def chunk_and_file(episode: int) -> dict[str, int]:
    """Which chunk and which file of it belong to an episode."""
    return {"chunk_index": episode // FILES_PER_CHUNK, "file_index": episode % FILES_PER_CHUNK}


def data_file(episode: int) -> PurePosixPath:
    """The episode's frames."""
    return PurePosixPath(DATA_PATH.format(**chunk_and_file(episode)))


def video_file(key: str, episode: int) -> PurePosixPath:
    """The episode's pictures of one camera."""
    return PurePosixPath(VIDEO_PATH.format(video_key=key, **chunk_and_file(episode)))


def features_of(episode: ExportEpisode, data_set: DataSet) -> dict[str, Any]:
    """The features of `info.json`, those that every data set has at the end."""
    found: dict[str, Any] = {}
    for name, column in episode.columns.items():
        width = column.width
        names = None if column.names is None else list(column.names)
        found[name] = {"dtype": column.dtype, "shape": [width or 1], "names": names}
    for camera, reel in episode.cameras.items():
        size = reel.height, reel.width
        feature: dict[str, Any] = {
            "dtype": data_set.images,
            "shape": [*size, 3],
            "names": ["height", "width", "channels"],
        }
        if data_set.images == "video":
            feature["info"] = _video_info(size, data_set.fps)
        found[f"{IMAGE_PREFIX}{camera}"] = feature
    for name, dtype in AUTOMATIC.items():
        found[name] = {"dtype": dtype, "shape": [1], "names": None}
    return found


def _video_info(size: tuple[int, int], fps: int) -> dict[str, Any]:
    return {
        "video.height": size[0],
        "video.width": size[1],
        "video.codec": CODEC,
        "video.pix_fmt": pixel_format(*size),
        "video.is_depth_map": False,
        "is_depth_map": False,
        "video.fps": fps,
        "video.channels": 3,
        "has_audio": False,
        "video.g": KEYFRAME_EVERY,
        "video.crf": CRF,
        "video.preset": PRESET,
    }


def image_keys(features: Mapping[str, Any], kind: str) -> list[str]:
    """Names of the features of this kind, `video` or `image`."""
    return [name for name, feature in features.items() if feature["dtype"] == kind]


def info_document(
    features: Mapping[str, Any], data_set: DataSet, records: Sequence[EpisodeRecord]
) -> dict[str, Any]:
    """The content of `meta/info.json`."""
    return {
        "codebase_version": VERSION,
        "robot_type": data_set.robot,
        "total_episodes": len(records),
        "total_frames": sum(record.frames for record in records),
        "total_tasks": len({record.task_index for record in records}),
        "chunks_size": FILES_PER_CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": data_set.fps,
        "splits": {"train": f"0:{len(records)}"},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH if image_keys(features, "video") else None,
        "features": dict(features),
    }
