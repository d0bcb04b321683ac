# SPDX-License-Identifier: Apache-2.0
"""A recurrent actor of rsl_rl, as Isaac Lab trains and exports it.

`rsl_rl/modules/actor_critic_recurrent.py` and the exporter of Isaac Lab's `isaaclab_rl/rsl_rl`:
normaliser and LSTM are in the graph, with `h_in`, `c_in` beside `obs` and `h_out`, `c_out` beside
`actions`. What is not in the graph, and what people forget:

- The terms of the observation: `joint_pos_rel` is relative to the default pose, `last_action` is
  what the network said, not what was commanded.
- `JointPositionAction`: the target is `default + scale * action`, with `use_default_offset`.
- The state of the LSTM begins with zeros, and goes on by one step per action at 50 Hz; the target
  is held until the next.
"""

from __future__ import annotations

import numpy as np
import torch
from export_common import (
    SO101_HOME,
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

RATE = 50.0
"""`decimation: 4` at `sim.dt: 0.005`, as in Isaac Lab's manipulation tasks."""

SCALE = 0.5
DEFAULT = SO101_HOME

_JOINTS = len(SO101_JOINTS)
_WIDTH = 3 * _JOINTS + 3
_NAMES = ", ".join(SO101_JOINTS)
_SEED = 2

_DOCUMENT = f"""
format: policy_package
version: "1.1"
name: rsl_rl
description: Recurrent actor of rsl_rl (LSTM) for an Isaac Lab reach task, 50 Hz
robot: so101
rate: {RATE:g}
graphs: {{step: policy.onnx}}
feedback: {{h_in: h_out, c_in: c_out}}
observations:
  obs:
    terms:
      - kind: state/joint/position        # joint_pos_rel
        names: [{_NAMES}]
        offset: {[-value for value in DEFAULT]}
      - {{kind: state/joint/velocity, names: [{_NAMES}]}}
      - {{kind: command/body/position, frame: base_link}}
      - {{kind: feedback/action, dim: {_JOINTS}}}
decoder: {{type: direct, output: actions}}
action:
  parts:
    - kind: target/joint/position         # JointPositionAction, use_default_offset
      names: [{_NAMES}]
      scale: {SCALE:g}
      offset: {list(DEFAULT)}
chunk: {{size: 1, hold: 0.6}}
"""


class RecurrentActor(nn.Module):
    """Empirical normalisation, LSTM, MLP with ELU: `obs` (1, 21) and state to `actions` (1, 6)."""

    def __init__(self, hidden: int = 48) -> None:
        super().__init__()
        self.register_buffer("mean", torch.empty(1, _WIDTH).uniform_(-0.3, 0.3))
        self.register_buffer("std", torch.empty(1, _WIDTH).uniform_(0.2, 1.0))
        self.rnn = nn.LSTM(_WIDTH, hidden, num_layers=1)
        self.actor = nn.Sequential(
            nn.Linear(hidden, 64),
            nn.ELU(),
            nn.Linear(64, 32),
            nn.ELU(),
            nn.Linear(32, _JOINTS),
        )

    def forward(self, obs: Tensor, h_in: Tensor, c_in: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One step; the state is (layers, 1, hidden) twice."""
        # EmpiricalNormalization adds 1e-2 to the deviation.
        normal = (obs - self.mean) / (self.std + 1e-2)
        out, (h, c) = self.rnn(normal.unsqueeze(0), (h_in, c_in))
        return self.actor(out.squeeze(0)), h, c


def reference(policy: RecurrentActor, seen: Recording) -> Oracle:
    """One episode in the environment's terms: (N, 1, 6) joint targets [rad].

    The LSTM sees the whole sequence at once, as in training, and not one step at a time.
    """
    default, last = np.array(DEFAULT), np.zeros(_JOINTS)
    history: list[np.ndarray] = []
    answers: list[np.ndarray] = []
    for position, velocity, goal in zip(
        seen.position, seen.velocity, seen.goals["position"], strict=True
    ):
        history.append(np.concatenate([position - default, velocity, goal, last]))
        obs = torch.tensor(np.array(history)).float()
        with torch.no_grad():
            out, _ = policy.rnn(((obs - policy.mean) / (policy.std + 1e-2)).unsqueeze(1))
            last = policy.actor(out[-1])[0].numpy().astype(np.float64)
        answers.append((default + SCALE * last)[None])
    return Oracle(np.stack(answers), SO101_JOINTS)


def main() -> None:
    """Write the bundle and the oracle's answers."""
    torch.manual_seed(_SEED)
    policy = RecurrentActor().eval()
    folder = begin_bundle("rsl_rl")
    state = torch.zeros(1, 1, policy.rnn.hidden_size)
    inputs = {"obs": torch.randn(1, _WIDTH), "h_in": state, "c_in": state.clone()}
    export_graph(policy, inputs, ["actions", "h_out", "c_out"], folder / "policy.onnx")
    finish_bundle(folder, _DOCUMENT)
    seen = with_goal(record(RATE, seed=_SEED, steps=6), (0.2, -0.08, 0.15), 0.03)
    write_parity("rsl_rl", seen, reference(policy, seen))


if __name__ == "__main__":
    main()
