# SPDX-License-Identifier: Apache-2.0
"""A file that only ever grows, so that a crash can cost its end and nothing before."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


class AppendFile:
    """A new file that is only appended to, with a running hash."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._hash = hashlib.sha256()
        self._size = 0
        self._whole = 0

    def write(self, data: bytes) -> int:
        """Append all of `data`; raises OSError when the disk takes no more."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        self._hash.update(data)
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._size

    def flush(self) -> None:
        """Do nothing: writes are not buffered."""

    def sync(self) -> None:
        """Wait until what was written is on the disk."""
        os.fdatasync(self._fd)
        self._whole = self._size

    def settle(self) -> None:
        """Wait until the file and all that is known of it are on the disk."""
        os.fsync(self._fd)
        self._whole = self._size

    def cut_torn_end(self) -> None:
        """After a failed write, go back to the last state that was synced."""
        os.ftruncate(self._fd, self._whole)
        self._size = self._whole

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def sha256(self) -> str:
        """Hash of everything written."""
        return self._hash.hexdigest()
