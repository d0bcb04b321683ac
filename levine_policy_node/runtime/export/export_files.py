# SPDX-License-Identifier: Apache-2.0
"""Files of a data set: written whole, hashed, linked into the next version, put in place."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.episode_files import sync_directory, write_text

_BLOCK = 1 << 20


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file whole; numbers that are none are refused.

    Raises:
        RecordingError: If the file system refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def sha256_of(path: Path) -> str:
    """Hash of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def linked(file: Path, target: Path) -> None:
    """Give a file a second name: the same bytes, which nobody writes to again."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(file, target)
    except OSError:  # a file system without links
        shutil.copyfile(file, target)


def files_below(folder: Path) -> list[str]:
    """Every file, by its path relative to `folder`, sorted."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def partial_folder(out: Path) -> Path:
    """Where the next version of `out` is made."""
    return out.with_name(f"{out.name}.partial")


def previous_folder(out: Path) -> Path:
    """Where `out` is for the moment in which the next version takes its place."""
    return out.with_name(f"{out.name}.previous")


@contextmanager
def reserved(out: Path) -> Generator[Path]:
    """Make the folder for the next version of `out`, or take over what an interrupted run left.

    Raises:
        RecordingError: If another process is at it, or it cannot be made.
    """
    partial = partial_folder(out)
    try:
        partial.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise RecordingError(
            f"{partial}: cannot be made ({error.strerror}). Choose another --out"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = partial.exists() and partial.stat().st_ino == os.fstat(descriptor).st_ino
        except BlockingIOError:
            ours = False
        if not ours:
            raise RecordingError(f"{out}: another export writes it. Wait until it is done")
        yield partial
    finally:
        os.close(descriptor)
        # Empty, it holds nothing to go on with.
        with suppress(OSError):
            partial.rmdir()


def settle(out: Path) -> None:
    """Finish or undo an exchange that was interrupted."""
    previous = previous_folder(out)
    if not previous.exists():
        return
    if out.exists():
        shutil.rmtree(previous)
    else:
        previous.rename(out)


def put_in_place(partial: Path, out: Path) -> None:
    """Let `partial` become `out`; a crash leaves the old or the new one (see `settle`).

    Raises:
        RecordingError: If the file system refuses.
    """
    previous = previous_folder(out)
    try:
        for folder in [partial, *(p for p in partial.rglob("*") if p.is_dir())]:
            sync_directory(folder)
        if out.exists():
            out.rename(previous)
        partial.rename(out)
        sync_directory(out.parent)
        if previous.exists():
            shutil.rmtree(previous)
    except OSError as error:
        raise RecordingError(f"{out}: cannot be put in place ({error.strerror})") from error
