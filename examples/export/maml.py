# SPDX-License-Identifier: Apache-2.0
"""Model-agnostic meta-learning: an initialisation that few gradient steps adapt, and one adapted.

Finn et al., Model-Agnostic Meta-Learning (2017), and One-Shot Visual Imitation Learning via
Meta-Learning (2017): the outer loop goes through the inner gradient steps, second order, and the
inner loss imitates. The tasks differ in where the places that the policy is told are measured:
the camera's calibration is wrong by an unknown turn and shift, as sinusoids differ in phase and
height.

Two bundles come out, as from a robot that adapts: `maml_base` is the initialisation, which fits no
calibration, and `maml` is the same network after five gradient steps on forty labelled states of
one robot. Nothing of adaptation is left in the graph; it reaches a running arm as a swap:

    levine swap examples/export/bundles/maml
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

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
    with_goal,
    write_parity,
)
from reach_samples import ReachSamples, reach_samples
from reach_surrogate import MEAN, MOVE, STD
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from levine_policy_node.sim.reach import ReachEnvironment

RATE = 10.0
_JOINTS = len(SO101_JOINTS)
_NAMES = ", ".join(SO101_JOINTS)
_SEED = 5
_INNER_STEPS, _INNER_RATE, _SHOTS = 5, 0.1, 40
_META_STEPS, _TASKS = 400, 4
_TURN, _SHIFT = 0.6, 0.04
_ROBOT = (0.5, np.array([0.03, -0.03, 0.02]))
"""Turn [rad] and shift [m] of the robot that is adapted to."""

_DOCUMENT = f"""
format: policy_package
version: "1.1"
name: %s
description: %s
robot: so101
rate: {RATE:g}
graphs: {{step: policy.onnx}}
observations:
  obs:
    terms:
      - {{kind: state/joint/position, names: [{_NAMES}]}}
      - {{kind: command/body/position, frame: base_link}}
    normalize: mean_std
decoder: {{type: direct, output: action}}
action:
  parts:
    - kind: target/joint/position
      names: [{_NAMES}]
      mode: relative
      scale: {MOVE}
