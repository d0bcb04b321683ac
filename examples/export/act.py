# SPDX-License-Identifier: Apache-2.0
"""ACT: a CVAE transformer from joints, goal and image to a chunk, ensembled over time.

Source: tonyzhaozh/act at 742c753 (`detr/models/detr_vae.py` and `transformer.py`,
`imitate_episodes.py`). The same parts, smaller: ResNet features with DETR's 2-D sine positions,
tokens for latent and joints with learned positions, a post-norm encoder and decoder that add
positions to queries and keys, learned queries, one per row. What the original does, and is easily
missed:

- the style encoder exists in training only; at run time the latent is 0, not a draw;
- of all decoder layers the output of the FIRST is used (`self.transformer(...)[0]`), so one layer
  here says as much as its seven;
- images are ImageNet-normalised after division by 255, joints and actions by mean and deviation.

Trained on the reach task with its loss, L1 plus 10 KL. The goal enters as LeRobot's
`observation.environment_state`. Nothing in the image says where the goal is, so the backbone stays
as initialised, and the transformer learns to look away. Targets are relative to the measured
joints (LeRobot's relative actions), normalised row by row: the first rows hardly leave them.
"""

from __future__ import annotations

import torch
from attention import Attention, sine_positions_2d, sinusoid_table
from export_common import (
    SO101_JOINTS,
    FloatArray,
    Oracle,
    Recording,
    begin_bundle,
    finish_bundle,
    single,
    write_parity,
    write_stats,
)
from fitting import fitted
from reach_demonstrations import RATE, ROWS, Demonstrations, demonstrations, observed
from slim_graph import export_slim
from torch import Tensor, nn
from torch.nn import functional

_JOINTS, _GOAL, _IMAGE = len(SO101_JOINTS), 3, 96
_WIDTH, _HEADS, _HIDDEN, _LATENT = 32, 4, 96, 8
_CHANNELS, _GRID = 16, 3
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_KL_WEIGHT, _STEPS = 10.0, 2500

_DOCUMENT = f"""
format: policy_package
version: "1.1"
name: act
description: ACT, trained to reach a place with the simulated arm
robot: so101
rate: {RATE:g}
graphs: {{step: model.onnx}}
observations:
  observation.state:
    {{kind: state/joint/position, names: [{", ".join(SO101_JOINTS)}], normalize: mean_std}}
  observation.environment_state:
    {{kind: command/body/position, frame: base_link, normalize: mean_std}}
  observation.images.front:
    kind: sensor/image
    image: {{size: [{_IMAGE}, {_IMAGE}], mean: {list(_MEAN)}, std: {list(_STD)}}}
decoder: {{type: direct, output: action}}
action:
  normalize: mean_std
  parts:
    - {{kind: target/joint/position, names: [{", ".join(SO101_JOINTS)}], mode: relative}}
chunk: {{size: {ROWS}, execute: 1, ensemble: 0.01}}
stats: stats.safetensors
"""


class Backbone(nn.Module):
    """The beginning of a ResNet with frozen batch norms, which are scale 1 and bias 0 here."""

    def __init__(self) -> None:
        super().__init__()
        half = _CHANNELS // 2
        self.stem = nn.Conv2d(3, half, 7, 2, 3)
        self.first, self.second = nn.Conv2d(half, _CHANNELS, 3, 2, 1), _conv3(_CHANNELS)
        self.shortcut = nn.Conv2d(half, _CHANNELS, 1, 2)
        self.last = nn.Conv2d(_CHANNELS, _CHANNELS, 3, 4, 1)
        self.pool = nn.MaxPool2d(3, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, 96, 96) to (B, 16, 3, 3)."""
        maps = self.pool(self.stem(image).relu())
        maps = (self.second(self.first(maps).relu()) + self.shortcut(maps)).relu()
        return self.last(maps).relu()


def _conv3(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, 1, 1)


class EncoderLayer(nn.Module):
    """DETR's: norms after the sums, positions added to queries and keys."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention(_WIDTH, _HEADS)
        self.up, self.down = nn.Linear(_WIDTH, _HIDDEN), nn.Linear(_HIDDEN, _WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(_WIDTH) for _ in range(2))

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Map tokens (B, K, D) to tokens."""
        placed = tokens + positions
        tokens = self.norms[0](tokens + self.attention(placed, placed, tokens))
        return self.norms[1](tokens + self.down(self.up(tokens).relu()))


class DecoderLayer(nn.Module):
    """DETR's: self-attention of the queries, then attention to what was encoded."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.cross = Attention(_WIDTH, _HEADS), Attention(_WIDTH, _HEADS)
        self.up, self.down = nn.Linear(_WIDTH, _HIDDEN), nn.Linear(_HIDDEN, _WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(_WIDTH) for _ in range(3))

    def forward(self, rows: Tensor, queries: Tensor, memory: Tensor, positions: Tensor) -> Tensor:
        """Map rows (B, T, D) to rows."""
        placed = rows + queries
        rows = self.norms[0](rows + self.own(placed, placed, rows))
        rows = self.norms[1](rows + self.cross(rows + queries, memory + positions, memory))
        return self.norms[2](rows + self.down(self.up(rows).relu()))


