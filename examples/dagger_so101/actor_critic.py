# SPDX-License-Identifier: Apache-2.0
"""An off-policy update for chunk policies: two critics, and an actor weighted by advantage.

Half of every batch is demonstrations and corrections, half is everything that was driven (RLPD,
Ball et al., 2023, as HIL-SERL, Luo et al., 2024, uses it). The critics learn by temporal
differences what a chunk is worth. The actor imitates what was driven, the more the better the
critics find it than what it would do itself (AWAC, Nair et al., 2020); what a person did counts
in full. So it never asks the critics about motions nobody has tried.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from corrections import Labelled
from mixing import Draws, Mix, draw_weights
from network import FEATURES, ChunkPolicy, Scaling
from replay import Replay, Transitions
from torch import Tensor, nn
from training import jittered

_HALF_BATCH = 32
_DISCOUNT = 0.98
_SLOW = 0.995
_TEMPERATURE, _MOST = 0.1, 3.0
_CRITIC_ROWS = 6
_JOINT_NOISE = 0.01


@dataclass(frozen=True, slots=True)
class Losses:
    """Of one update."""

    actor: float
    critic: float

    def __str__(self) -> str:
        return f"losses {self.actor:.3f} (actor), {self.critic:.4f} (critic)"


class ActorCritic:
    """The policy that is being learned, its critics, and slow copies of both.

    Attributes:
        exported: Slow average of the policy: what is pushed to the robot.
    """

    def __init__(self, policy: ChunkPolicy, scaling: Scaling, learning_rate: float = 3e-4) -> None:
        torch.manual_seed(2)
        self._policy = policy
        self.exported = copy.deepcopy(policy)
        self._row_std = torch.as_tensor(scaling.row_std, dtype=torch.float32)
        self._critics = nn.ModuleList(_critic() for _ in range(2))
        self._targets = copy.deepcopy(self._critics)
        self._act = torch.optim.AdamW(policy.parameters(), learning_rate, weight_decay=1e-4)
        self._judge = torch.optim.AdamW(self._critics.parameters(), learning_rate)
        self._rng = np.random.default_rng(0)

    def update(self, shown: Labelled, replay: Replay) -> Losses:
        """One step on half a batch of what was shown and half a batch of what was driven."""
        drawn = Draws(draw_weights(shown.human, Mix.IWR), int(self._rng.integers(1 << 31)))
        imitation = self._imitate(shown, drawn.batch(_HALF_BATCH))
        index = self._rng.integers(0, len(replay), _HALF_BATCH)
        now, after = replay.batch(index), replay.batch(index, ahead=1)
        seen = self._see(now.frames, now.joints)
        rows = torch.from_numpy(now.rows - now.joints[:, None, :])
        own = self._policy.plan(seen)
        critic = self._criticise(seen.detach(), rows, now, after)
        weights = self._weights(seen.detach(), rows, own.detach(), now)
        valid = torch.from_numpy(now.valid)[..., None] * weights[:, None, None]
        error = ((own - rows) / self._row_std).abs() * valid
        weighted = error.sum() / (valid.sum() * error.shape[-1]).clamp_min(1e-6)
        actor = 0.5 * (imitation + weighted)
        _step(self._act, actor, self._policy)
        _step(self._judge, critic, self._critics)
        _follow(self.exported, self._policy)
        _follow(self._targets, self._critics)
        return Losses(actor.item(), critic.item())

    def _imitate(self, shown: Labelled, index: np.ndarray) -> Tensor:
        joints = shown.joints[index]
        own = self._policy.plan(self._see(shown.frames[index], joints))
        wanted = torch.from_numpy(shown.rows[index] - joints[:, None, :])
        valid = torch.from_numpy(shown.valid[index])[..., None]
        error = ((own - wanted) / self._row_std).abs() * valid
        return error.sum() / (valid.sum() * error.shape[-1])

    def _see(self, frames: np.ndarray, joints: np.ndarray) -> Tensor:
        measured = torch.from_numpy(joints)
        noisy = measured + _JOINT_NOISE * torch.randn_like(measured)
        views = [jittered(torch.from_numpy(frames[:, camera])) for camera in range(2)]
        return self._policy.see(noisy, *views)

    def _criticise(
        self, seen: Tensor, rows: Tensor, now: Transitions, after: Transitions
    ) -> Tensor:
        """Temporal-difference loss of both critics; the worse of the slow ones is the target."""
        with torch.no_grad():
            later = self._see(after.frames, after.joints)
            best = self._policy.plan(later)
            worth = torch.minimum(*(self._value(c, later, best) for c in self._targets))
            worth = torch.where(torch.from_numpy(now.last), 0.0, worth)
            target = torch.from_numpy(now.reward) + _DISCOUNT * worth
        errors = [(self._value(c, seen, rows) - target).square().mean() for c in self._critics]
        return errors[0] + errors[1]

    def _weights(self, seen: Tensor, rows: Tensor, own: Tensor, now: Transitions) -> Tensor:
        with torch.no_grad():
            driven, planned = (
                torch.minimum(*(self._value(c, seen, r) for c in self._critics))
                for r in (rows, own)
            )
        weights = ((driven - planned) / _TEMPERATURE).clamp(max=np.log(_MOST)).exp()
        return torch.where(torch.from_numpy(now.human), weights.clamp_min(1.0), weights)

    def _value(self, critic: nn.Module, seen: Tensor, rows: Tensor) -> Tensor:
        near = (rows / self._row_std)[:, :_CRITIC_ROWS].flatten(1)
        return critic(torch.cat([seen, near], dim=1))[:, 0]


def _critic() -> nn.Module:
    return nn.Sequential(
        nn.Linear(FEATURES + _CRITIC_ROWS * 6, 256),
        nn.ReLU(),
        nn.Linear(256, 256),
        nn.ReLU(),
        nn.Linear(256, 1),
    )


def _step(optimizer: torch.optim.Optimizer, loss: Tensor, learned: nn.Module) -> None:
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(learned.parameters(), 1.0)
    optimizer.step()


def _follow(slow: nn.Module, fast: nn.Module) -> None:
    with torch.no_grad():
        for kept, new in zip(slow.parameters(), fast.parameters(), strict=True):
            kept.lerp_(new, 1.0 - _SLOW)