chunk: {{size: 1, hold: 0.6}}
stats: {{obs: {{mean: {list(MEAN)}, std: {list(STD)}}}}}
"""

Weights = dict[str, Tensor]


class Mlp(nn.Module):
    """Normalised joints and place (B, 9) to a target relative to the joints (B, 6), of `MOVE`."""

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(_JOINTS + 3, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, _JOINTS),
        )

    def forward(self, obs: Tensor) -> Tensor:
        """One pass."""
        return self.layers(obs)


@dataclass(frozen=True)
class Labelled:
    """States in the base frame, and what to do there.

    Attributes:
        joints: (N, 6) [rad].
        goal: (N, 3) [m].
        action: (N, 6), of `MOVE`.
    """

    joints: FloatArray
    goal: FloatArray
    action: FloatArray

    @staticmethod
    def of(samples: ReachSamples) -> Labelled:
        """What a steady hand would do: straight to the posture, at most `MOVE` away."""
        action = np.clip((samples.posture - samples.position) / MOVE, -1.0, 1.0)
        return Labelled(samples.position, samples.goal, action)

    def drawn(self, rng: np.random.Generator, count: int) -> Labelled:
        """`count` of the states."""
        rows = rng.integers(0, len(self.joints), count)
        return Labelled(self.joints[rows], self.goal[rows], self.action[rows])


def told(goal: FloatArray, turn: float, shift: FloatArray) -> FloatArray:
    """Where a camera with this error says that places (N, 3) [m] are."""
    cos, sin = np.cos(turn), np.sin(turn)
    return goal @ np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]]) + shift


def tensors(states: Labelled, turn: float, shift: FloatArray) -> tuple[Tensor, Tensor]:
    """Inputs (N, 9) and labels (N, 6) of one task."""
    obs = np.concatenate([states.joints, told(states.goal, turn, shift)], axis=1)
    obs = (obs - np.array(MEAN)) / np.array(STD)
    return torch.tensor(obs).float(), torch.tensor(states.action).float()


def adapted(policy: Mlp, weights: Weights, obs: Tensor, action: Tensor) -> Weights:
    """The inner loop, differentiable: `_INNER_STEPS` of gradient descent."""

    def loss(at: Weights) -> Tensor:
        return (functional_call(policy, at, (obs,)) - action).square().mean()

    for _ in range(_INNER_STEPS):
        slopes = grad(loss)(weights)
        weights = {name: value - _INNER_RATE * slopes[name] for name, value in weights.items()}
    return weights


def tasks(pool: Labelled) -> Iterator[list[Tensor]]:
    """Batches of tasks: support and query, (tasks, N, ...) each."""
    rng = np.random.default_rng(_SEED)
    while True:
        drawn = []
        for _ in range(_TASKS):
            turn, shift = rng.uniform(-_TURN, _TURN), rng.uniform(-_SHIFT, _SHIFT, 3)
            support, query = pool.drawn(rng, _SHOTS), pool.drawn(rng, 2 * _SHOTS)
            drawn.append((*tensors(support, turn, shift), *tensors(query, turn, shift)))
        yield [torch.stack(column) for column in zip(*drawn, strict=True)]


def meta_train(pool: Labelled) -> Mlp:
    """The outer loop."""
    begun = time.process_time()
    policy = Mlp()
    weights = dict(policy.named_parameters())

    def query_loss(obs: Tensor, action: Tensor, asked: Tensor, right: Tensor) -> Tensor:
        fast = adapted(policy, weights, obs, action)
        return (functional_call(policy, fast, (asked,)) - right).square().mean()

    optimizer = torch.optim.Adam(policy.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _META_STEPS)
    for step, batch in zip(range(_META_STEPS), tasks(pool), strict=False):
        loss = vmap(query_loss)(*batch).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step}: loss after adaptation {loss.item():.4f}", flush=True)
    print(f"meta-trained in {time.process_time() - begun:.0f} s, loss {loss.item():.4f}")
    return policy.eval()


def stepped(policy: Mlp, obs: Tensor, action: Tensor) -> Mlp:
    """The inner loop as a robot runs it, with an ordinary optimizer; the reference."""
    fast = Mlp()
    fast.load_state_dict(policy.state_dict())
    optimizer = torch.optim.SGD(fast.parameters(), lr=_INNER_RATE)
    for _ in range(_INNER_STEPS):
        optimizer.zero_grad()
        (fast(obs) - action).square().mean().backward()
        optimizer.step()
    return fast.eval()


def act(policy: Mlp, joints: FloatArray, place: FloatArray) -> FloatArray:
    """Joint targets (6,) [rad]."""
    obs = (np.concatenate([joints, place]) - np.array(MEAN)) / np.array(STD)
    with torch.no_grad():
        action = policy(torch.tensor(obs[None]).float())[0].numpy().astype(np.float64)
    return joints + MOVE * action


def reference(policy: Mlp, seen: Recording) -> Oracle:
    """(N, 1, 6) joint targets [rad]."""
    pairs = zip(seen.position, seen.goals["position"], strict=True)
    return Oracle(np.stack([act(policy, *pair)[None] for pair in pairs]), SO101_JOINTS)


def score(policy: Mlp, episodes: int = 20) -> float:
    """Share of episodes in which the robot with the wrong calibration reaches the place."""
    environment, reached = ReachEnvironment(), 0
    for seed in range(episodes):
        state = environment.reset(seed)
        while not environment.over:
            place = told(state.goal[None], *_ROBOT)[0]
            target = state.position + 0.5 * (act(policy, state.position, place) - state.position)
            state = environment.step(target)
        reached += environment.reached
    return reached / episodes


def write(family: str, description: str, graph: Mlp, oracle: Mlp) -> None:
    """One bundle and its oracle."""
    folder = begin_bundle(family)
    export_graph(graph, {"obs": torch.randn(1, _JOINTS + 3)}, ["action"], folder / "policy.onnx")
    finish_bundle(folder, _DOCUMENT % (family, description))
    seen = with_goal(record(RATE, seed=_SEED))
    places = told(seen.goals["position"], *_ROBOT)
    seen = replace(seen, goals={"position": places})
    write_parity(family, seen, reference(oracle, seen))


def main() -> None:
    """Meta-train, adapt, and write both bundles."""
    torch.set_num_threads(1)
    torch.manual_seed(_SEED)
    pool = Labelled.of(reach_samples(500, 50, rows=1, seed=_SEED))
    policy = meta_train(pool)
    obs, action = tensors(pool.drawn(np.random.default_rng(_SEED + 1), _SHOTS), *_ROBOT)
    weights = adapted(policy, dict(policy.named_parameters()), obs, action)
    fast = Mlp()
    fast.load_state_dict({name: value.detach() for name, value in weights.items()})
    print(f"reached with the robot's calibration: before {score(policy)}, after {score(fast)}")
    write("maml_base", "MAML initialisation for reaching with unknown calibration", policy, policy)
    tuned = stepped(policy, obs, action)
    write("maml", "maml_base after five gradient steps on one robot", fast.eval(), tuned)


if __name__ == "__main__":
    main()
