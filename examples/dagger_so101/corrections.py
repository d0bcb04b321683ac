# SPDX-License-Identifier: Apache-2.0
"""From what was driven to what is learned: samples of the spans in which a person had the arm.

HG-DAgger (Kelly et al., 2019): only what the person did joins the demonstrations. A label is the
motion that the arm was really sent, from the sample on; where it leaves the person's span, the
rest of the rows is no label. No torch, no ROS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Track:
    """One episode as it was driven, on one clock [s].

    Attributes:
        seen_s: When each sample was seen (N,).
        frames: What the cameras saw (N, C, 96, 96, 3), RGB.
        joints: Measured positions (N, J) [rad].
        sent_s: When each command was sent (M,), ascending.
        sent: What the arm was sent (M, J) [rad].
        human: Spans in which a person had the arm, in order.
    """

    seen_s: Floats
    frames: Frames
    joints: Floats
    sent_s: Floats
    sent: Floats
    human: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Labelled:
    """N samples with labels.

    Attributes:
        frames: (N, C, 96, 96, 3), RGB.
        joints: (N, J) [rad].
        rows: Joint targets (N, T, J) [rad].
        valid: Which rows are labels (N, T).
        human: Which samples a person's correction gave (N,); the others are demonstrations.
    """

    frames: Frames
    joints: npt.NDArray[np.float32]
    rows: npt.NDArray[np.float32]
    valid: npt.NDArray[np.bool_]
    human: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.joints)

    @staticmethod
    def demonstrated(
        frames: Frames, joints: npt.NDArray[np.float32], rows: npt.NDArray[np.float32]
    ) -> Labelled:
        """Samples whose every row is a label."""
        count = len(joints)
        valid = np.ones(rows.shape[:2], dtype=bool)
        return Labelled(frames, joints, rows, valid, np.zeros(count, dtype=bool))

    @staticmethod
    def join(parts: Sequence[Labelled]) -> Labelled:
        """Put samples one after the other."""
        return Labelled(
            np.concatenate([p.frames for p in parts]),
            np.concatenate([p.joints for p in parts]),
            np.concatenate([p.rows for p in parts]),
            np.concatenate([p.valid for p in parts]),
            np.concatenate([p.human for p in parts]),
        )


@dataclass(frozen=True, slots=True)
class Grid:
    """How labels lie in time.

    Attributes:
        rows: Of a chunk.
        row_s: Between two of them [s]; the first lies so far after the sample.
        least: Samples with fewer labels are left out.
    """

    rows: int = 16
    row_s: float = 0.1
    least: int = 4


def corrections(track: Track, grid: Grid) -> Labelled:
    """The samples of the person's spans, labelled with what was sent from there on."""
    parts = [_span(track, span, grid) for span in track.human] or [_span(track, (0.0, 0.0), grid)]
    return Labelled.join(parts)


def sent_from(
    track: Track, seen_s: Floats, end_s: float, grid: Grid
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """What the arm was sent from each time on, linear between commands.

    Args:
        track: With at least one command, unless there is no time.
        seen_s: Times (N,) [s].
        end_s: The motion until then counts [s].
        grid: How rows lie in time.

    Returns:
        Rows (N, T, J) [rad], and which of them lie before the end (N, T).
    """
    at_s = seen_s[:, None] + grid.row_s * np.arange(1, grid.rows + 1)
    last_s = min(end_s, float(track.sent_s[-1])) if len(track.sent_s) else end_s
    if not len(seen_s):
        return np.zeros((0, grid.rows, track.sent.shape[1]), np.float32), at_s <= last_s
    held_s = np.minimum(at_s, last_s)
    rows = [np.interp(held_s, track.sent_s, column) for column in track.sent.T]
    return np.stack(rows, axis=2).astype(np.float32), at_s <= last_s


def spans_of(
    modes: frozenset[str], changes: Sequence[tuple[float, str]], end_s: float
) -> tuple[Span, ...]:
    """The spans in which the supervisor was in one of `modes`.

    Args:
        modes: "HUMAN" while a person has the arm, "POLICY" while the policy has it.
        changes: (time [s], mode) whenever the supervisor's mode changed, in order.
        end_s: When the episode ended [s].
    """
    spans: list[Span] = []
    begin_s: float | None = None
    for at_s, mode in changes:
        if mode in modes and begin_s is None:
            begin_s = at_s
        elif mode not in modes and begin_s is not None:
            spans.append((begin_s, at_s))
            begin_s = None
    if begin_s is not None:
        spans.append((begin_s, end_s))
    return tuple(spans)


def _span(track: Track, span: Span, grid: Grid) -> Labelled:
    """The samples of one span that have enough labels."""
    inside = np.flatnonzero((track.seen_s >= span[0]) & (track.seen_s < span[1]))
    rows, valid = sent_from(track, track.seen_s[inside], span[1], grid)
    enough = valid.sum(axis=1) >= grid.least
    kept = inside[enough]
    return Labelled(
        track.frames[kept],
        track.joints[kept].astype(np.float32),
        rows[enough],
        valid[enough],
        np.ones(len(kept), dtype=bool),
    )
