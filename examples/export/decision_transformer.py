# SPDX-License-Identifier: Apache-2.0
"""Decision Transformer, trained on reaching of mixed quality and asked for a quick one.

Chen et al., Decision Transformer (2021), code github.com/kzl/decision-transformer,
`gym/decision_transformer`. Return, state and action of each of the last K = 20 periods are three
tokens; a GPT-2 without its position embeddings sees them, and the action is read at the last
state.

- What is not there yet is zero, on the left, after the normalisation, and masked.
- The newest action is a placeholder of zeros.
- `evaluate_episodes.py`: the return to go falls by what was collected. Every period costs 1 until
  the hand is there, so it is known beforehand, as -1 per period; nothing measures a reward.
- `embed_timestep` has `max_ep_len` rows: the time stops at the last of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
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
    with_goal,
    write_parity,
    write_stats,
)
from reach_surrogate import MOVE, Surrogate, inverse_kinematics
from torch import Tensor, nn
from torch.nn import functional

RATE = 10.0
K = 20
MAX_EP_LEN = 64
TARGET, REWARD, SCALE = -15.0, -1.0, 0.05

_JOINTS = len(SO101_JOINTS)
_STATE = _JOINTS + 3
_NAMES = ", ".join(SO101_JOINTS)
_SEED = 4
_EPISODES, _LENGTH, _STEPS, _BATCH = 2000, 40, 1500, 32
_THERE = 0.018

_DOCUMENT = f"""
format: policy_package
version: "1.1"
name: decision_transformer
description: Decision Transformer, K = 20, trained on reaching of mixed quality
robot: so101
rate: {RATE:g}
graphs: {{step: dt.onnx}}
observations:
  states:
    terms:
      - {{kind: state/joint/position, names: [{_NAMES}]}}
      - {{kind: command/body/position, frame: base_link}}
    normalize: mean_std
    history: {{steps: {K}, pad: zero, mask: attention_mask}}
  actions:
    kind: feedback/action
    dim: {_JOINTS}
    placeholder: true
    history: {{steps: {K}, pad: zero}}
  returns_to_go:
    kind: policy/return_to_go
    target: {TARGET}
    reward: {REWARD}
    scale: {SCALE}
    history: {{steps: {K}, pad: zero}}
  timesteps: {{kind: policy/timestep, last: {MAX_EP_LEN - 1}, history: {{steps: {K}, pad: zero}}}}
decoder: {{type: direct, output: action_preds, index: -1}}
action:
  parts:
    - kind: target/joint/position
      names: [{_NAMES}]
      mode: relative
      scale: {MOVE}
