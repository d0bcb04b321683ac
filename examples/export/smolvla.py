# SPDX-License-Identifier: Apache-2.0
"""SmolVLA: images, a sentence and joints to a chunk of fifty targets, by flow matching.

Shukor et al., SmolVLA (2025). Lines are those of huggingface/lerobot 7427f31,
`src/lerobot/policies/smolvla/modeling_smolvla.py` unless another file is named; "expert" is
`smolvlm_with_expert.py` beside it. What goes wrong without an error, and is in this bundle:

- images are padded above and to the left only (`common/vla_utils.py`), where pi0 pads around;
- the prompt ends with a line break (`processor_smolvla.py` 68), and its padding is masked;
- embeddings of images and words are times the root of their width (585, 611);
- the state is a token of the prefix, that images and words do not see (630);
- actions are causal: each sees those before it (682), where those of pi0 see each other;
- every second layer of the expert attends to the prefix only, through projections of its keys,
  with places that begin at 0 (expert 357 to 379).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from export_common import (
    SO101_JOINTS,
    Oracle,
    Recording,
    begin_bundle,
    finish_bundle,
    record,
    write_parity,
    write_stats,
)
from slim_graph import export_slim
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from vla_parts import (
    Layer,
    RmsNorm,
    Size,
    VisionTransformer,
    attended,
    block_mask,
    enlivened,
    rotated,
    time_waves,
)
from vla_text import byte_level, write_tokenizer

RATE, ROWS, PADDED, STEPS, WORDS, LAYERS = 30.0, 50, 32, 10, 48, 2
TASK = "put the cube in the box"
HEIGHT, WIDTH, PATCH = 96, 128, 16
"""A square of 512 in LeRobot; here the 96 x 96 of the cameras are not resized, but padded."""
_CAMERAS = ("front", "wrist")
_EPS = 1e-8
_MODEL = Size(width=24, heads=3, shared=1, head=8, hidden=48)
_EXPERT = Size(width=18, heads=3, shared=1, head=8, hidden=36)
_CROSS = Size(width=18, heads=3, shared=1, head=8, hidden=36, source=8)
_SEED = 0

_IMAGE = (
    f"{{size: [{HEIGHT}, {WIDTH}], resize: pad_top_left, interpolation: linear, range: [-1, 1]}}"
)
_DOCUMENT = f"""
format: policy_package
version: "1.1"
name: smolvla
description: SmolVLA, images, a sentence and joints to fifty joint targets
robot: so101
rate: {RATE:g}
graphs: {{encode: prefix.onnx, step: expert.onnx}}
observations:
  image_0: {{kind: sensor/image, camera: front, image: {_IMAGE}}}
  image_1: {{kind: sensor/image, camera: wrist, image: {_IMAGE}}}
  lang_tokens:
    kind: command/language
    text:
      template: "{{task}}\\n"
      tokenizer: tokenizer.json
      max_length: {WORDS}
      mask: lang_masks
  state:
    kind: state/joint/position
    names: [{", ".join(SO101_JOINTS)}]
    normalize: mean_std
    pad: {PADDED}
decoder: {{type: flow, steps: {STEPS}, shape: [{ROWS}, {PADDED}]}}
action:
  normalize: mean_std
  parts: [{{kind: target/joint/position, names: [{", ".join(SO101_JOINTS)}]}}]
chunk:
  size: {ROWS}
  execute: 15
  smoothing: 0
  rtc: {{mode: guided, execution_horizon: 10, max_guidance_weight: 10}}
