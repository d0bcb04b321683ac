# SPDX-License-Identifier: Apache-2.0
"""Goal-conditioned supervised learning: places that were reached by chance become goals.

Ghosh et al., Learning to Reach Goals via Iterated Supervised Learning (2021), and the
goal-conditioned actors of BridgeData V2: a Gaussian of fixed deviation whose mean is the action,
without tanh (`tanh_squash_distribution: False`), normalised with the mean and deviation of the
actions. Every pair of moments of a trajectory is a demonstration of how to get from the first to
where the hand is at the second (hindsight relabelling), so nobody need reach anything on purpose.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from export_common import (
    SO101_JOINTS,
    FloatArray,
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
from reach_surrogate import MOVE, Surrogate
from torch import Tensor, nn

RATE = 10.0
_JOINTS = len(SO101_JOINTS)
_NAMES = ", ".join(SO101_JOINTS)
_SEED = 7
_EPISODES, _LENGTH, _AHEAD, _STEPS = 600, 30, 12, 1500

_DOCUMENT = f"""
format: policy_package
version: "1.1"
name: gcsl
description: Goal-conditioned supervised learning, a place as the goal
robot: so101
rate: {RATE:g}
graphs: {{step: policy.onnx}}
observations:
  observations:
    kind: state/joint/position
    names: [{_NAMES}]
    normalize: mean_std
  goals: {{kind: command/body/position, frame: base_link, normalize: mean_std}}
decoder: {{type: gaussian, mean: mean, log_std: null, squash: none}}
action:
  normalize: mean_std
  parts:
    - kind: target/joint/position
      names: [{_NAMES}]
      mode: relative
chunk: {{size: 1, hold: 0.6}}
stats: stats.safetensors
"""


class GoalConditionedPolicy(nn.Module):
    """Normalised joints (B, 6) and goal (B, 3) to the mean of the action (B, 6)."""

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(_JOINTS + 3, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, _JOINTS),
        )

    def forward(self, observations: Tensor, goals: Tensor) -> Tensor:
        """One pass."""
        return self.layers(torch.cat([observations, goals], dim=1))


@dataclass(frozen=True)
class Relabelled:
    """N moments, and where the hand was somewhat later.

    Attributes:
        joints: (N, 6) [rad].
        goal: (N, 3) [m].
        action: Target relative to the joints (N, 6) [rad].
    """

    joints: FloatArray
    goal: FloatArray
    action: FloatArray


def wander() -> Relabelled:
    """Move at random, smoothly, and call every place that was reached a goal."""
    rng, surrogate = np.random.default_rng(_SEED), Surrogate(_SEED)
    arms = surrogate.begin(_EPISODES)
    push = rng.uniform(-1, 1, (_EPISODES, _JOINTS))
    joints, actions, places = [], [], []
    for _ in range(_LENGTH + _AHEAD):
        push = np.clip(0.9 * push + 0.3 * rng.standard_normal(push.shape), -1.0, 1.0)
        action = 0.6 * MOVE * push
        action[:, -1] = 0.0
        joints.append(arms.joints)
        actions.append(action)
        places.append(surrogate.kinematics.grasp_point(arms.joints))
        surrogate.move(arms, arms.joints + action)
    later = rng.integers(2, _AHEAD, (_LENGTH, _EPISODES)) + np.arange(_LENGTH)[:, None]
    goal = np.stack(places)[later, np.arange(_EPISODES)]
    seen = np.stack(joints)[:_LENGTH].reshape(-1, _JOINTS)
    return Relabelled(seen, goal.reshape(-1, 3), np.stack(actions)[:_LENGTH].reshape(-1, _JOINTS))


def statistics(data: Relabelled) -> dict[str, FloatArray]:
    """Mean and deviation of everything, in single precision as the file has them."""
    found: dict[str, FloatArray] = {}
    for name, values in (
        ("observations", data.joints),
        ("goals", data.goal),
        ("action", data.action),
    ):
        std = np.maximum(values.std(axis=0), 1e-3)
        found |= {f"{name}.mean": values.mean(axis=0), f"{name}.std": std}
    return single(found)


def train(data: Relabelled, stats: dict[str, FloatArray]) -> GoalConditionedPolicy:
    """Most likely actions of a Gaussian of fixed deviation: least squares."""
    begun = time.process_time()
    joints, goal, action = (
        torch.tensor((values - stats[f"{name}.mean"]) / stats[f"{name}.std"]).float()
        for name, values in (
            ("observations", data.joints),
            ("goals", data.goal),
            ("action", data.action),
        )
    )
    policy = GoalConditionedPolicy()
    optimizer = torch.optim.Adam(policy.parameters(), lr=2e-3)
    for _ in range(_STEPS):
        rows = torch.randint(0, len(joints), (256,))
        loss = (policy(joints[rows], goal[rows]) - action[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"trained in {time.process_time() - begun:.0f} s, loss {loss.item():.3f}")
    return policy.eval()


def reference(
    policy: GoalConditionedPolicy, stats: dict[str, FloatArray], seen: Recording
) -> Oracle:
    """The mode of the Gaussian, un-normalised: (N, 1, 6) joint targets [rad]."""

    def normal(name: str, values: FloatArray) -> Tensor:
        scaled = (values - stats[f"{name}.mean"]) / stats[f"{name}.std"]
        return torch.tensor(scaled[None], dtype=torch.float32)

    answers: list[np.ndarray] = []
    for position, goal in zip(seen.position, seen.goals["position"], strict=True):
        with torch.no_grad():
            mean = policy(normal("observations", position), normal("goals", goal)).numpy()
        answers.append(position + mean * stats["action.std"] + stats["action.mean"])
    return Oracle(np.stack(answers), SO101_JOINTS)


def main() -> None:
    """Wander, train, and write the bundle and the oracle's answers."""
    torch.set_num_threads(1)
    torch.manual_seed(_SEED)
    data = wander()
    stats = statistics(data)
    policy = train(data, stats)
    folder = begin_bundle("gcsl")
    inputs = {"observations": torch.randn(1, _JOINTS), "goals": torch.randn(1, 3)}
    export_graph(policy, inputs, ["mean"], folder / "policy.onnx")
    write_stats(folder, stats)
    finish_bundle(folder, _DOCUMENT)
    seen = with_goal(record(RATE, seed=_SEED))
    write_parity("gcsl", seen, reference(policy, stats, seen))


if __name__ == "__main__":
    main()
