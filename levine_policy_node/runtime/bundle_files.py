# SPDX-License-Identifier: Apache-2.0
"""Read the files of a bundle, once, and only what lies inside it.

The bytes that were hashed are the bytes that are used: nobody opens a path a second time. A link,
symbolic or hard, could bring in a file from elsewhere, and ONNX Runtime follows hard links. The
directory is opened once, and files from there, folder by folder: nobody who moves or replaces
directories meanwhile changes what is read.
"""

from __future__ import annotations

import errno
import os
import stat
import weakref
from collections.abc import Iterable
from pathlib import Path

from levine_policy_node.errors import BundleError

DOCUMENT = "policy.yaml"
MAX_DOCUMENT_BYTES = 256 * 1024
MAX_FILE_BYTES = 2 * 1024**3
MAX_BUNDLE_BYTES = 8 * 1024**3
"""Largest sum of all files that are read, unless a setting says another [byte]."""

_MAX_FILES = 1000
_MAX_DEPTH = 16
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO must not hang before its type is known.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class BundleFiles:
    """Reads files by name from one bundle directory.

    Args:
        directory: The directory.
        max_bytes: Largest sum of the files that are read [byte].

    Raises:
        BundleError: If `directory` is not a directory.
    """

    def __init__(self, directory: Path, max_bytes: int = MAX_BUNDLE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._left = max_bytes
        try:
            self.directory = directory.resolve()
            self._top = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, ValueError, RuntimeError) as error:
            # RuntimeError: a loop of links, before Python 3.13.
            raise BundleError(printable(directory), "", "is not a directory") from error
        weakref.finalize(self, os.close, self._top)

    def read(self, name: str, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        """Read one regular file.

        Args:
            name: Relative path, as in the document.
            max_bytes: Largest size that is accepted [byte].

        Raises:
            BundleError: If it is missing, a link, not a file, too large or not readable.
        """
        try:
            descriptor = self._open(name, _FILE)
        except OSError as error:
            raise self._error(name, _why(error)) from error
        try:
            size = self._checked_size(name, os.fstat(descriptor), max_bytes)
            # Not more than was announced: a read of n bytes takes memory for n bytes at once.
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(size + 1)
        except OSError as error:
            raise self._error(name, _why(error)) from error
        finally:
            os.close(descriptor)
        if len(content) != size:
            raise self._error(name, "changed its size while it was read")
        self._left -= size
        return content

    def has(self, name: str) -> bool:
        """Whether there is something of this name, readable or not."""
        try:
            *folders, last = self._parts(name)
            parent = self._folder(name, folders)
            try:
                os.stat(last, dir_fd=parent, follow_symlinks=False)
            finally:
                os.close(parent)
        except (OSError, BundleError):
            return False
        return True

    def names(self, folders: Iterable[str] = ()) -> tuple[str, ...]:
        """Regular files in the directory and in these folders of it, links left out.

        Raises:
            BundleError: If there are very many, or the directory cannot be read.
        """
        found: list[str] = []
        for folder in ("", *folders):
            try:
                entries = self._scan(folder)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno in {errno.ENOTDIR, errno.ELOOP}:
                    continue
                raise self._error(folder, _why(error)) from error
            names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
            found += [f"{folder}/{name}" if folder else name for name in names]
            self._check_count(found)
        return tuple(sorted(found))

    def tree(self) -> tuple[str, ...]:
        """Every file in the directory and all folders below it.

        Raises:
            BundleError: If one is a link or no regular file, there are very many, or a folder
                cannot be read.
        """
        found: list[str] = []
        folders = [""]
        while folders:
            folder = folders.pop()
            if folder.count("/") >= _MAX_DEPTH:
                raise self._error(folder, f"lies more than {_MAX_DEPTH} folders deep")
            try:
                for entry in self._scan(folder):
                    name = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(name)
                    elif entry.is_file(follow_symlinks=False):
                        found.append(name)
                    else:
                        raise self._error(name, "is a symbolic link or not a regular file")
            except OSError as error:
                raise self._error(folder, _why(error)) from error
            self._check_count([*found, *folders])
        return tuple(sorted(found))

    def _scan(self, folder: str) -> list[os.DirEntry[str]]:
        descriptor = self._folder(folder, self._parts(folder) if folder else [])
        try:
            with os.scandir(descriptor) as entries:
                found: list[os.DirEntry[str]] = []
                for entry in entries:
                    # Asked for now: later the descriptor it needs is closed.
                    entry.is_file(follow_symlinks=False)
                    entry.is_dir(follow_symlinks=False)
                    found.append(entry)
                    if len(found) > _MAX_FILES:
                        raise self._error(folder, f"has more than {_MAX_FILES} files")
                return found
        finally:
            os.close(descriptor)

    def _open(self, name: str, flags: int) -> int:
        *folders, last = self._parts(name)
        parent = self._folder(name, folders)
        try:
            return os.open(last, flags, dir_fd=parent)
        finally:
            os.close(parent)

    def _folder(self, name: str, folders: list[str]) -> int:
        """A descriptor of a folder inside, to be closed."""
        descriptor = os.dup(self._top)
        for folder in folders:
            try:
                below = os.open(folder, _DIRECTORY, dir_fd=descriptor)
            except OSError as error:
                if _is_link(folder, descriptor):
                    raise self._error(name, "lies behind a symbolic link") from error
                raise
            finally:
                os.close(descriptor)
            descriptor = below
        return descriptor

    def _parts(self, name: str) -> list[str]:
        parts = name.split("/")
        if any(part in {"", ".", ".."} for part in parts) or not _is_plain(name):
            raise self._error(name, "is not a plain path inside the bundle")
        return parts

    def _checked_size(self, name: str, status: os.stat_result, max_bytes: int) -> int:
        if not stat.S_ISREG(status.st_mode):
            raise self._error(name, "is not a regular file")
        if status.st_nlink != 1:
            raise self._error(name, "is a hard link; copy the file")
        if status.st_size > max_bytes:
            raise self._error(name, f"has {status.st_size} bytes, at most {max_bytes} allowed")
        if status.st_size > self._left:
            raise self._error(
                name, f"makes the bundle larger than the {self._max_bytes} bytes allowed in all"
            )
        return status.st_size

    def _check_count(self, found: list[str]) -> None:
        if len(found) > _MAX_FILES:
            raise self._error("", f"has more than {_MAX_FILES} files")

    def _error(self, name: str, problem: str) -> BundleError:
        return BundleError(str(self.directory), printable(name), problem)


def is_directory(path: Path) -> bool:
    """Whether there is a directory, also for what can be no path."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Whether there is a regular file, also for what can be no path."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _is_link(name: str, directory: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _is_plain(name: str) -> bool:
    return "\0" not in name and not any("\ud800" <= c <= "\udfff" for c in name)


def printable(name: str | Path) -> str:
    """A short form that can be printed, whatever is in it."""
    text = str(name)[:200].encode(errors="backslashreplace").decode()
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _why(error: OSError) -> str:
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return "is missing"
    if error.errno == errno.ELOOP:
        return "is a symbolic link; copy the file"
    return f"cannot be read ({error.strerror})"
