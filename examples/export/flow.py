# SPDX-License-Identifier: Apache-2.0
"""A flow-matching policy: an encoder, and a velocity field that takes noise to a chunk.

Conventions of openpi and LeRobot (pi0): x_t = t noise + (1 - t) actions, the network gives
noise - actions, and ten Euler steps go from t = 1 to 0. Lipman et al., Flow Matching (2023);
Black et al., pi0 (2024). pi0, pi0.5 and SmolVLA have scripts of their own; this one is trained, on
reaching.
"""

from __future__ import annotations

import math

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

RATE, ROWS, STEPS = 10.0, 16, 10
_JOINTS, _COND, _HIDDEN, _WAVES = len(SO101_JOINTS), 32, 96, 8
_SEED, _TRAINING_STEPS, _EARLIEST = 0, 4000, 0.05
_NAMES = ", ".join(SO101_JOINTS)

_DOCUMENT = f"""
format: policy_package
version: "1.1"
name: flow
description: Flow matching, joints and a place for the hand to relative joint targets
robot: so101
rate: {RATE:g}
graphs: {{encode: encode.onnx, step: step.onnx}}
observations:
  obs:
    terms:
      - {{kind: state/joint/position, names: [{_NAMES}]}}
      - {{kind: command/body/position, frame: base_link}}
    normalize: mean_std
decoder: {{type: flow, steps: {STEPS}, x: x_t, time: timestep, velocity: v_t}}
action:
  normalize: mean_std
  parts:
    - {{kind: target/joint/position, names: [{_NAMES}], mode: relative}}
chunk: {{size: {ROWS}, execute: 2}}
stats: stats.safetensors
"""


class Encoder(nn.Module):
    """(B, 9) normalised joints and goal to what the velocity field sees of them, (B, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(_JOINTS + 3, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, _COND)
        )

    def forward(self, obs: Tensor) -> Tensor:
        """One pass."""
        return self.layers(obs)


class Velocity(nn.Module):
    """Sample (B, T, 6), time (B,) and condition (B, 32) to noise - actions, (B, T, 6).

    The layers predict the actions, from which the velocity follows: a network this small has no
    room for the noise (Li and He, Back to Basics, 2025).
    """

    def __init__(self) -> None:
        super().__init__()
        width = ROWS * _JOINTS
        self.register_buffer("waves", 2.0 * math.pi * 2.0 ** torch.arange(_WAVES // 2) / 4.0)
        self.layers = nn.Sequential(
            nn.Linear(width + _COND + _WAVES, _HIDDEN),
            nn.SiLU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.SiLU(),
            nn.Linear(_HIDDEN, width),
        )

    def forward(self, x_t: Tensor, timestep: Tensor, cond: Tensor) -> Tensor:
        """One evaluation."""
        angles = timestep[:, None] * self.waves
        seen = torch.cat([x_t.flatten(1), cond, angles.sin(), angles.cos()], dim=1)
        actions = self.layers(seen).reshape(-1, ROWS, _JOINTS)
        return (x_t - actions) / timestep.clamp(min=_EARLIEST)[:, None, None]


class Policy(nn.Module):
    """Both networks."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.velocity = Encoder(), Velocity()

    def sample(self, obs: Tensor, noise: Tensor) -> Tensor:
        """Integrate from `noise` (B, T, 6) to actions."""
        cond, x = self.encode(obs), noise
        for step in range(STEPS):
            time = torch.full((len(x),), 1.0 - step / STEPS)
            x = x - self.velocity(x, time, cond) / STEPS
        return x


def train(samples: ReachSamples) -> tuple[Policy, dict[str, np.ndarray]]:
    """Fit the velocity field to the expert's rows."""
    torch.manual_seed(_SEED)
    obs = np.concatenate([samples.position, samples.goal], axis=1)
    rows = samples.rows - samples.position[:, None]
    given = {
        "obs.mean": obs.mean(0),
        "obs.std": np.maximum(obs.std(0), 1e-2),
        "action.mean": rows.mean(0),
        "action.std": rows.std(0) + 2e-2,
    }
    stats = single(given)
    x = torch.tensor((obs - stats["obs.mean"]) / stats["obs.std"], dtype=torch.float32)
    y = (rows - stats["action.mean"]) / stats["action.std"]
    actions = torch.tensor(y, dtype=torch.float32)
    policy = Policy()
    adam = torch.optim.Adam(policy.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, _TRAINING_STEPS)
    for _ in range(_TRAINING_STEPS):
        batch = torch.randint(len(x), (512,))
        noise = torch.randn_like(actions[batch])
        time = _EARLIEST + (1.0 - _EARLIEST) * torch.rand(len(batch))
        mixed = time[:, None, None] * noise + (1.0 - time[:, None, None]) * actions[batch]
        found = policy.velocity(mixed, time, policy.encode(x[batch]))
        loss = nn.functional.mse_loss(found, noise - actions[batch])
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
    print(f"flow: loss {loss.item():.4f} on {len(x)} samples")
    return policy.eval(), stats


def reference(policy: Policy, stats: dict[str, np.ndarray], seen: Recording) -> Oracle:
    """What the training code samples: (N, T, 6) joint targets [rad].

    The noise is that of a policy that has just taken over: one generator of seed 0, drawn from in
    single precision, (1, T, 6) per observation.
    """
    generator = np.random.default_rng(0)
    answers: list[np.ndarray] = []
    for position, goal in zip(seen.position, seen.goals["position"], strict=True):
        obs = (np.concatenate([position, goal]) - stats["obs.mean"]) / stats["obs.std"]
        noise = generator.standard_normal((1, ROWS, _JOINTS), dtype=np.float32)
        with torch.no_grad():
            given = torch.tensor(obs[None], dtype=torch.float32)
            rows = policy.sample(given, torch.tensor(noise))[0].numpy()
        answers.append(position + rows * stats["action.std"] + stats["action.mean"])
    return Oracle(np.stack(answers), SO101_JOINTS)


def main() -> None:
    """Train, then write the bundle and the oracle's answers."""
    torch.set_num_threads(1)
    policy, stats = train(reach_samples(1000, 16, rows=ROWS, seed=_SEED))
    folder = begin_bundle("flow")
    obs = torch.zeros(1, _JOINTS + 3)
    export_graph(policy.encode, {"obs": obs}, ["cond"], folder / "encode.onnx")
    step = {
        "x_t": torch.randn(1, ROWS, _JOINTS),
        "timestep": torch.rand(1),
        "cond": torch.randn(1, _COND),
    }
    export_graph(policy.velocity, step, ["v_t"], folder / "step.onnx")
    write_stats(folder, stats)
    finish_bundle(folder, _DOCUMENT)
    seen = with_goal(record(RATE))
    write_parity("flow", seen, reference(policy, stats, seen))


if __name__ == "__main__":
    main()
