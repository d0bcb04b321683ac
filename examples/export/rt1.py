# SPDX-License-Identifier: Apache-2.0
"""RT-1: six images and an embedded sentence to eleven tokens in one pass.

Brohan et al., RT-1 (2022). Lines are those of google-research/robotics_transformer 4569641,
`transformer_network.py` unless another file is named. What goes wrong without an error, and is in
this bundle:

- the paper says autoregressive, the code is not: what is known of actions is multiplied by zero
  (line 635) and masked (196 to 212), so that one pass gives what eleven give; the oracle makes
  eleven, as the code does (314 to 336);
- logits are those of the token before (line 307);
- image tokens are carried from inference to inference and shifted once there are enough (596 to
  606), so a policy that is reset, or skips a period, sees another history;
- a bin is an edge, `token / 255` (`action_tokenizer.py` 152), and a choice beyond the three is the
  first (142);
- of eleven numbers three move a mobile base; an arm on a table does not have it.

The image encoder is EfficientNet's, with two blocks in place of twenty-six.
"""

from __future__ import annotations

import hand
import numpy as np
import numpy.typing as npt
import torch
from export_common import Oracle, Recording, begin_bundle, finish_bundle, write_parity
from hand_recording import record_hand
from openvla_parts import unlike
from PIL import Image
from safetensors.numpy import save
from slim_graph import export_slim
from torch import Tensor, nn
from torch.nn import functional

RATE, HISTORY, IMAGE_TOKENS, ACTION_TOKENS, BINS = 3.0, 4, 8, 11, 256
TASK = "pick rxbar chocolate from bottom drawer and place on counter"
_OTHER_TASK = "open middle drawer"
HEIGHT, WIDTH, SIDE = 64, 80, 48
"""256, 320 and 300 of RT-1."""
_EMBEDDED, _TOKEN = 64, 32
_STEP = HISTORY * (IMAGE_TOKENS + ACTION_TOKENS)
_SEED = 0
_LOW = np.array([0, -1, -1, -1, -np.pi / 2, -np.pi / 2, -np.pi / 2, -1, -np.pi, -1, -1])
_HIGH = np.array([255, 1, 1, 1, np.pi / 2, np.pi / 2, np.pi / 2, 1, np.pi, 1, 1])
_REACH = 0.1
"""The distance that 1 stands for [m]."""

_DOCUMENT = f"""
format: policy_package
version: "1.1"
name: rt1
description: RT-1, images and an embedded sentence to eleven tokens in one pass
robot: fr3
rate: {RATE:g}
graphs: {{step: policy.onnx}}
feedback: {{context_image_tokens: context_image_tokens_out, seq_idx: seq_idx_out}}
observations:
  image:
    kind: sensor/image
    camera: front
    image: {{size: [{HEIGHT}, {WIDTH}], interpolation: lanczos, layout: hwc}}
  natural_language_embedding:
    {{kind: command/embedding, file: embeddings.safetensors, dim: {_EMBEDDED}}}
decoder:
  type: bins
  output: logits
  bins: {BINS}
  value: edges
  choices: [3, null, null, null, null, null, null, null, null, null, null]
  low: [{", ".join(f"{low:.16g}" for low in _LOW)}]
  high: [{", ".join(f"{high:.16g}" for high in _HIGH)}]
action:
  parts:
    - {{kind: policy/terminate, dim: 1}}
    - {{kind: target/body/position, frame: base, mode: delta, dim: 3, scale: {_REACH}}}
    - {{kind: target/body/rotation, frame: base, mode: delta, rotation: euler_xyz, dim: 3}}
    - {{kind: target/gripper/position, names: [fr3_finger_joint1], closed: 1, open: -1}}
    - {{kind: target/base/velocity, dim: 3}}
"""


class Film(nn.Module):
    """`film_conditioning_layer.py`, line 73; its layers begin at zero in training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.add, self.mult = nn.Linear(_EMBEDDED, channels), nn.Linear(_EMBEDDED, channels)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Scale and shift the channels of (B, C, H, W)."""
        return (1 + self.mult(context)[:, :, None, None]) * x + self.add(context)[:, :, None, None]


