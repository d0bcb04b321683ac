# SPDX-License-Identifier: Apache-2.0
"""Which episodes a data set has; one JSON line each, appended when its files are on the disk."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.episode_files import write_text
from levine_policy_node.runtime.export.format_writer import EpisodeRecord

SIDECAR = Path("meta/levine")
RECORDS = SIDECAR / "episodes.jsonl"


def read_records(folder: Path) -> list[EpisodeRecord]:
    """The episodes of a data set, finished or not; a torn last line does not count.

    Raises:
        RecordingError: If a line cannot be read.
    """
    path = folder / RECORDS
    if not path.exists():
        return []
    # What a crash tore has no end of line.
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    try:
        return [EpisodeRecord(**json.loads(line)) for line in whole.splitlines()]
    except (ValueError, TypeError) as error:
        raise RecordingError(f"{path}: is damaged ({error}). Choose another --out") from error


def write_records(folder: Path, records: Sequence[EpisodeRecord]) -> None:
    """Write all of them, whole."""
    (folder / SIDECAR).mkdir(parents=True, exist_ok=True)
    write_text(folder / RECORDS, "".join(_line(record) for record in records))


def append_record(folder: Path, record: EpisodeRecord) -> None:
    """Add one; on the disk on return.

    Raises:
        RecordingError: If the file system refuses.
    """
    path = folder / RECORDS
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(_line(record))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise RecordingError(f"{path}: cannot be written ({error.strerror})") from error


def _line(record: EpisodeRecord) -> str:
    return json.dumps(asdict(record), allow_nan=False) + "\n"