stats: stats.safetensors
"""


class Model(nn.Module):
    """SmolVLM for images and words, and the expert for actions."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vision = VisionTransformer((HEIGHT, WIDTH), PATCH, 8)
        self.connector = nn.Linear(4 * 8, _MODEL.width, bias=False)
        self.embedding = nn.Embedding(vocabulary, _MODEL.width)
        self.state = nn.Linear(PADDED, _MODEL.width)
        self.layers = nn.ModuleList(Layer(_MODEL) for _ in range(LAYERS))
        self.expert = nn.ModuleList([Layer(_EXPERT), Layer(_CROSS)])
        self.norm = RmsNorm(_EXPERT.width, "llama")
        self.into, self.out = nn.Linear(PADDED, _EXPERT.width), nn.Linear(_EXPERT.width, PADDED)
        self.time_in = nn.Linear(2 * _EXPERT.width, _EXPERT.width)
        self.time_out = nn.Linear(_EXPERT.width, _EXPERT.width)
        with torch.no_grad():
            self.embedding.weight *= 0.4
        enlivened(self)

    def seen(self, image: Tensor) -> Tensor:
        """Patches, four to a token (the connector's pixel shuffle)."""
        x = self.vision(image).unflatten(1, (HEIGHT // PATCH // 2, 2, WIDTH // PATCH // 2, 2))
        x = x.permute(0, 1, 3, 2, 4, 5).flatten(3).flatten(1, 2)
        return self.connector(x) * math.sqrt(_MODEL.width)

    def embed_prefix(
        self, images: list[Tensor], words: Tensor, mask: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Lines 552 to 644: tokens, which are no padding, and where blocks begin."""
        tokens = [self.seen(image) for image in images]
        tokens.append(self.embedding(words) * math.sqrt(_MODEL.width))
        count = sum(part.shape[1] for part in tokens)
        shown = count - words.shape[1]
        x = torch.cat([*tokens, self.state(state)[:, None]], dim=1)
        there = torch.ones(1, shown, dtype=torch.bool)
        pads = torch.cat([there, mask, torch.ones(1, 1, dtype=torch.bool)], dim=1)
        return x, pads, torch.tensor([0] * count + [1])

    def embed_suffix(self, noisy: Tensor, time: Tensor) -> Tensor:
        """Lines 646 to 687: one time for all rows."""
        actions = self.into(noisy)
        waves = time_waves(time[:, None], _EXPERT.width).expand_as(actions)
        return self.time_out(functional.silu(self.time_in(torch.cat([actions, waves], dim=2))))

    def crossed(
        self, layer: Layer, keys: Tensor, values: Tensor, normed: Tensor, mask: Tensor
    ) -> Tensor:
        """Attention to the prefix alone: expert, lines 346 to 388."""
        flat = (part.transpose(1, 2).flatten(2) for part in (keys, values))
        keys, values = layer.keys(next(flat)), layer.values(next(flat))
        places = torch.arange(normed.shape[1])[None]
        asked = rotated(layer.split(layer.queries(normed)), places)
        return attended(asked, layer.split(keys), layer.split(values), mask)

    def together(
        self, prefix: tuple[Tensor, Tensor, Tensor], noisy: Tensor, time: Tensor
    ) -> Tensor:
        """Velocities without a cache, as in training (`forward`, lines 702 to 722)."""
        x, pads, begins = prefix
        suffix, count = self.embed_suffix(noisy, time), x.shape[1]
        pads = torch.cat([pads, torch.ones(1, ROWS, dtype=torch.bool)], dim=1)
        mask = block_mask(pads, torch.cat([begins, torch.ones(ROWS, dtype=torch.int64)]))
        places = torch.cumsum(pads.to(torch.int64), dim=1) - 1
        ours, theirs = places[:, :count], places[:, count:]
        for index, (one, other) in enumerate(zip(self.layers, self.expert, strict=True)):
            normed, _ = one.normed(x)
            theirs_normed, _ = other.normed(suffix)
            keys, values = one.told(normed, ours)
            asked = one.asked(normed, ours)
            if index % 2 == 0:  # expert, lines 439 to 443
                more = other.told(theirs_normed, theirs)
                keys, values = torch.cat([keys, more[0]], 2), torch.cat([values, more[1]], 2)
                asked = torch.cat([asked, other.asked(theirs_normed, theirs)], dim=2)
                heads = attended(asked, keys, values, mask)
                own, its = heads[:, :count], heads[:, count:]
            else:
                own = attended(asked, keys, values, mask[:, :count, :count])
                seen = mask[:, count:, :count]
                its = self.crossed(other, keys, values, theirs_normed, seen)
            x, suffix = one.finished(x, own, None), other.finished(suffix, its, None)
        return self.out(self.norm(suffix))


class Encode(nn.Module):
    """Keys and values of the prefix (lines 744 to 756)."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        image_0: Tensor,
        image_1: Tensor,
        lang_tokens: Tensor,
        lang_masks: Tensor,
        state: Tensor,
    ) -> tuple[Tensor, ...]:
        """The cache, and which of its tokens are no padding."""
        x, pads, _ = self.model.embed_prefix([image_0, image_1], lang_tokens, lang_masks, state)
        count = x.shape[1]
        # All of it is one block but the state, which only the state sees.
        visible = pads & (torch.arange(count) < count - 1)
        among = visible[:, None].expand(-1, count - 1, -1)
        mask = torch.cat([among, pads[:, None]], dim=1)
        places = torch.cumsum(pads.to(torch.int64), dim=1) - 1
        kept: list[Tensor] = []
        for layer in self.model.layers:
            x, pair = layer(x, places, mask)
            kept.extend(pair)
        return *kept, pads


class Denoise(nn.Module):
    """One step of the flow (`denoise_step`, lines 775 to 810)."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, x_t: Tensor, timestep: Tensor, *inputs: Tensor) -> Tensor:
        """Noisy actions (1, T, 32), a time (1,), the cache and its mask."""
        pads, x = inputs[-1], self.model.embed_suffix(x_t, timestep)
        prefix = pads[:, None].expand(-1, ROWS, -1)
        causal = torch.ones(1, ROWS, ROWS).tril() > 0
        places = pads.to(torch.int64).sum(dim=1, keepdim=True) + torch.arange(ROWS)
        for index, layer in enumerate(self.model.expert):
            keys, values = inputs[2 * index : 2 * index + 2]
            normed, _ = layer.normed(x)
            if index % 2 == 0:
                more = layer.told(normed, places)
                keys, values = torch.cat([keys, more[0]], 2), torch.cat([values, more[1]], 2)
                mask = torch.cat([prefix, causal], dim=2)
                heads = attended(layer.asked(normed, places), keys, values, mask)
            else:
                heads = self.model.crossed(layer, keys, values, normed, prefix)
            x = layer.finished(x, heads, None)
        return self.model.out(self.model.norm(x))


def resize_with_pad(frame: npt.NDArray[np.uint8]) -> Tensor:
    """`common/vla_utils.py` `resize_with_pad`, and lines 350 to 360: (1, 3, H, W) in [-1, 1]."""
    image = torch.tensor(frame.transpose(2, 0, 1)[None].copy()).float() / 255.0
    height, width = image.shape[2:]
    ratio = max(width / WIDTH, height / HEIGHT)
    size = int(height / ratio), int(width / ratio)
    image = functional.interpolate(image, size, mode="bilinear", align_corners=False)
    left, top = max(0, WIDTH - size[1]), max(0, HEIGHT - size[0])
    return functional.pad(image, (left, 0, top, 0), value=0.0) * 2.0 - 1.0


def statistics() -> dict[str, np.ndarray]:
    """Of a data set of the simulated arm; actions are absolute."""
    return {
        "state.mean": np.array([0.1, -1.0, 0.7, 1.2, 1.7, 0.9]),
        "state.std": np.array([0.4, 0.3, 0.3, 0.2, 0.2, 0.3]),
        "state.eps": np.array(_EPS),
        "action.mean": np.array([0.1, -1.1, 0.7, 1.3, 1.7, 0.9]),
        "action.std": np.array([0.08, 0.06, 0.07, 0.05, 0.08, 0.1]),
        "action.eps": np.array(_EPS),
    }


def reference(
    model: Model, tokenizer: Tokenizer, stats: dict[str, np.ndarray], seen: Recording
) -> Oracle:
    """`predict_action_chunk` between its processors."""
    noises = np.random.default_rng(0)
    ids = tokenizer.encode(f"{seen.task}\n").ids
    words = torch.tensor([ids + [0] * (WORDS - len(ids))])
    mask = torch.tensor([[True] * len(ids) + [False] * (WORDS - len(ids))])
    answers: list[np.ndarray] = []
    for index, joints in enumerate(seen.position):
        state = (joints - stats["state.mean"]) / (stats["state.std"] + _EPS)
        images = [resize_with_pad(seen.images[camera][index]) for camera in _CAMERAS]
        x = torch.tensor(noises.standard_normal((1, ROWS, PADDED), dtype=np.float32))
        with torch.no_grad():
            given = functional.pad(torch.tensor(state[None]).float(), (0, PADDED - 6))  # 412
            prefix = model.embed_prefix(images, words, mask, given)
            for step in range(STEPS):  # common/flow_matching.py, lines 100 to 128
                time = torch.tensor([1.0 - step / STEPS], dtype=torch.float32)
                x = x - model.together(prefix, x, time) / STEPS
        rows = x[0, :, :6].double().numpy()
        answers.append(rows * (stats["action.std"] + _EPS) + stats["action.mean"])
    return Oracle(np.stack(answers), SO101_JOINTS)


def export(model: Model, tokenizer: Tokenizer) -> None:
    """Write the bundle."""
    folder = begin_bundle("smolvla")
    image = torch.zeros(1, 3, HEIGHT, WIDTH)
    inputs = {
        "image_0": image,
        "image_1": image,
        "lang_tokens": torch.ones(1, WORDS, dtype=torch.int64),
        "lang_masks": torch.ones(1, WORDS, dtype=torch.bool),
        "state": torch.zeros(1, PADDED),
    }
    encode = Encode(model)
    kept = [f"past_{n}_{part}" for n in range(LAYERS) for part in ("key", "value")]
    kept.append("prefix_mask")
    export_slim(encode, inputs, kept, folder / "prefix.onnx")
    step = {"x_t": torch.randn(1, ROWS, PADDED), "timestep": torch.full((1,), 0.5)}
    with torch.no_grad():
        step |= dict(zip(kept, encode(*inputs.values()), strict=True))
    export_slim(Denoise(model), step, ["v_t"], folder / "expert.onnx")
    write_tokenizer(tokenizer, folder / "tokenizer.json")
    write_stats(folder, statistics())
    finish_bundle(folder, _DOCUMENT)


def main() -> None:
    """Write the bundle and the oracle's answers."""
    torch.manual_seed(_SEED)
    tokenizer = byte_level()
    model = Model(tokenizer.get_vocab_size()).eval()
    export(model, tokenizer)
    cameras = dict.fromkeys(_CAMERAS, (96, 96))
    seen = replace(record(RATE, steps=4, cameras=cameras), task=TASK)
    stats = {name: value.astype(np.float32).astype(float) for name, value in statistics().items()}
    write_parity("smolvla", seen, reference(model, tokenizer, stats, seen))


if __name__ == "__main__":
    main()
