# SPDX-License-Identifier: Apache-2.0
"""Soft actor-critic of stable-baselines3, trained on the reach task, exported as its guide says.

`docs/guide/export.md` of stable-baselines3: the deterministic actor alone, its input called
`input`. Three things are left to whoever runs it:

- The output is tanh-squashed and in [-1, 1]; the action space is not in the file, and nothing
  rescales: `low + 0.5 * (a + 1) * (high - low)`, which is `normalize: min_max`.
- Observations that `VecNormalize` scaled in training are scaled nowhere in the file, either; here
  they are normalised by hand, which is `normalize: mean_std`.
- One target at a time. The environment held it; so does `chunk.hold`, for as long as the arm needs
  from rest to the furthest target.

`sac_gaussian` is the same actor with its Gaussian as two outputs, which leaves tanh, and the
choice between mean and draw, to the runtime.
"""

from __future__ import annotations

import time

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
    with_goal,
    write_parity,
)
from gymnasium import spaces
from reach_surrogate import AT_5_HZ, MEAN, MOVE, STD, Surrogate
from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

RATE = 1.0 / AT_5_HZ.period_s
GAIN = 0.45
"""Of the way to a target, on the arm: it answers later than what the actor learned from."""

_JOINTS = len(SO101_JOINTS)
_NAMES = ", ".join(SO101_JOINTS)
_SEED = 3
_ARMS, _STEPS, _HORIZON = 16, 1400, 20

_OBSERVED = f"""
    terms:
      - {{kind: state/joint/position, names: [{_NAMES}]}}
      - {{kind: command/body/position, frame: base_link}}
    normalize: mean_std"""
_ACTION = f"""
action:
  normalize: min_max
  parts:
    - kind: target/joint/position
      names: [{_NAMES}]
      mode: relative
      scale: {GAIN}
chunk: {{size: 1, hold: 0.6}}
stats:
  %s: {{mean: {list(MEAN)}, std: {list(STD)}}}
  action: {{min: {[-MOVE] * _JOINTS}, max: {[MOVE] * _JOINTS}}}
"""
_HEAD = """
format: policy_package
version: "1.1"
robot: so101
"""
_DIRECT = f"""{_HEAD.rstrip()}
name: sac
description: SAC of stable-baselines3 with tanh in the graph, trained to reach
rate: {RATE:g}
graphs: {{step: actor.onnx}}
observations:
  input:{_OBSERVED}
decoder: {{type: direct}}{_ACTION % "input"}"""
_GAUSSIAN = f"""{_HEAD.rstrip()}
name: sac_gaussian
description: SAC of stable-baselines3 as a Gaussian before tanh, trained to reach
rate: {RATE:g}
graphs: {{step: actor.onnx}}
observations:
  obs:{_OBSERVED}
decoder:
  type: gaussian
  mean: mean
  log_std: log_std
  squash: tanh
  deterministic: true{_ACTION % "obs"}"""


class ReachEnv(VecEnv):
    """Many arms that reach for a goal, as an environment of stable-baselines3."""

    def __init__(self, arms: int, seed: int) -> None:
        self._surrogate = Surrogate(seed, AT_5_HZ)
        seen = spaces.Box(-np.inf, np.inf, (_JOINTS + 3,), np.float32)
        super().__init__(arms, seen, spaces.Box(-MOVE, MOVE, (_JOINTS,), np.float32))
        self._arms = self._surrogate.begin(arms)
        self._age = np.random.default_rng(seed).integers(0, _HORIZON, arms)
        self._actions = np.zeros((arms, _JOINTS))

    def reset(self) -> np.ndarray:
        """All arms begin."""
        self._arms = self._surrogate.begin(self.num_envs)
        return self._seen()

    def step_async(self, actions: np.ndarray) -> None:
        """Note what to do: targets relative to the joints [rad]."""
        self._actions = actions.astype(np.float64)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict]]:
        """Move; an arm whose time is over begins again."""
        before = self._arms.joints
        self._surrogate.move(self._arms, before + self._actions)
        distance = self._surrogate.distance(self._arms)
        speed = np.abs(self._arms.joints - before).sum(axis=1)
        effort = np.square(self._actions / MOVE).mean(axis=1)
        rewards = np.exp(-np.square(distance / 0.02)) * (1.0 - 2.0 * speed)
        rewards -= 10.0 * distance + 0.2 * effort + np.abs(self._actions[:, -1])
        self._age += 1
        dones = self._age >= _HORIZON
        infos: list[dict] = [{} for _ in range(self.num_envs)]
        if dones.any():
            for i in np.flatnonzero(dones):
                infos[i] = {
                    "terminal_observation": self._seen()[i],
                    "TimeLimit.truncated": True,
                }
            self._begin_again(dones)
        return self._seen(), rewards.astype(np.float32), dones, infos

    def _begin_again(self, which: np.ndarray) -> None:
        self._arms.begin_again(which, self._surrogate.begin(self.num_envs))
        self._age[which] = 0

    def _seen(self) -> np.ndarray:
        return normalised(self._surrogate.observation(self._arms))

    def close(self) -> None:
        """Nothing is open."""

    def get_attr(self, attr_name: str, indices: object = None) -> list:
        """Stable-baselines3 asks for `render_mode`."""
        return [getattr(self, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name: str, value: object, indices: object = None) -> None:
        """Nothing can be set."""
        raise NotImplementedError

    def env_method(self, method_name: str, *args: object, **kwargs: object) -> list:
        """There are no environments inside."""
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: type, indices: object = None) -> list[bool]:
        """None is."""
        return [False] * self.num_envs


