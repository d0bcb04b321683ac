# SPDX-License-Identifier: Apache-2.0
"""Read the files of a bundle, once, and only what lies inside it.

The bytes that were hashed are the bytes that are used: nobody opens a path a second time. A link,
symbolic or hard, could bring in a file from elsewhere, and ONNX Runtime follows hard links.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from levine_policy_node.errors import BundleError

DOCUMENT = "policy.yaml"
MAX_DOCUMENT_BYTES = 256 * 1024
MAX_FILE_BYTES = 2 * 1024**3
_MAX_FILES = 1000


class BundleFiles:
    """Reads files by name from one bundle directory.

    Raises:
        BundleError: If `directory` is not a directory.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        if not self.directory.is_dir():
            raise BundleError(str(directory), "", "is not a directory")

    def read(self, name: str, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        """Read one regular file.

        Args:
            name: Relative path, as in the document.
            max_bytes: Largest size that is accepted [byte].

        Raises:
            BundleError: If it is missing, a link, not a file, too large or not readable.
        """
        path = self.directory / name
        if path.parent.resolve() != path.parent:
            raise self._error(name, "lies behind a symbolic link")
        # O_NONBLOCK: opening a FIFO must not hang before its type is known.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags)
        except OSError as error:
            raise self._error(name, _why(error)) from error
        try:
            self._check(name, os.fstat(descriptor), max_bytes)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(max_bytes + 1)
        finally:
            os.close(descriptor)
        if len(content) > max_bytes:
            raise self._error(name, f"grew past {max_bytes} bytes while being read")
        return content

    def has(self, name: str) -> bool:
        """Whether there is something of this name, readable or not."""
        return os.path.lexists(self.directory / name)

    def names(self, folders: Iterable[str] = ()) -> tuple[str, ...]:
        """Regular files in the directory and in these folders of it, links left out.

        Raises:
            BundleError: If there are very many, or the directory cannot be read.
        """
        found: list[str] = []
        for folder in ("", *folders):
            path = self.directory / folder
            if path.is_symlink() or not path.is_dir():
                continue
            prefix = f"{folder}/" if folder else ""
            try:
                with os.scandir(path) as entries:
                    for entry in entries:
                        if entry.is_file(follow_symlinks=False):
                            found.append(prefix + entry.name)
                        if len(found) > _MAX_FILES:
                            raise self._error(folder, f"has more than {_MAX_FILES} files")
            except OSError as error:
                raise self._error(folder, _why(error)) from error
        return tuple(sorted(found))

    def _check(self, name: str, status: os.stat_result, max_bytes: int) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise self._error(name, "is not a regular file")
        if status.st_nlink != 1:
            raise self._error(name, "is a hard link; copy the file")
        if status.st_size > max_bytes:
            raise self._error(name, f"has {status.st_size} bytes, at most {max_bytes} allowed")

    def _error(self, name: str, problem: str) -> BundleError:
        return BundleError(str(self.directory), name, problem)


def _why(error: OSError) -> str:
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return "is missing"
    if error.errno == errno.ELOOP:
        return "is a symbolic link; copy the file"
    return f"cannot be read ({error.strerror})"
