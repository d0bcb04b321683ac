# SPDX-License-Identifier: Apache-2.0
"""The folder of the stops: names, bounds, and space that is never taken.

    <root>/stop_20261121T220301.123Z_POLICY_LOST.mcap    named .mcap.open until it is complete

Beyond `keep_files` or `keep_mb` the oldest are removed: those that a person asked for before
those that a fault caused, which somebody may still have to understand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from levine_policy_node.core.black_box import OPERATOR, Stop
from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.episode_files import GIGABYTE, free_gigabytes, sync_directory

MEGABYTE = 1_000_000
OPEN = ".open"
# No stop takes more: 15 s at 1 MB/s.
_LARGEST_GB = 0.015
_NAME = re.compile(r"stop_\d{8}T\d{6}\.\d{3}Z_(?P<cause>\w+?)(-\d+)?\.mcap(\.open)?")


@dataclass(frozen=True, slots=True)
class StopStore:
    """Where stops are kept, and how many.

    Attributes:
        root: The folder; made when the first stop is written.
        keep_files: At most so many files.
        keep_mb: At most so many megabytes.
        reserve_gb: Nothing is written that would leave less free space than this.
    """

    root: Path
    keep_files: int
    keep_mb: float
    reserve_gb: float

    def new_file(self, stop: Stop) -> Path:
        """Make room for a stop and choose its name, which ends in `.mcap.open`.

        Raises:
            RecordingError: If the folder cannot be used or the disk is too full.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._make_room()
            free_gb = free_gigabytes(self.root)
        except OSError as error:
            raise RecordingError(f"{self.root}: cannot be used ({error.strerror})") from error
        if free_gb - _LARGEST_GB < self.reserve_gb:
            raise RecordingError(
                f"{self.root}: only {free_gb:.3f} GB free (reserve {self.reserve_gb:g} GB). "
                "Free the disk"
            )
        name, number = stop_name(stop), 1
        path = self.root / f"{name}.mcap{OPEN}"
        while path.exists() or path.with_suffix("").exists():
            number += 1
            path = self.root / f"{name}-{number}.mcap{OPEN}"
        return path

    def publish(self, path: Path) -> Path:
        """Give a complete file its final name.

        Raises:
            RecordingError: If the file system refuses.
        """
        final = path.with_suffix("")
        try:
            path.rename(final)
            sync_directory(self.root)
        except OSError as error:
            raise RecordingError(f"{final}: cannot be written ({error.strerror})") from error
        return final

    def _make_room(self) -> None:
        """Remove what is beyond the bounds once another file is there."""
        found = [(p, m) for p in self.root.iterdir() if (m := _NAME.fullmatch(p.name))]
        found.sort(key=lambda item: (not item[1]["cause"].startswith(OPERATOR), item[0].name))
        sizes = [path.stat().st_size for path, _ in found]
        bound = self.keep_mb * MEGABYTE - _LARGEST_GB * GIGABYTE
        for (path, _), size in zip(found, list(sizes), strict=True):
            if len(sizes) < self.keep_files and sum(sizes) <= bound:
                return
            path.unlink()
            sizes.remove(size)


def stop_name(stop: Stop) -> str:
    """Name of a stop's file: when it began (UTC) and its cause."""
    moment = datetime.fromtimestamp((stop.time_ns + stop.ros_offset_ns) / 1e9, timezone.utc)
    milliseconds = moment.microsecond // 1000
    cause = re.sub(r"\W+", "_", stop.cause)
    return f"stop_{moment:%Y%m%dT%H%M%S}.{milliseconds:03d}Z_{cause}"


def remove_empty(path: Path) -> None:
    """Remove a file that nothing could be written to."""
    if path.exists() and path.stat().st_size == 0:
        path.unlink()
