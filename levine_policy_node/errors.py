# SPDX-License-Identifier: Apache-2.0
"""Errors a user can fix, raised at start-up.

Every message is one line that names the source (file, parameter, topic), the field, what was
expected, what was found and what to do. Faults while the arm moves are not exceptions: they are
values the supervisor decides on (`core.faults`).
"""

from __future__ import annotations

from collections.abc import Iterable


class LevineError(Exception):
    """Base of every error that ends a start-up with one clear line."""


class ConfigError(LevineError, ValueError):
    """A robot file, parameter or command-line value is wrong.

    Attributes:
        source: File or parameter the value came from.
        field: Dotted path of the field, or "" for the whole source.
    """

    def __init__(self, source: str, field: str, problem: str, fix: str = "") -> None:
        self.source = source
        self.field = field
        where = f"{source}: {field}" if field else source
        super().__init__(f"{where}: {problem}" + (f". {fix}" if fix else ""))


class UnknownNameError(ConfigError):
    """A name is not one of the known ones; the message lists those."""

    def __init__(self, source: str, field: str, name: str, known: Iterable[str]) -> None:
        names = ", ".join(sorted(known)) or "none"
        super().__init__(source, field, f"'{name}' is not known", f"Known: {names}")


class BundleError(ConfigError):
    """A policy bundle is missing, damaged, or does not fit this robot."""


class ObservationError(LevineError, ValueError):
    """A policy input could not be built from what the robot provides."""


class InferenceError(LevineError, RuntimeError):
    """A policy graph failed or returned something unusable."""


class OutOfReachError(InferenceError):
    """A policy asks for a pose that the arm cannot take."""


class RemoteError(InferenceError):
    """A policy server cannot be reached, was lost, or answers what it should not."""


class RecordingError(LevineError, RuntimeError):
    """An episode could not be written or read."""


class SystemDependencyError(LevineError, RuntimeError):
    """A library or program of the operating system is missing."""


class AlreadyRunningError(LevineError, RuntimeError):
    """Another process does already what only one may do."""


def said(error: BaseException) -> str:
    """The error in one line; one that is not ours is named, since it was written for nobody."""
    return str(error) if isinstance(error, LevineError) else f"{type(error).__name__}: {error}"
