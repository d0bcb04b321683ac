# SPDX-License-Identifier: Apache-2.0
"""What was driven as transitions for off-policy learning. No torch, no ROS.

A transition is a sample, the motion that was really sent from there on, whoever asked for it, the
reward on the way to the next sample, and that sample. Rewards: 1 where the episode ends in
success, and -`TAKEOVER` where the person took over next (RLIF, Luo et al., 2024: whoever is
interrupted did something wrong).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from corrections import Grid, Track, sent_from

TAKEOVER = 0.5
"""Cost of making the person take over."""


@dataclass(frozen=True, slots=True)
class Transitions:
    """One episode of N transitions; the next sample of i is i + 1, the last one's is itself.

    Attributes:
        frames: (N, C, 96, 96, 3), RGB.
        joints: (N, J) [rad].
        rows: What was sent from each sample on (N, T, J) [rad].
        valid: Which rows were sent before the motion ended (N, T).
        human: Where the person had the arm (N,).
        reward: On the way to the next sample (N,).
        last: Where the episode ends (N,).
    """

    frames: npt.NDArray[np.uint8]
    joints: npt.NDArray[np.float32]
    rows: npt.NDArray[np.float32]
    valid: npt.NDArray[np.bool_]
    human: npt.NDArray[np.bool_]
    reward: npt.NDArray[np.float32]
    last: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.joints)


def transitions(track: Track, grid: Grid, *, success: bool) -> Transitions:
    """The transitions of one episode.

    Args:
        track: With the samples of all who drove.
        grid: How rows lie in time; its `least` is not minded.
        success: How it ended.
    """
    count = len(track.seen_s)
    human = np.zeros(count, dtype=bool)
    for begin_s, end_s in track.human:
        human |= (track.seen_s >= begin_s) & (track.seen_s < end_s)
    taken = np.append(human[1:] & ~human[:-1], False)[:count]
    reward = np.where(taken, -TAKEOVER, 0.0).astype(np.float32)
    last = np.zeros(count, dtype=bool)
    if count:
        last[-1] = True
        reward[-1] += float(success)
    end_s = float(track.sent_s[-1]) if len(track.sent_s) else 0.0
    rows, valid = sent_from(track, track.seen_s, end_s, grid)
    joints = track.joints.astype(np.float32)
    return Transitions(track.frames, joints, rows, valid, human, reward, last)


@dataclass(slots=True)
class Replay:
    """Transitions of many episodes; grows.

    Attributes:
        episodes: In the order they came.
    """

    episodes: list[Transitions] = field(default_factory=list)
    _places: list[tuple[int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._places)

    def add(self, episode: Transitions) -> None:
        """Take in one more episode."""
        number = len(self.episodes)
        self.episodes.append(episode)
        self._places += [(number, index) for index in range(len(episode))]

    def batch(self, indices: npt.NDArray[np.intp], *, ahead: int = 0) -> Transitions:
        """Some transitions, or those `ahead` samples later, at most the last of the episode.

        Args:
            indices: (B,), below the number of transitions.
            ahead: How many samples later.
        """
        found: list[tuple[Transitions, int]] = []
        for number, index in (self._places[i] for i in indices):
            episode = self.episodes[number]
            found.append((episode, min(index + ahead, len(episode) - 1)))
        return Transitions(
            np.stack([e.frames[i] for e, i in found]),
            np.stack([e.joints[i] for e, i in found]),
            np.stack([e.rows[i] for e, i in found]),
            np.stack([e.valid[i] for e, i in found]),
            np.array([e.human[i] for e, i in found]),
            np.array([e.reward[i] for e, i in found], dtype=np.float32),
            np.array([e.last[i] for e, i in found]),
        )