class Act(nn.Module):
    """`DETRVAE`, without its style encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.image = nn.Conv2d(_CHANNELS, _WIDTH, 1)
        self.latent, self.state = nn.Linear(_LATENT, _WIDTH), nn.Linear(_JOINTS, _WIDTH)
        self.goal = nn.Linear(_GOAL, _WIDTH)
        self.places = nn.Parameter(torch.randn(1, 3, _WIDTH))
        self.queries = nn.Parameter(torch.randn(1, ROWS, _WIDTH))
        self.register_buffer("pixels", sine_positions_2d(_GRID, _GRID, _WIDTH))
        self.encoder, self.decoder = EncoderLayer(), DecoderLayer()
        self.norm, self.head = nn.LayerNorm(_WIDTH), nn.Linear(_WIDTH, _JOINTS)

    def forward(self, state: Tensor, goal: Tensor, image: Tensor) -> Tensor:
        """Map normalised joints (B, 6), goal (B, 3), image (B, 3, 96, 96) to rows (B, T, 6)."""
        latent = torch.zeros(1, _LATENT, dtype=state.dtype).expand(state.shape[0], _LATENT)
        return self.rows(state, goal, self.backbone(image), latent)

    def rows(self, state: Tensor, goal: Tensor, maps: Tensor, latent: Tensor) -> Tensor:
        """The same from image features (B, 16, 3, 3) and a latent (B, 8)."""
        first = torch.stack([self.latent(latent), self.state(state), self.goal(goal)], dim=1)
        tokens = torch.cat([first, self.image(maps).flatten(2).transpose(1, 2)], dim=1)
        positions = torch.cat([self.places, self.pixels], dim=1)
        memory = self.encoder(tokens, positions)
        queries = self.queries.expand(tokens.shape[0], ROWS, _WIDTH)
        rows = self.decoder(torch.zeros_like(queries), queries, memory, positions)
        return self.head(self.norm(rows))


class StyleEncoder(nn.Module):
    """The CVAE's encoder: [CLS], joints and the chunk to the latent's mean and log variance."""

    def __init__(self) -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.randn(1, 1, _WIDTH))
        self.state, self.action = nn.Linear(_JOINTS, _WIDTH), nn.Linear(_JOINTS, _WIDTH)
        self.register_buffer("table", sinusoid_table(2 + ROWS, _WIDTH))
        self.encoder, self.out = EncoderLayer(), nn.Linear(_WIDTH, 2 * _LATENT)

    def forward(self, state: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, both (B, 8)."""
        cls = self.cls.expand(state.shape[0], 1, _WIDTH)
        tokens = torch.cat([cls, self.state(state)[:, None], self.action(rows)], dim=1)
        mean, log_variance = self.out(self.encoder(tokens, self.table)[:, 0]).chunk(2, dim=-1)
        return mean, log_variance


def train(policy: Act, data: Demonstrations, stats: dict[str, FloatArray]) -> None:
    """L1 between rows, plus the KL divergence of the latent."""
    style = StyleEncoder()
    state = normalised(data.position, stats, "observation.state")
    goal = normalised(data.goal, stats, "observation.environment_state")
    wanted = normalised(data.rows, stats, "action")
    with torch.no_grad():
        maps = policy.backbone(pixels(data.frames))
    policy.backbone.requires_grad_(requires_grad=False)

    def loss(chosen: Tensor) -> Tensor:
        mean, log_variance = style(state[chosen], wanted[chosen])
        latent = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        shown = maps[torch.randint(0, len(maps), (len(chosen),))]
        rows = policy.rows(state[chosen], goal[chosen], shown, latent)
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(-1).mean()
        return functional.l1_loss(rows, wanted[chosen]) + _KL_WEIGHT * divergence

    both = nn.ModuleList([policy, style])
    fitted(both, loss, len(state), _STEPS, batch=64, rate=2e-3)


def normalised(values: FloatArray, stats: dict[str, FloatArray], feature: str) -> Tensor:
    """`(x - mean) / std`."""
    normed = (values - stats[f"{feature}.mean"]) / stats[f"{feature}.std"]
    return torch.as_tensor(normed, dtype=torch.float32)


def pixels(frames: FloatArray) -> Tensor:
    """Frames (B, H, W, 3) uint8 as the network takes them: `image / 255`, then ImageNet's."""
    images = torch.as_tensor(frames).permute(0, 3, 1, 2).float() / 255.0
    mean, std = torch.tensor(_MEAN).view(3, 1, 1), torch.tensor(_STD).view(3, 1, 1)
    return (images - mean) / std


def reference(policy: Act, stats: dict[str, FloatArray], seen: Recording) -> Oracle:
    """What `imitate_episodes.py` computes: (N, T, 6) joint targets [rad]."""
    state = normalised(seen.position, stats, "observation.state")
    goal = normalised(seen.goals["position"], stats, "observation.environment_state")
    with torch.no_grad():
        rows = policy(state, goal, pixels(seen.images["front"])).double().numpy()
    rows = rows * stats["action.std"] + stats["action.mean"]
    return Oracle(seen.position[:, None] + rows, SO101_JOINTS)


def main() -> None:
    """Train, and write the bundle and the oracle's answers."""
    torch.manual_seed(0)
    data = demonstrations()
    stats = single(
        {
            "observation.state.mean": data.position.mean(0),
            "observation.state.std": data.position.std(0).clip(1e-2),
            "observation.environment_state.mean": data.goal.mean(0),
            "observation.environment_state.std": data.goal.std(0).clip(1e-2),
            "action.mean": data.rows.mean(0),
            "action.std": data.rows.std(0).clip(2e-3),
        }
    )
    policy = Act()
    train(policy, data, stats)
    policy.eval()
    folder = begin_bundle("act")
    image = torch.rand(1, 3, _IMAGE, _IMAGE)
    inputs = {
        "observation.state": torch.rand(1, _JOINTS),
        "observation.environment_state": torch.rand(1, _GOAL),
        "observation.images.front": image,
    }
    export_slim(policy, inputs, ["action"], folder / "model.onnx")
    write_stats(folder, stats)
    finish_bundle(folder, _DOCUMENT)
    seen = observed()
    write_parity("act", seen, reference(policy, stats, seen))


if __name__ == "__main__":
    main()
