# SPDX-License-Identifier: Apache-2.0
"""Graphs as ONNX Runtime optimised them for this host, so that the next start need not.

A file here is made by this package from verified bytes, for one graph, one ONNX Runtime, one
provider and one processor. The directory is private; what is in it and belongs to somebody else,
is a link, or is not what was written is not read.
"""

from __future__ import annotations

import hashlib
import os
import platform
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MAX_GRAPH_BYTES = 16 * 1024**2
"""Larger graphs are not kept: loading them is mostly weights, which no optimisation shortens.

Processor time of loading, plain and kept (ONNX Runtime 1.31, one core): 10 unrolled steps of
1.6 MB 541 and 148 ms, a step of 1.1 MB 43 and 24 ms, of 4.4 MB 95 and 63 ms; but of 17 MB 205 and
209 ms, and an ACT of 85 MB 334 and 666 ms, since what is kept must be hashed.
"""

_MAX_BYTES = 256 * 1024**2
_MAX_FILES = 32
_DIGEST_BYTES = 32
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def cache_directory() -> Path:
    """Where this user's graphs are kept, in `$XDG_CACHE_HOME` or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(base) if base.startswith("/") else Path("~/.cache").expanduser()
    return home / "levine_policy_node"


def graph_key(content: bytes, weights: Mapping[str, bytes], *how: str) -> str:
    """Name of a graph in the cache.

    Args:
        content: Its bytes.
        weights: Files it refers to.
        how: What else decides how it is optimised; the processor is added.
    """
    parts = [hashlib.sha256(content).hexdigest()]
    parts += [f"{name}={hashlib.sha256(weights[name]).hexdigest()}" for name in sorted(weights)]
    return hashlib.sha256("\n".join([*parts, *how, _processor()]).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class GraphCache:
    """Optimised graphs by key.

    Attributes:
        directory: Private to this user.
    """

    directory: Path

    @staticmethod
    def open(directory: Path) -> GraphCache | None:
        """The cache in a directory, which is made if needed; None where it cannot be private."""
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = directory.lstat()
        except (OSError, ValueError):
            return None
        ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
        return GraphCache(directory) if ours and not status.st_mode & 0o077 else None

    def read(self, key: str) -> bytes | None:
        """The optimised graph; None if there is none, or none that can be trusted."""
        try:
            descriptor = os.open(self._path(key), _READ)
            with os.fdopen(descriptor, "rb") as file:
                status = os.fstat(file.fileno())
                if not _ours(status):
                    return None
                digest, content = file.read(_DIGEST_BYTES), file.read(status.st_size)
        except OSError:
            return None
        if hashlib.sha256(content).digest() != digest:
            self.forget(key)
            return None
        with suppress(OSError):
            # What was used last is thrown away last.
            os.utime(self._path(key))
        return content

    def keep(self, key: str, content: bytes) -> None:
        """Put an optimised graph in, whole or not at all; nothing happens if the disk is full."""
        if len(content) > MAX_GRAPH_BYTES:
            return
        with suppress(OSError):
            descriptor, name = tempfile.mkstemp(dir=self.directory, prefix=".new-")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(hashlib.sha256(content).digest())
                    file.write(content)
                Path(name).replace(self._path(key))
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise
            self._tidy()

    def forget(self, key: str) -> None:
        """Remove a graph that is of no use."""
        with suppress(OSError):
            self._path(key).unlink(missing_ok=True)

    def _tidy(self) -> None:
        """Throw away what was not used for longest, until the rest fits."""
        found = [(path, path.lstat()) for path in self.directory.glob("*.onnx")]
        newest_first = sorted(found, key=lambda item: item[1].st_mtime_ns, reverse=True)
        total = 0
        for count, (path, status) in enumerate(newest_first, start=1):
            total += status.st_size
            if count > _MAX_FILES or total > _MAX_BYTES:
                path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.directory / f"{key}.onnx"


def _ours(status: os.stat_result) -> bool:
    return (
        stat.S_ISREG(status.st_mode)
        and status.st_uid == os.geteuid()
        and status.st_nlink == 1
        and not status.st_mode & 0o022
        and status.st_size <= MAX_GRAPH_BYTES + _DIGEST_BYTES
    )


def _processor() -> str:
    """Which instructions this host has; ONNX Runtime lays out weights for them."""
    wanted = ("model name", "flags", "Features", "CPU part")
    lines = [platform.machine()]
    with suppress(OSError):
        block = Path("/proc/cpuinfo").read_text(errors="replace").split("\n\n", 1)[0]
        lines += [line for line in block.splitlines() if line.startswith(wanted)]
    return "\n".join(lines)