class MobileBlock(nn.Module):
    """EfficientNet's block: wider, depthwise, squeeze and excite, narrower, then FiLM."""

    def __init__(self, given: int, made: int, stride: int) -> None:
        super().__init__()
        wide = 2 * given
        self.expand = nn.Sequential(nn.Conv2d(given, wide, 1), nn.BatchNorm2d(wide), nn.SiLU())
        self.depthwise = nn.Sequential(
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide), nn.BatchNorm2d(wide), nn.SiLU()
        )
        self.squeeze, self.excite = nn.Conv2d(wide, 4, 1), nn.Conv2d(4, wide, 1)
        self.project = nn.Sequential(nn.Conv2d(wide, made, 1), nn.BatchNorm2d(made))
        self.film = Film(made)
        self.residual = given == made and stride == 1

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, C, H, W)."""
        wide = self.depthwise(self.expand(x))
        squeezed = functional.silu(self.squeeze(wide.mean(dim=(2, 3), keepdim=True)))
        made = self.project(wide * torch.sigmoid(self.excite(squeezed)))
        return self.film(made + x if self.residual else made, context)


class ImageTokenizer(nn.Module):
    """`image_tokenizer.py` with `pretrained_efficientnet_encoder.py` and `token_learner.py`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.SiLU())
        self.blocks = nn.ModuleList([MobileBlock(12, 16, 2), MobileBlock(16, 16, 1)])
        self.top = nn.Conv2d(16, _TOKEN, 1, bias=False)
        self.film = Film(_TOKEN)
        self.norm = nn.LayerNorm(_TOKEN, eps=1e-6)
        self.hidden, self.final = nn.Linear(_TOKEN, 16), nn.Linear(16, IMAGE_TOKENS)

    def forward(self, image: Tensor, context: Tensor) -> Tensor:
        """(B, H, W, 3) in [0, 1] and (B, embedded) to (B, tokens, width)."""
        x = functional.interpolate(image.permute(0, 3, 1, 2), (SIDE, SIDE), mode="bilinear")
        mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
        std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
        # Divided by the root of the deviation once more: film_efficientnet_encoder.py, line 456.
        x = self.stem((x - mean) / std / torch.sqrt(std))
        for block in self.blocks:
            x = block(x, context)
        x = self.film(self.top(x), context).flatten(2).transpose(1, 2)
        chosen = self.final(functional.gelu(self.hidden(self.norm(x)), approximate="tanh"))
        return torch.softmax(chosen.transpose(1, 2), dim=-1) @ x


