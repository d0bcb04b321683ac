# SPDX-License-Identifier: Apache-2.0
"""Behaviour cloning with a plain MLP: joints and goal to a chunk of joint targets.

The form in which most labs clone: one vector of everything measured, normalised with the mean and
deviation of the demonstrations, a few fully connected layers, a chunk of targets relative to the
joints. Pomerleau, ALVINN (1989); Zhao et al., ACT (2023) for chunks.
"""

from __future__ import annotations

import numpy as np
import torch
from export_common import (
    SO101_JOINTS,
    Oracle,
    Recording,
    begin_bundle,
    export_graph,
    finish_bundle,
    record,
    single,
    with_goal,
    write_parity,
    write_stats,
)
from reach_samples import ReachSamples, reach_samples
from torch import Tensor, nn

RATE, ROWS = 10.0, 16
_JOINTS = len(SO101_JOINTS)
_SEED = 0
_STEPS = 2000

_DOCUMENT = f"""
format: policy_package
version: "1.1"
name: bc
description: MLP, joints and a place for the hand to relative joint targets
robot: so101
rate: {RATE:g}
graphs: {{step: policy.onnx}}
observations:
  obs:
    terms:
      - {{kind: state/joint/position, names: [{", ".join(SO101_JOINTS)}]}}
      - {{kind: command/body/position, frame: base_link}}
    normalize: mean_std
decoder: {{type: direct, output: action}}
action:
  normalize: mean_std
  parts:
    - kind: target/joint/position
      names: [{", ".join(SO101_JOINTS)}]
      mode: relative
chunk: {{size: {ROWS}, execute: 2}}
stats: stats.safetensors
"""


class Mlp(nn.Module):
    """(B, 9) normalised joints and goal to (B, T, 6) normalised targets."""

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(_JOINTS + 3, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, ROWS * _JOINTS),
        )

    def forward(self, obs: Tensor) -> Tensor:
        """One pass."""
        return self.layers(obs).reshape(-1, ROWS, _JOINTS)


def reference(policy: Mlp, stats: dict[str, np.ndarray], seen: Recording) -> Oracle:
    """What the training code answers: (N, T, 6) joint targets [rad]."""
    answers: list[np.ndarray] = []
    for position, goal in zip(seen.position, seen.goals["position"], strict=True):
        obs = (np.concatenate([position, goal]) - stats["obs.mean"]) / stats["obs.std"]
        with torch.no_grad():
            rows = policy(torch.tensor(obs[None], dtype=torch.float32))[0].numpy()
        answers.append(position + rows * stats["action.std"] + stats["action.mean"])
    return Oracle(np.stack(answers), SO101_JOINTS)


def train(samples: ReachSamples) -> tuple[Mlp, dict[str, np.ndarray]]:
    """Fit the network to the expert's rows; statistics are those of the samples."""
    torch.manual_seed(_SEED)
    obs = np.concatenate([samples.position, samples.goal], axis=1)
    rows = samples.rows - samples.position[:, None]
    given = {
        "obs.mean": obs.mean(0),
        "obs.std": np.maximum(obs.std(0), 1e-2),
        "action.mean": rows.mean((0, 1)),
        "action.std": np.maximum(rows.std((0, 1)), 1e-2),
    }
    stats = single(given)
    x = torch.tensor((obs - stats["obs.mean"]) / stats["obs.std"], dtype=torch.float32)
    y = (rows - stats["action.mean"]) / stats["action.std"]
    y = torch.tensor(y, dtype=torch.float32)
    policy = Mlp()
    adam = torch.optim.Adam(policy.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, _STEPS)
    for _ in range(_STEPS):
        batch = torch.randint(len(x), (512,))
        loss = nn.functional.smooth_l1_loss(policy(x[batch]), y[batch])
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
    print(f"bc: loss {loss.item():.4f} on {len(x)} samples")
    return policy.eval(), stats


def main() -> None:
    """Train, then write the bundle and the oracle's answers."""
    torch.set_num_threads(1)
    policy, stats = train(reach_samples(1000, 16, rows=ROWS, seed=_SEED))
    folder = begin_bundle("bc")
    export_graph(policy, {"obs": torch.zeros(1, _JOINTS + 3)}, ["action"], folder / "policy.onnx")
    write_stats(folder, stats)
    finish_bundle(folder, _DOCUMENT)
    seen = with_goal(record(RATE))
    write_parity("bc", seen, reference(policy, stats, seen))


if __name__ == "__main__":
    main()
