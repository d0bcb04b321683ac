# SPDX-License-Identifier: Apache-2.0
"""What pi0 and pi0.5 share: PaliGemma for images and words, and an expert for actions beside it.

Both attend to the same keys and values, layer by layer. Lines are those of
Physical-Intelligence/openpi 15a9616, `src/openpi/models/pi0.py` unless another file is named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from export_common import SO101_JOINTS, Recording, begin_bundle
from PIL import Image
from slim_graph import export_slim
from torch import Tensor, nn
from torch.nn import functional
from vla_parts import (
    AdaptiveNorm,
    KeysValues,
    Layer,
    RmsNorm,
    Size,
    VisionTransformer,
    attended,
    block_mask,
    enlivened,
    time_waves,
)

ROWS, PADDED, STEPS, LAYERS = 50, 32, 10, 2
RATE = 20.0
HEIGHT, WIDTH = 48, 64
"""A square in openpi; here the 96 x 96 of the cameras is padded on both sides."""
IMAGES = 3
EPS = 1e-6
"""`transforms.py`, lines 139, 145, 172 and 181."""
_MODEL = Size(width=24, heads=4, shared=1, head=8, hidden=48, kind="gemma")


def expert_size(*, adaptive: bool) -> Size:
    """The expert is narrower, and its heads are the model's (`gemma.py`, line 166)."""
    return Size(16, _MODEL.heads, _MODEL.shared, _MODEL.head, 32, "gemma", adaptive)


class Prefix(nn.Module):
    """Images and words to keys and values."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vision = VisionTransformer((HEIGHT, WIDTH), 16, 8)
        self.projector = nn.Linear(8, _MODEL.width)
        self.embedding = nn.Embedding(vocabulary, _MODEL.width)
        self.layers = nn.ModuleList(Layer(_MODEL) for _ in range(LAYERS))
        self.norm = RmsNorm(_MODEL.width, "gemma")
        with torch.no_grad():
            self.embedding.weight *= 0.4

    def tokens(
        self, images: Sequence[Tensor], masks: Sequence[Tensor], words: Tensor, seen: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`embed_prefix`: tokens (1, N, W), and which are no padding (1, N)."""
        parts = [self.projector(self.vision(image)) for image in images]
        there = [
            mask[:, None].expand(-1, part.shape[1])
            for mask, part in zip(masks, parts, strict=True)
        ]
        embedded = self.embedding(words) * math.sqrt(_MODEL.width)  # gemma.py, line 150
        return torch.cat([*parts, embedded], dim=1), torch.cat([*there, seen], dim=1)