chunk: {{size: 1, hold: 0.6}}
stats: stats.safetensors
"""


class Block(nn.Module):
    """One layer of GPT-2 with ReLU, as the family sets `activation_function`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """One layer on x (B, L, width); `hidden` (B, 1, 1, L) is added to the scores."""
        b, length, width = x.shape
        parts = self.c_attn(self.ln_1(x)).split(width, dim=2)
        q, k, v = (p.reshape(b, length, self.heads, -1).transpose(1, 2) for p in parts)
        scores = q @ k.transpose(2, 3) / (width // self.heads) ** 0.5
        causal = torch.tril(torch.ones(length, length)) > 0
        scores = torch.where(causal, scores, torch.tensor(-1e4)) + hidden
        seen = (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(b, length, width)
        x = x + self.c_proj(seen)
        return x + self.mlp(self.ln_2(x))


class DecisionTransformer(nn.Module):
    """`decision_transformer.py`, small; of its three outputs the actions."""

    def __init__(self, width: int = 32, layers: int = 2, heads: int = 1) -> None:
        super().__init__()
        self.embed_timestep = nn.Embedding(MAX_EP_LEN, width)
        self.embed_return = nn.Linear(1, width)
        self.embed_state = nn.Linear(_STATE, width)
        self.embed_action = nn.Linear(_JOINTS, width)
        self.embed_ln = nn.LayerNorm(width)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.ln_f = nn.LayerNorm(width)
        self.predict_action = nn.Sequential(nn.Linear(width, _JOINTS), nn.Tanh())

    def forward(
        self,
        states: Tensor,
        actions: Tensor,
        returns_to_go: Tensor,
        timesteps: Tensor,
        attention_mask: Tensor,
    ) -> Tensor:
        """(B, K, 9), (B, K, 6), (B, K, 1), (B, K) int64 twice to `action_preds` (B, K, 6)."""
        time_embeddings = self.embed_timestep(timesteps)
        tokens = torch.stack(
            (
                self.embed_return(returns_to_go) + time_embeddings,
                self.embed_state(states) + time_embeddings,
                self.embed_action(actions) + time_embeddings,
            ),
            dim=2,
        )
        b, length, _, width = tokens.shape
        x = self.embed_ln(tokens.reshape(b, 3 * length, width))
        mask = attention_mask.to(x.dtype).unsqueeze(2).expand(b, length, 3)
        hidden = (1.0 - mask.reshape(b, 1, 1, 3 * length)) * -1e4
        for block in self.blocks:
            x = block(x, hidden)
        return self.predict_action(self.ln_f(x).reshape(b, length, 3, width)[:, :, 1])


@dataclass(frozen=True)
class Episodes:
    """E episodes of T periods.

    Attributes:
        states: (E, T, 9) joints [rad] and goal [m].
        actions: (E, T, 6), of `MOVE`.
        returns: (E, T) to go: minus the periods until the hand is there, above 0 afterwards.
    """

    states: FloatArray
    actions: FloatArray
    returns: FloatArray


def collect() -> Episodes:
    """Reach with a script that is quick or slow, and steady or not, from episode to episode."""
    rng, surrogate = np.random.default_rng(_SEED), Surrogate(_SEED)
    arms = surrogate.begin(_EPISODES)
    wanted = inverse_kinematics(arms.goal, arms.joints)
    gain = rng.uniform(0.2, 1.0, (_EPISODES, 1))
    unsteady = rng.choice([0.0, 0.05, 0.2], (_EPISODES, 1))
    states, actions, distances = [], [], []
    for _ in range(_LENGTH):
        action = gain * (wanted - arms.joints) / MOVE
        action += unsteady * rng.standard_normal(action.shape)
        action[:, -1] = 0.0
        action = np.clip(action, -0.95, 0.95)
        states.append(surrogate.observation(arms))
        actions.append(action)
        surrogate.move(arms, arms.joints + MOVE * action)
        distances.append(surrogate.distance(arms))
    far = np.array(distances).T > _THERE
    # The first period from which on the hand stays there; an episode that never gets there costs
    # as much as one that gets there at its end.
    arrived = np.where(far.any(axis=1), _LENGTH - np.argmax(far[:, ::-1], axis=1), 0)
    returns = REWARD * (arrived[:, None] - np.arange(_LENGTH))
    print(f"returns: {np.percentile(returns[:, 0], [0, 25, 50, 75, 100])}")
    return Episodes(np.stack(states, 1), np.stack(actions, 1), returns)


def batches(data: Episodes, mean: FloatArray, std: FloatArray) -> Iterator[list[Tensor]]:
    """A random batch of what was seen until some moment, padded on the left."""
    rng = np.random.default_rng([_SEED, 1])
    while True:
        episode = rng.integers(0, len(data.states), _BATCH)
        end = rng.integers(1, _LENGTH + 1, _BATCH)
        at = end[:, None] - K + np.arange(K)
        mask, at = at >= 0, np.maximum(at, 0)
        rows = episode[:, None], at
        state = (data.states[rows] - mean) / std * mask[..., None]
        action = data.actions[rows] * mask[..., None]
        to_go = (SCALE * data.returns[rows] * mask)[..., None]
        given = (torch.tensor(v, dtype=torch.float32) for v in (state, action, to_go))
        whole = (torch.tensor(v.astype(np.int64)) for v in (at * mask, mask))
        yield [*given, *whole]


def train(data: Episodes, mean: FloatArray, std: FloatArray) -> DecisionTransformer:
    """Regress the actions; `experiment.py` has the same loss and clipping."""
    begun = time.process_time()
    model = DecisionTransformer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    source = batches(data, mean, std)
    for step in range(_STEPS):
        batch = next(source)
        seen = batch[4] > 0
        loss = functional.mse_loss(model(*batch)[seen], batch[1][seen])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
        schedule.step()
        if step % 500 == 0:
            print(f"step {step}: loss {loss.item():.4f}", flush=True)
    print(f"trained in {time.process_time() - begun:.0f} s, loss {loss.item():.4f}")
    return model.eval()


def reference(
    model: DecisionTransformer, mean: FloatArray, std: FloatArray, seen: Recording
) -> Oracle:
    """`evaluate_episodes.py` and `get_action`: (N, 1, 6) joint targets [rad]."""
    states, actions, to_go = np.zeros((0, _STATE)), np.zeros((0, _JOINTS)), [TARGET * SCALE]
    answers: list[np.ndarray] = []
    for t, (position, goal) in enumerate(zip(seen.position, seen.goals["position"], strict=True)):
        states = np.vstack([states, np.concatenate([position, goal])])
        actions = np.vstack([actions, np.zeros(_JOINTS)])
        count = min(t + 1, K)

        def padded(rows: FloatArray, count: int = count) -> Tensor:
            rows = np.asarray(rows)[-K:]
            empty = np.zeros((K - count, *rows.shape[1:]))
            return torch.tensor(np.concatenate([empty, rows])[None], dtype=torch.float32)

        timesteps = np.minimum(np.arange(t + 1), MAX_EP_LEN - 1)
        with torch.no_grad():
            predicted = model(
                padded((states - mean) / std),
                padded(actions),
                padded(np.array(to_go)[:, None]),
                padded(timesteps).long(),
                padded(np.ones(t + 1)).long(),
            )
        actions[-1] = predicted[0, -1].numpy()
        to_go.append(to_go[-1] - REWARD * SCALE)
        answers.append((position + MOVE * actions[-1])[None])
    return Oracle(np.stack(answers), SO101_JOINTS)


def main() -> None:
    """Collect, train, and write the bundle and the oracle's answers."""
    torch.set_num_threads(1)
    torch.manual_seed(_SEED)
    data = collect()
    states = data.states.reshape(-1, _STATE)
    # `experiment.py` adds 1e-6; single precision, as the file has it.
    mean = states.mean(axis=0).astype(np.float32).astype(np.float64)
    std = (states.std(axis=0) + 1e-6).astype(np.float32).astype(np.float64)
    model = train(data, mean, std)
    folder = begin_bundle("decision_transformer")
    inputs = {
        "states": torch.randn(1, K, _STATE),
        "actions": torch.randn(1, K, _JOINTS),
        "returns_to_go": torch.randn(1, K, 1),
        "timesteps": torch.arange(K)[None],
        "attention_mask": (torch.arange(K) > 3).long()[None],
    }
    export_graph(model, inputs, ["action_preds"], folder / "dt.onnx")
    write_stats(folder, {"states.mean": mean, "states.std": std})
    finish_bundle(folder, _DOCUMENT)
    # Longer than K, so that the past both begins and ends.
    seen = with_goal(record(RATE, seed=_SEED, steps=K + 4))
    write_parity("decision_transformer", seen, reference(model, mean, std, seen))


if __name__ == "__main__":
    main()
