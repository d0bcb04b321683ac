# SPDX-License-Identifier: Apache-2.0
"""How far a long command is: one line per finished episode, or a bar."""

from __future__ import annotations

import sys

from levine_policy_node.core.success_rate import EpisodeResult


class EpisodeProgress:
    """Prints how each episode ended; call it with (index, result)."""

    def __init__(self, total: int) -> None:
        self._total = total

    def __call__(self, index: int, result: EpisodeResult) -> None:
        """Print the line of one episode."""
        verdict = "success" if result.success else f"failed ({result.ended_by})"
        for cause in result.stops:
            print(f"  stopped and resumed: {cause}")
        print(
            f"[{index + 1}/{self._total}] seed {result.seed}: "
            f"{verdict} in {result.duration_s:.1f} s",
            flush=True,
        )


class ProgressBar:
    """A line that fills on a terminal; elsewhere a line per step."""

    _CELLS = 24

    def __init__(self, title: str) -> None:
        self._title = title
        self._terminal = sys.stdout.isatty()
        self._open = False

    def show(self, done: int, total: int, text: str) -> None:
        """Say that `done` of `total` are, the last of them being `text`."""
        if not self._terminal:
            print(f"[{done}/{total}] {text}", flush=True)
            return
        filled = self._CELLS * done // max(total, 1)
        cells = "#" * filled + "." * (self._CELLS - filled)
        print(f"\r\x1b[K{self._title} [{cells}] {done}/{total} {text}", end="", flush=True)
        self._open = True

    def end(self) -> None:
        """Leave the line."""
        if self._open:
            print()
        self._open = False