class TransformerLayer(nn.Module):
    """`transformer.py`, lines 70 to 89: the feed-forward part is one layer without activation."""

    def __init__(self, key: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = (nn.LayerNorm(_TOKEN, eps=1e-6) for _ in range(2))
        self.inputs = nn.Linear(_TOKEN, 3 * key * heads)
        self.output, self.ff = nn.Linear(key * heads, _TOKEN), nn.Linear(_TOKEN, _TOKEN)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, L, W) with a mask (L, L)."""
        parts = self.inputs(self.first(x)).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        scores = torch.where(mask > 0, q @ k.transpose(2, 3) * q.shape[-1] ** -0.5, -1e9)
        x = x + self.output((torch.softmax(scores, -1) @ v).transpose(1, 2).flatten(2))
        return x + self.ff(self.second(x))


class Network(nn.Module):
    """Tokens of the images to logits for every token."""

    def __init__(self, depth: int = 2) -> None:
        super().__init__()
        self.images = ImageTokenizer()
        self.action_embedding = nn.Linear(BINS, _TOKEN)
        self.embedding, self.places = nn.Linear(_TOKEN, _TOKEN), nn.Linear(_STEP, _TOKEN)
        self.layers = nn.ModuleList(TransformerLayer() for _ in range(depth))
        self.outputs = nn.Linear(_TOKEN, BINS)
        self.register_buffer("mask", torch.tensor(attention_mask(), dtype=torch.float32))
        _enliven(self)

    def logits(self, sequence: Tensor) -> Tensor:
        """`transformer.py`, lines 153 to 169: (B, L, W) to (B, L, V)."""
        x = self.embedding(sequence) + self.places(torch.eye(_STEP))
        for layer in self.layers:
            x = layer(x, self.mask)
        return self.outputs(x)


def _enliven(network: Network) -> None:
    """Images and words count though nothing was trained, and steps are moderate."""
    frames = torch.rand(24, 4, 5, 3).repeat_interleave(16, 1).repeat_interleave(16, 2)
    contexts = torch.randn(2, _EMBEDDED).repeat(12, 1)
    actions = torch.arange(_STEP) % (IMAGE_TOKENS + ACTION_TOKENS) >= IMAGE_TOKENS
    with torch.no_grad():
        for part in network.images.modules():
            if isinstance(part, Film):
                part.mult.weight *= 0.3
                part.add.weight *= 0.3
        network.images.final.weight *= 40.0
        for _ in range(40):
            network.images.train()(frames, contexts)  # measures what the batch norms divide by
        network.eval()
        network.images.top.weight *= 3.0
        network.places.weight *= 8.0
        for layer in network.layers:
            layer.inputs.weight *= 3.0
            layer.output.weight *= 6.0
        tokens = network.images(frames, contexts)
        steps = torch.cat([tokens, torch.zeros(24, ACTION_TOKENS, _TOKEN)], dim=1)
        logits = network.logits(steps.repeat(1, HISTORY, 1))[:, actions]
        usual = logits.mean(dim=(0, 1))
        spread = (logits - usual).std() / 3.0
        network.outputs.weight /= spread
        network.outputs.bias[:] = (network.outputs.bias - usual) / spread
        bins = torch.arange(BINS)
        network.outputs.bias += -0.5 * ((bins - 128) / 16.0) ** 2


def attention_mask() -> npt.NDArray[np.int64]:
    """Lines 174 to 212."""
    per_step = IMAGE_TOKENS + ACTION_TOKENS

    def action_index(k: int) -> int:
        return -1 if k % per_step < IMAGE_TOKENS else k // per_step

    mask = np.tril(np.ones((_STEP, _STEP), dtype=np.int64))
    for i, j in np.ndindex(_STEP, _STEP):
        of_i, of_j = action_index(i), action_index(j)
        if of_i != -1 and of_j != -1 and (of_j < of_i or (of_j == of_i and j <= i)):
            mask[i, j] -= 1
    return mask


class OnePass(nn.Module):
    """What is exported: the network with its state, and all logits at once."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        image: Tensor,
        natural_language_embedding: Tensor,
        context_image_tokens: Tensor,
        seq_idx: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (11, 256) and the state of the next inference."""
        index = seq_idx.reshape(())
        step = torch.clamp(index, max=HISTORY - 1)
        state = torch.where(
            index == HISTORY, torch.roll(context_image_tokens, -1, 0), context_image_tokens
        )
        now = self.network.images(image, natural_language_embedding)[0][None, :, None]
        here = (torch.arange(HISTORY) == step).reshape(-1, 1, 1, 1)
        state = torch.where(here, now, state)
        actions = torch.zeros(HISTORY, ACTION_TOKENS, _TOKEN)
        sequence = torch.cat([state[:, :, 0], actions], dim=1).reshape(1, _STEP, _TOKEN)
        start = IMAGE_TOKENS - 1 + step * (IMAGE_TOKENS + ACTION_TOKENS)
        logits = self.network.logits(sequence)[0][start + torch.arange(ACTION_TOKENS)]
        return logits, state, torch.clamp(seq_idx + 1, max=HISTORY)


class Agent:
    """`call` as it is written: eleven passes, each with the tokens found before."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.images = torch.zeros(1, HISTORY, IMAGE_TOKENS, 1, _TOKEN)
        self.actions = torch.zeros(1, HISTORY, ACTION_TOKENS, dtype=torch.int64)
        self.seq_idx = 0

    def act(self, image: Tensor, context: Tensor) -> list[int]:
        """Eleven tokens."""
        step = min(self.seq_idx, HISTORY - 1)  # line 559
        if self.seq_idx == HISTORY:  # lines 596 to 599, 617 to 619
            self.images = torch.roll(self.images, -1, dims=1)
            self.actions = torch.roll(self.actions, -1, dims=1)
        tokens = self.network.images(image, context)[:, None, :, None]
        self.images = torch.cat([self.images[:, :step], tokens, self.images[:, step + 1 :]], 1)
        found: list[int] = []
        start = -1 + IMAGE_TOKENS + step * (IMAGE_TOKENS + ACTION_TOKENS)  # lines 307 to 311
        actions = self.actions.clone()
        for k in range(ACTION_TOKENS):
            logits = self.network.logits(self._sequence(actions))
            found.append(unlike(logits[0, start + k]))
            actions[0, step, k] = found[-1]
        self.actions = actions
        self.seq_idx = min(self.seq_idx + 1, HISTORY)  # line 357
        return found

    def _sequence(self, actions: Tensor) -> Tensor:
        """Lines 630 to 646."""
        embedded = self.network.action_embedding(functional.one_hot(actions, BINS).float())
        embedded = torch.zeros_like(embedded)  # line 635
        sequence = torch.cat([self.images, embedded[:, :, :, None]], dim=2)
        return sequence.reshape(1, -1, _TOKEN)


