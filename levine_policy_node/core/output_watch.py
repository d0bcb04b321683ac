# SPDX-License-Identifier: Apache-2.0
"""Whether what a policy asks for can still be an answer to what it sees.

A network that has left what it was trained on is seldom not finite: it turns to and fro from row
to row, asks for what no joint can reach, or says the same whatever it sees. The limits make all
of that harmless for the arm and hide it from the person, so it is looked for in the policy's own
rows, before they are merged and smoothed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.alignment import Problem, StreamFault
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.units import BoolArray, FloatArray, StampNs, seconds

OUTPUT = "policy output"

_PATIENCE_S = 0.5
_STUCK_S = 1.0
# A pause after which what was noted before belongs to another situation.
_FORGOTTEN_S = 5.0
# A third of the highest frequency that rows can show, which turns at every one.
_FLIPS = 1.0 / 3.0
_FEWEST_TURNS = 6
# Leader arms and statistics of other arms ask for a little more than there is.
_BEYOND = 0.05


@dataclass(frozen=True, slots=True)
class _Row:
    stamp_ns: StampNs
    position: FloatArray


class OutputWatch:
    """Looks at every chunk of one policy.

    Args:
        limits: Of the arm.
        discrete: Which joints are grippers, shape (J,): they may stand at their end and switch.
    """

    def __init__(self, limits: JointLimits, discrete: BoolArray) -> None:
        self._limits = limits
        self._judged = ~np.asarray(discrete, dtype=bool)
        self._rows: list[_Row] = []
        self._last: ActionChunk | None = None
        self._since: dict[str, StampNs] = {}
        self._stuck = False

    def add(self, chunk: ActionChunk) -> StreamFault | None:
        """Note a chunk as the policy gave it; say why it should not move the arm, or None.

        Efforts are not judged.
        """
        last = self._last
        if last is not None:
            passed_s = seconds(int(chunk.observed_ns - last.observed_ns))
            if not 0.0 <= passed_s <= _FORGOTTEN_S:
                self._rows, self._since, last = [], {}, None
        self._last = chunk
        same = last is not None and np.array_equal(last.positions, chunk.positions)
        self._stuck = self._lasts("stuck", chunk.observed_ns, _STUCK_S, bad=same)
        if chunk.efforts is not None:
            return None
        return self._chatters(chunk) or self._out_of_range(chunk)

    def stuck(self) -> tuple[str, str] | None:
        """Kind and text if the policy has answered the same for long, whatever it saw."""
        if not self._stuck:
            return None
        return "stuck", "the policy's answers have been the same, bit for bit, for a second"

    def _chatters(self, chunk: ActionChunk) -> StreamFault | None:
        alone = len(chunk.positions) >= _FEWEST_TURNS + 2
        rows = chunk.positions if alone else self._played(chunk)
        turning = chattering(rows, chunk.dt_s, self._limits.acceleration) & self._judged
        # What was played covers the time by itself.
        needed_s = _PATIENCE_S if alone else 0.0
        if self._lasts("chatters", chunk.observed_ns, needed_s, bad=bool(turning.any())):
            return StreamFault(OUTPUT, Problem.CHATTERS, detail=self._named(turning))
        return None

    def _played(self, chunk: ActionChunk) -> FloatArray:
        """The rows of the last half second, those of this chunk included, shape (T, J) [rad]."""
        first_ns = chunk.row_stamp(0)
        rows = [_Row(chunk.row_stamp(i), row) for i, row in enumerate(chunk.positions)]
        self._rows = [row for row in self._rows if row.stamp_ns < first_ns] + rows
        kept = max(_FEWEST_TURNS + 2, round(_PATIENCE_S / chunk.dt_s))
        self._rows = self._rows[-kept:]
        return np.stack([row.position for row in self._rows])

    def _out_of_range(self, chunk: ActionChunk) -> StreamFault | None:
        limits = self._limits
        beyond = _BEYOND * (limits.upper - limits.lower)
        rows = chunk.positions
        outside = (rows > limits.upper + beyond).all(axis=0)
        outside |= (rows < limits.lower - beyond).all(axis=0)
        if chunk.integrated_from is not None:
            # Velocities are summed up from anywhere.
            outside &= np.isnan(chunk.integrated_from)
        outside &= self._judged
        if self._lasts("range", chunk.observed_ns, _PATIENCE_S, bad=bool(outside.any())):
            return StreamFault(OUTPUT, Problem.OUT_OF_RANGE, detail=self._named(outside))
        return None

    def _lasts(self, kind: str, stamp_ns: StampNs, needed_s: float, *, bad: bool) -> bool:
        if not bad:
            self._since.pop(kind, None)
            return False
        begun_ns = self._since.setdefault(kind, stamp_ns)
        return seconds(int(stamp_ns - begun_ns)) >= needed_s

    def _named(self, which: BoolArray) -> str:
        return ", ".join(n for n, it in zip(self._limits.names, which, strict=True) if it)


def chattering(rows: FloatArray, dt_s: float, acceleration: FloatArray) -> BoolArray:
    """Which joints turn back more often than in every third row, shape (J,).

    A turn counts if following it takes more than the joint's acceleration: noise that the arm can
    follow is noise, not chatter.

    Args:
        rows: Targets, shape (T, J) [rad].
        dt_s: Time between them [s].
        acceleration: Limits, shape (J,) [rad/s^2].
    """
    steps: FloatArray = rows[1:] - rows[:-1]
    turns: FloatArray = steps[1:] - steps[:-1]
    if len(turns) < _FEWEST_TURNS:
        return np.zeros(len(acceleration), dtype=bool)
    flips = (steps[1:] * steps[:-1] < 0.0) & (np.abs(turns) > acceleration * dt_s**2)
    return np.array([column.sum() > _FLIPS * len(turns) for column in flips.T], dtype=bool)