class Expert(nn.Module):
    """Noisy actions and their flow time to velocities."""

    def __init__(self, *, adaptive: bool) -> None:
        super().__init__()
        self.adaptive = adaptive
        size = expert_size(adaptive=adaptive)
        self.into, self.out = nn.Linear(PADDED, size.width), nn.Linear(size.width, PADDED)
        self.layers = nn.ModuleList(Layer(size) for _ in range(LAYERS))
        if adaptive:
            self.norm: nn.Module = AdaptiveNorm(size.width)
            self.time_in = nn.Linear(size.width, size.width)
        else:
            self.norm = RmsNorm(size.width, "gemma")
            self.state = nn.Linear(PADDED, size.width)
            self.time_in = nn.Linear(2 * size.width, size.width)
        self.time_out = nn.Linear(size.width, size.width)

    def tokens(
        self, x: Tensor, time: Tensor, state: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """`embed_suffix`: tokens, and what the norms follow.

        Args:
            x: Noisy actions (1, T, 32).
            time: Flow time of every row (1, T); openpi has one for all of them (line 161).
            state: Normalised and padded (1, 32); None for pi0.5.
        """
        waves = time_waves(time, self.time_out.out_features)
        actions = self.into(x)
        if self.adaptive:
            condition = functional.silu(self.time_out(functional.silu(self.time_in(waves))))
            return actions, condition
        mixed = functional.silu(self.time_in(torch.cat([actions, waves], dim=-1)))
        if state is None:
            raise ValueError("pi0 needs the state")
        return torch.cat([self.state(state)[:, None], self.time_out(mixed)], dim=1), None

    def velocity(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """Of the last T tokens, (1, T, 32)."""
        normed = self.norm(x) if condition is None else self.norm(x, condition)[0]
        return self.out(normed[:, -ROWS:])


class Pi(nn.Module):
    """Both, and what they see of each other."""

    def __init__(self, vocabulary: int, *, adaptive: bool) -> None:
        super().__init__()
        self.prefix, self.expert = Prefix(vocabulary), Expert(adaptive=adaptive)
        enlivened(self)

    def blocks(self, prefix: Tensor) -> Tensor:
        """`ar_mask`: one block of images and words, the state, one of actions (157, 182)."""
        begins = [1] if self.expert.adaptive else [1, 1]
        suffix = torch.tensor([*begins, *[0] * (ROWS - 1)])
        return torch.cat([torch.zeros_like(prefix[0, :, 0], dtype=torch.int64), suffix])

    def together(
        self, prefix: tuple[Tensor, Tensor], suffix: Tensor, condition: Tensor | None
    ) -> Tensor:
        """Velocities without a cache, as in training (`compute_loss`, lines 203 to 212)."""
        x, seen = prefix
        there = torch.ones_like(suffix[:, :, 0], dtype=torch.bool)
        seen = torch.cat([seen, there], dim=1)
        mask = block_mask(seen, self.blocks(x))
        positions = torch.cumsum(seen.to(torch.int64), dim=1) - 1
        count = x.shape[1]
        for one, other in zip(self.prefix.layers, self.expert.layers, strict=True):
            seen_one, gate_one = one.normed(x)
            seen_other, gate_other = other.normed(suffix, condition)
            ours = one.told(seen_one, positions[:, :count])
            theirs = other.told(seen_other, positions[:, count:])
            keys, values = (torch.cat(pair, dim=2) for pair in zip(ours, theirs, strict=True))
            asked = (
                one.asked(seen_one, positions[:, :count]),
                other.asked(seen_other, positions[:, count:]),
            )
            heads = attended(torch.cat(asked, dim=2), keys, values, mask)
            x = one.finished(x, heads[:, :count], gate_one)
            suffix = other.finished(suffix, heads[:, count:], gate_other, condition)
        return self.expert.velocity(suffix, condition)


class Encode(nn.Module):
    """What is the same at every step of the flow: keys and values of images and words."""

    def __init__(self, policy: Pi) -> None:
        super().__init__()
        self.prefix = policy.prefix

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Images, their masks, tokens and theirs, to the cache and the mask of the prefix."""
        images, masks = inputs[:IMAGES], inputs[IMAGES : 2 * IMAGES]
        x, seen = self.prefix.tokens(images, masks, inputs[-2], inputs[-1])
        mask = seen[:, None, :] & seen[:, :, None]
        positions = torch.cumsum(seen.to(torch.int64), dim=1) - 1
        kept: list[Tensor] = []
        for layer in self.prefix.layers:
            x, pair = layer(x, positions, mask)
            kept.extend(pair)
        return *kept, seen


class Denoise(nn.Module):
    """One step of the flow (`sample_actions`, lines 239 to 271)."""

    def __init__(self, policy: Pi) -> None:
        super().__init__()
        self.policy, self.expert = policy, policy.expert

    def forward(self, x_t: Tensor, timestep: Tensor, *inputs: Tensor) -> Tensor:
        """Noisy actions, a time per row, the state (pi0), the cache and its mask."""
        state = None if self.expert.adaptive else inputs[0]
        cached: tuple[Tensor, ...] = inputs[-2 * LAYERS - 1 : -1]
        seen = inputs[-1]
        x, condition = self.expert.tokens(x_t, timestep, state)
        count = x.shape[1]
        among = block_mask(torch.ones(1, count, dtype=torch.bool), self.policy.blocks(x[:, :0]))
        mask = torch.cat([seen[:, None].expand(-1, count, -1), among], dim=2)
        positions = seen.to(torch.int64).sum(dim=1, keepdim=True) + torch.arange(count)
        for index, layer in enumerate(self.expert.layers):
            past: KeysValues = (cached[2 * index], cached[2 * index + 1])
            normed, gate = layer.normed(x, condition)
            told = layer.told(normed, positions)
            keys, values = (torch.cat(pair, dim=2) for pair in zip(past, told, strict=True))
            heads = attended(layer.asked(normed, positions), keys, values, mask)
            x = layer.finished(x, heads, gate, condition)
        return self.expert.velocity(x, condition)


def cache_names() -> list[str]:
    """Of what goes from `encode` to `step`."""
    return [f"past_{n}_{part}" for n in range(LAYERS) for part in ("key", "value")]


def resize_with_pad(frame: npt.NDArray[np.uint8]) -> Tensor:
    """`openpi_client/image_tools.py`, lines 38 to 58, and [-1, 1]: (1, 3, H, W)."""
    image = Image.fromarray(frame)
    ratio = max(image.width / WIDTH, image.height / HEIGHT)
    size = int(image.width / ratio), int(image.height / ratio)
    resized = image.resize(size, resample=Image.Resampling.BILINEAR)
    black = Image.new(resized.mode, (WIDTH, HEIGHT), 0)
    left, top = max(0, int((WIDTH - size[0]) / 2)), max(0, int((HEIGHT - size[1]) / 2))
    black.paste(resized, (left, top))
    pixels = torch.tensor(np.asarray(black).transpose(2, 0, 1)[None].copy()).float()
    return pixels / 255.0 * 2.0 - 1.0


def sampled(
    policy: Pi,
    prefix: tuple[Tensor, Tensor],
    state: Tensor | None,
    noise: npt.NDArray[np.float32],
) -> npt.NDArray[np.float64]:
    """`sample_actions`: ten steps from time 1, noise, to 0; (T, 32)."""
    x, time = torch.tensor(noise), 1.0
    with torch.no_grad():
        for step in range(STEPS):
            time = 1.0 - step / STEPS
            rows = torch.full((1, ROWS), time, dtype=torch.float32)
            suffix, condition = policy.expert.tokens(x, rows, state)
            x = x - policy.together(prefix, suffix, condition) / STEPS
    return x[0].double().numpy()


ARM, GRIPPER = SO101_JOINTS[:-1], SO101_JOINTS[-1]
_ENDS = (-0.17453, 1.74533)
"""Where the gripper is closed and open [rad]: the ends of the joint's range."""

OBSERVED = "".join(
    f"""\
  image_{number}:
    kind: sensor/image
    camera: {camera}
    image:
      size: [{HEIGHT}, {WIDTH}]
      resize: pad
      interpolation: bilinear
      range: [-1, 1]
      mask: img_mask_{number}
{more}"""
    for number, camera, more in (
        (0, "front", ""),
        (1, "wrist", ""),
        (2, "right_wrist", "      optional: true\n"),
    )
)
"""The cameras of the document."""


def measured_state(joints: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The joints [rad], with the gripper from 0, open, to 1, closed."""
    return np.array([*joints[:-1], (joints[-1] - _ENDS[1]) / (_ENDS[0] - _ENDS[1])])


def absolute(
    actions: npt.NDArray[np.float64], joints: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Joint targets [rad] of un-normalised actions: `transforms.py`, line 241."""
    gripper = _ENDS[1] + np.clip(actions[:, -1:], 0.0, 1.0) * (_ENDS[0] - _ENDS[1])
    return np.hstack([actions[:, :-1] + joints[:-1], gripper])


def images_of(seen: Recording, index: int) -> tuple[list[Tensor], list[Tensor]]:
    """Two cameras; a third is missing: -1 everywhere, masked (`droid_policy.py`, line 50)."""
    images = [resize_with_pad(seen.images[name][index]) for name in ("front", "wrist")]
    masks = [torch.tensor([there]) for there in (True, True, False)]
    return [*images, torch.full_like(images[0], -1.0)], masks


def export(family: str, policy: Pi, words: int) -> Path:
    """Write both graphs of a new bundle."""
    folder = begin_bundle(family)
    image = torch.zeros(1, 3, HEIGHT, WIDTH)
    there = torch.ones(1, dtype=torch.bool)
    inputs = {
        **{f"image_{n}": image for n in range(IMAGES)},
        **{f"img_mask_{n}": there for n in range(IMAGES)},
        "lang_tokens": torch.ones(1, words, dtype=torch.int64),
        "lang_masks": torch.ones(1, words, dtype=torch.bool),
    }
    encode = Encode(policy)
    kept = [*cache_names(), "prefix_mask"]
    export_slim(encode, inputs, kept, folder / "prefix.onnx")
    step = {
        "x_t": torch.randn(1, ROWS, PADDED),
        "timestep": torch.full((1, ROWS), 0.5),
    }
    if not policy.expert.adaptive:
        step["state"] = torch.zeros(1, PADDED)
    with torch.no_grad():
        step |= dict(zip(kept, encode(*inputs.values()), strict=True))
    export_slim(Denoise(policy), step, ["v_t"], folder / "expert.onnx")
    return folder
