# SPDX-License-Identifier: Apache-2.0
"""Whether inference keeps up with its chunks, in figures.

A chunk takes effect when its inference is done, so only the rows after that can be played. Before
they end the next chunk must be there; else the arm brakes to rest, it starves.
"""

from __future__ import annotations

from levine_policy_node.core.statistics import RollingPercentiles

_ENOUGH = 5
_WINDOW = 50


class InferencePace:
    """Compares how long inference takes with how long its chunks last."""

    def __init__(self) -> None:
        self._took_s = RollingPercentiles(_WINDOW)
        self._left_s = RollingPercentiles(_WINDOW)
        self._last_s = 0.0
        self._chunks = 0
        self._hopeless = False

    @property
    def took_s(self) -> float:
        """Median time of an inference, from asking to the chunk [s]; NaN before the first."""
        return self._took_s.percentile(50)

    @property
    def left_s(self) -> float:
        """Median time that was left to play of a chunk when it came [s]; NaN before the first."""
        return self._left_s.percentile(50)

    def add(self, took_s: float, left_s: float) -> None:
        """Note one chunk.

        Args:
            took_s: From asking to the chunk [s].
            left_s: What of the chunk was still due when it came; 0 if nothing was [s].
        """
        self._last_s = took_s
        self._took_s.add(took_s)
        self._left_s.add(left_s)
        self._chunks += 1

    def hopeless(self) -> str:
        """Say once that inference takes longer than what it leaves of its chunks, else ""."""
        if self._hopeless or self._chunks < _ENOUGH or self.took_s <= self.left_s:
            return ""
        self._hopeless = True
        return (
            f"inference cannot keep up with its chunks: it takes {self.took_s:.2f} s (median), "
            f"and then {self.left_s:.2f} s of a chunk are left to play, so the arm stops between "
            f"chunks. Export longer chunks, or run the policy on a faster computer"
        )

    def starved(self, times: int) -> str:
        """Say why the timeline ended before a new chunk came.

        Args:
            times: How often that has happened so far, this time included.
        """
        how_often = f"{times} time{'s' if times > 1 else ''} in {self._chunks} chunks"
        begin = "starved: the timeline ended before a new chunk came, so the arm brakes to rest"
        if self._chunks == 0:
            return f"{begin} ({how_often})"
        return (
            f"{begin} ({how_often}). Inference takes {self.took_s:.2f} s (median; the last "
            f"{self._last_s:.2f} s), and then {self.left_s:.2f} s of a chunk are left to play"
        )
