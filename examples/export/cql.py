# SPDX-License-Identifier: Apache-2.0
"""Conservative Q-learning: rlkit's tanh-Gaussian actor, drawn from, to steps of the joints.

Kumar et al., Conservative Q-Learning (2020), code github.com/aviralkumar2907/CQL,
`d4rl/rlkit/torch/sac/policies.py`, class TanhGaussianPolicy. What goes wrong elsewhere:

- `log_std` is clamped to [-5, 2] before exp, not to [-20, 2] as in stable-baselines3. The bias of
  this actor's last layer leaves that range on both sides, so another clamp shows.
- MEAN_MIN and MEAN_MAX of that file belong to `log_prob`; a policy that acts does not clamp them.
- The action is `tanh(mean + std * noise)`: noise before tanh.
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
    with_goal,
    write_parity,
)
from torch import Tensor, nn

RATE = 10.0
LOG_SIG_MIN, LOG_SIG_MAX = -5.0, 2.0
LOW, HIGH = -0.08, 0.12
"""Of the action space [rad]; not symmetric, so that forgetting the middle shows."""

_JOINTS = len(SO101_JOINTS)
_NAMES = ", ".join(SO101_JOINTS)
_SEED = 1

_DOCUMENT = f"""
format: policy_package
version: "1.1"
name: cql
description: rlkit's tanh-Gaussian actor of CQL, drawn from; steps of the joints
robot: so101
rate: {RATE:g}
graphs: {{step: actor.onnx}}
observations:
  obs:
    terms:
      - {{kind: state/joint/position, names: [{_NAMES}]}}
      - {{kind: state/joint/velocity, names: [{_NAMES}], scale: 0.1}}
      - {{kind: command/body/position, frame: base_link}}
decoder:
  type: gaussian
  mean: mean
  log_std: log_std
  squash: tanh
  deterministic: false
  log_std_range: [{LOG_SIG_MIN:g}, {LOG_SIG_MAX:g}]
action:
  normalize: min_max
  parts:
    - kind: target/joint/position
      names: [{_NAMES}]
      mode: delta
chunk: {{size: 1, hold: 0.6}}
stats: {{action: {{min: {[LOW] * _JOINTS}, max: {[HIGH] * _JOINTS}}}}}
"""


class TanhGaussianPolicy(nn.Module):
    """The part of the actor that is a graph: observations (B, 15) to the Gaussian before tanh."""

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.fcs = nn.ModuleList(
            [nn.Linear(2 * _JOINTS + 3, hidden), nn.Linear(hidden, hidden)],
        )
        self.last_fc = nn.Linear(hidden, _JOINTS)
        self.last_fc_log_std = nn.Linear(hidden, _JOINTS)
        with torch.no_grad():
            self.last_fc_log_std.bias.copy_(torch.tensor([-9.0, 4.0, -1.0, -2.0, 2.5, -5.5]))

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """`mean` and `log_std`, (B, 6) each, as the last layers give them."""
        h = obs
        for fc in self.fcs:
            h = torch.relu(fc(h))
        return self.last_fc(h), self.last_fc_log_std(h)


def reference(policy: TanhGaussianPolicy, seen: Recording) -> Oracle:
    """Act as `TanhGaussianPolicy.forward` of rlkit does, (N, 1, 6) joint targets [rad].

    rlkit draws from torch's generator; here the noise is what the runtime documents: NumPy's
    `default_rng(0)`, one standard normal float32 number per action and observation.
    """
    noise = np.random.default_rng(0)
    answers: list[np.ndarray] = []
    for position, velocity, goal in zip(
        seen.position, seen.velocity, seen.goals["position"], strict=True
    ):
        obs = torch.tensor(np.concatenate([position, 0.1 * velocity, goal])[None]).float()
        drawn = torch.from_numpy(noise.standard_normal((1, _JOINTS), dtype=np.float32))
        with torch.no_grad():
            mean, log_std = policy(obs)
            std = torch.exp(torch.clamp(log_std, LOG_SIG_MIN, LOG_SIG_MAX))
            action = torch.tanh(mean + std * drawn).numpy().astype(np.float64)
        # rlkit's NormalizedBoxEnv: [-1, 1] to the action space.
        step = LOW + (action + 1.0) * 0.5 * (HIGH - LOW)
        answers.append(position + step)
    return Oracle(np.stack(answers), SO101_JOINTS)


def main() -> None:
    """Write the bundle and the oracle's answers."""
    torch.manual_seed(_SEED)
    policy = TanhGaussianPolicy().eval()
    folder = begin_bundle("cql")
    obs = {"obs": torch.randn(1, 2 * _JOINTS + 3)}
    export_graph(policy, obs, ["mean", "log_std"], folder / "actor.onnx")
    finish_bundle(folder, _DOCUMENT)
    seen = with_goal(record(RATE, seed=_SEED), (0.22, 0.05, 0.1), 0.04)
    write_parity("cql", seen, reference(policy, seen))


if __name__ == "__main__":
    main()
