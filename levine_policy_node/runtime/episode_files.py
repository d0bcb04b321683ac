# SPDX-License-Identifier: Apache-2.0
"""Where a session's episodes lie on the disk, and writing their small files safely.

    <root>/<session>/session.json
    <root>/<session>/ep_000000/ep_000000.mcap    named .mcap.open until it is closed
                               metadata.yaml     for ros2 bag
                               episode.json      rewritten whole, never in place

A `.mcap.open` file without a running recorder is what a crash left; see `episode_recovery.py`.
Nothing is ever deleted.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from levine_policy_node.errors import RecordingError

GIGABYTE = 1_000_000_000


@dataclass(frozen=True, slots=True)
class EpisodeFiles:
    """The paths of one episode."""

    directory: Path

    @property
    def name(self) -> str:
        """Name of the episode, which is its directory's."""
        return self.directory.name

    @property
    def open_file(self) -> Path:
        """The recording while it grows."""
        return self.directory / f"{self.name}.mcap.open"

    @property
    def closed_file(self) -> Path:
        """The recording once it is closed."""
        return self.directory / f"{self.name}.mcap"

    @property
    def recording(self) -> Path:
        """The recording under the name it has now."""
        return self.closed_file if self.closed_file.exists() else self.open_file

    @property
    def document(self) -> Path:
        """`episode.json`."""
        return self.directory / "episode.json"

    @property
    def bag_metadata(self) -> Path:
        """`metadata.yaml`, for `ros2 bag`."""
        return self.directory / "metadata.yaml"

    def publish_recording(self) -> None:
        """Give the finished recording its final name.

        Raises:
            RecordingError: If the file system refuses.
        """
        try:
            self.open_file.rename(self.closed_file)
            sync_directory(self.directory)
        except OSError as error:
            raise _cannot_write(self.closed_file, error) from error


def new_session_id() -> str:
    """Make an identifier that sorts by time and is unique, such as `20261121T093150Z-5f0c1a`."""
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def create_session(root: Path, session: str, document: Mapping[str, object]) -> Path:
    """Create a session's directory with its `session.json`; returns the directory.

    Raises:
        RecordingError: If it exists already or cannot be written.
    """
    directory = root / session
    try:
        directory.mkdir(parents=True)
    except FileExistsError as error:
        raise RecordingError(f"{directory}: exists already. Choose another session") from error
    except OSError as error:
        raise _cannot_write(directory, error) from error
    write_json(directory / "session.json", document)
    return directory


def create_episode(session: Path, name: str) -> EpisodeFiles:
    """Create an episode's directory.

    Raises:
        RecordingError: If it exists already or cannot be written.
    """
    directory = session / name
    try:
        directory.mkdir()
    except OSError as error:
        raise _cannot_write(directory, error) from error
    return EpisodeFiles(directory)


def hold_session(session: Path) -> Callable[[], None]:
    """Keep every other recorder and repair out of a session, at the latest until the process ends.

    Returns:
        What lets them in again.

    Raises:
        RecordingError: If another process has it, or it cannot be opened.
    """
    try:
        descriptor = os.open(session, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise RecordingError(f"{session}: cannot be opened ({error.strerror})") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise RecordingError(
            f"{session}: a recorder or a repair is at work in it. Wait until it has ended"
        ) from error
    return partial(os.close, descriptor)


@contextlib.contextmanager
def locked_session(session: Path) -> Generator[None, None, None]:
    """Hold a session for as long as the context lasts; see `hold_session`."""
    release = hold_session(session)
    try:
        yield
    finally:
        release()


def episode_directories(path: Path) -> list[Path]:
    """Directories of the episodes in a root of recordings, a session, or an episode's own."""
    start = (path.parent if path.is_file() else path).absolute()
    if start.name.startswith("ep_"):
        return [start]
    found = {d for pattern in ("ep_*", "*/ep_*") for d in start.glob(pattern) if d.is_dir()}
    return sorted(found)


def write_json(path: Path, document: Mapping[str, object]) -> None:
    """Write a JSON file so that a crash leaves the old one or the new one.

    Raises:
        RecordingError: If the file system refuses.
    """
    write_text(path, json.dumps(document, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file so that a crash leaves the old one or the new one.

    Raises:
        RecordingError: If the file system refuses.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error


def free_gigabytes(directory: Path) -> float:
    """Free space of the file system that holds `directory` [GB]."""
    return shutil.disk_usage(directory).free / GIGABYTE


def sync_directory(directory: Path) -> None:
    """Make a new or renamed entry survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_write(path: Path, error: OSError) -> RecordingError:
    return RecordingError(
        f"{path}: cannot be written ({error.strerror}). Choose another root or free the disk"
    )
