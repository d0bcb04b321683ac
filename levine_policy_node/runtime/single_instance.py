# SPDX-License-Identifier: Apache-2.0
"""One process of a kind on a computer, by a lock that the kernel drops with its holder.

The lock is flock's, not the file's: a file left over by a dead process is no obstacle, however it
died.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path

from levine_policy_node.errors import AlreadyRunningError, SystemDependencyError

_SYSTEM = Path("/run/lock")


class SingleInstance:
    """Holds the lock until it is closed or the process ends.

    Args:
        what: What there may be one of, as in `safety_supervisor`.
        key: Of what: a robot, a ROS domain, a namespace.
        directory: Where lock files are; the system's, for all users, unless given.

    Raises:
        AlreadyRunningError: If another process holds the lock.
        SystemDependencyError: If no lock file can be made.
    """

    def __init__(self, what: str, key: tuple[str, ...], directory: Path | None = None) -> None:
        where = directory if directory is not None else _directory()
        parts = (re.sub(r"[^A-Za-z0-9_.-]", "-", part) for part in (what, *key) if part)
        self.path = where / f"levine-{'-'.join(parts)}.lock"
        self._file = self._opened()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 32).decode("ascii", "replace").strip()
            os.close(self._file)
            raise AlreadyRunningError(
                f"{what} for {', '.join(part for part in key if part)} is already running"
                + (f" (process {holder})" if holder else "")
                + f". There may be one: end it first ({self.path})"
            ) from None
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n".encode("ascii"))

    def close(self) -> None:
        """Give the lock back; safe to call twice. The file stays, another may wait for it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _opened(self) -> int:
        # In a directory that all may write to, Linux lets nobody create over another user's file.
        with suppress(OSError):
            return os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            made = os.open(self.path, flags, 0o666)
        except OSError as error:
            raise SystemDependencyError(
                f"{self.path}: the lock of the only instance cannot be opened ({error.strerror}). "
                "Remove the file, or make it writable for this user"
            ) from error
        with suppress(OSError):
            # Whoever runs the next one may be somebody else.
            os.fchmod(made, 0o666)
        return made


def _directory() -> Path:
    return _SYSTEM if os.access(_SYSTEM, os.W_OK) else Path(tempfile.gettempdir())