def reference(
    network: Network, embeddings: dict[str, np.ndarray], seen: Recording, task: str
) -> Oracle:
    """An episode, and `detokenize` (`action_tokenizer.py`, lines 129 to 157)."""
    agent = Agent(network)
    context = torch.tensor(embeddings[task])[None]
    poses, fingers, tokens = [], [], []
    for joints, frame in zip(seen.position, seen.images["front"], strict=True):
        small = Image.fromarray(frame).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
        image = torch.tensor(np.asarray(small)[None].copy()).float() / 255.0
        with torch.no_grad():
            found = agent.act(image, context)
        action = np.array(found) / (BINS - 1) * (_HIGH - _LOW) + _LOW  # lines 152 and 153
        start = hand.hand_pose(dict(zip(seen.joint_names, joints, strict=True)))
        poses.append([hand.row(hand.stepped(start, _REACH * action[1:4], action[4:7]))])
        closed = (action[7] + 1.0) / 2.0
        fingers.append([[hand.OPENED + closed * (hand.CLOSED - hand.OPENED)]])
        tokens.append(found)
    return Oracle(
        np.array(fingers), hand.JOINTS[-1:], np.array(poses), hand.FRAME, np.array(tokens)
    )


def export(network: Network, embeddings: dict[str, np.ndarray]) -> None:
    """Write the bundle."""
    folder = begin_bundle("rt1")
    inputs = {
        "image": torch.zeros(1, HEIGHT, WIDTH, 3),
        "natural_language_embedding": torch.zeros(1, _EMBEDDED),
        "context_image_tokens": torch.zeros(HISTORY, IMAGE_TOKENS, 1, _TOKEN),
        "seq_idx": torch.zeros(1, 1, 1, 1, dtype=torch.int32),
    }
    outputs = ["logits", "context_image_tokens_out", "seq_idx_out"]
    export_slim(OnePass(network), inputs, outputs, folder / "policy.onnx")
    (folder / "embeddings.safetensors").write_bytes(save(embeddings))
    finish_bundle(folder, _DOCUMENT)


def main() -> None:
    """Write the bundle and the oracle's answers."""
    torch.manual_seed(_SEED)
    network = Network().eval()
    rng = np.random.default_rng(_SEED)
    tasks = (TASK, _OTHER_TASK)
    embeddings = {t: rng.standard_normal(_EMBEDDED).astype(np.float32) for t in tasks}
    export(network, embeddings)
    seen = record_hand(RATE, HISTORY + 2, ("front",), TASK)
    write_parity("rt1", seen, reference(network, embeddings, seen, TASK))


if __name__ == "__main__":
    main()