def normalised(observation: np.ndarray) -> np.ndarray:
    """What the networks see of observations (..., 9)."""
    return ((observation - MEAN) / STD).astype(np.float32)


class OnnxablePolicy(nn.Module):
    """What the guide exports: observations (1, 9) to tanh(mean) (1, 6)."""

    def __init__(self, actor: nn.Module) -> None:
        super().__init__()
        self.actor = actor

    def forward(self, observation: Tensor) -> Tensor:
        """One pass, deterministic."""
        return self.actor(observation, deterministic=True)


class GaussianPolicy(OnnxablePolicy):
    """The Gaussian before tanh."""

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """`mean` and `log_std`, (1, 6) each."""
        hidden = self.actor.latent_pi(self.actor.features_extractor(observation))
        return self.actor.mu(hidden), self.actor.log_std(hidden)


def train() -> SAC:
    """Learn on the surrogate, from a fixed seed."""
    model = SAC(
        "MlpPolicy",
        ReachEnv(_ARMS, _SEED),
        learning_rate=lambda left: 2e-3 * left + 1e-4,
        buffer_size=100_000,
        batch_size=256,
        gamma=0.95,
        tau=0.01,
        train_freq=1,
        gradient_steps=4,
        learning_starts=1000,
        policy_kwargs={"net_arch": {"pi": [64, 64], "qf": [128, 128]}},
        seed=_SEED,
        device="cpu",
    )
    begun = time.process_time()
    model.learn(_ARMS * _STEPS)
    print(f"trained in {time.process_time() - begun:.0f} s")
    return model


def reference(model: SAC, seen: Recording) -> Oracle:
    """`model.predict` of stable-baselines3, rescaling included: (N, 1, 6) joint targets [rad]."""
    answers: list[np.ndarray] = []
    for position, goal in zip(seen.position, seen.goals["position"], strict=True):
        obs = normalised(np.concatenate([position, goal]))
        action, _ = model.predict(obs, deterministic=True)
        answers.append((position + GAIN * action.astype(np.float64))[None])
    return Oracle(np.stack(answers), SO101_JOINTS)


def main() -> None:
    """Train, and write both bundles and the oracle's answers."""
    torch.set_num_threads(1)
    model = train()
    actor = model.policy.actor.eval()
    obs = torch.zeros(1, _JOINTS + 3)
    seen = with_goal(record(RATE, seed=_SEED))
    answer = reference(model, seen)
    folder = begin_bundle("sac")
    export_graph(OnnxablePolicy(actor), {"input": obs}, ["action"], folder / "actor.onnx")
    finish_bundle(folder, _DIRECT)
    write_parity("sac", seen, answer)
    folder = begin_bundle("sac_gaussian")
    export_graph(GaussianPolicy(actor), {"obs": obs}, ["mean", "log_std"], folder / "actor.onnx")
    finish_bundle(folder, _GAUSSIAN)
    write_parity("sac_gaussian", seen, answer)


if __name__ == "__main__":
    main()
