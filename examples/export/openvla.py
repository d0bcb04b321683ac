# SPDX-License-Identifier: Apache-2.0
"""OpenVLA: an image and a sentence to seven tokens, one after the other, that are a hand's step.

Kim et al., OpenVLA (2024). Lines are those of openvla/openvla c8f03f4,
`prismatic/extern/hf/modeling_prismatic.py` unless another file is named. What goes wrong without
an error, and is in this bundle:

- the crop is the root of 0.9 per side, not 0.9, and between pixels (`openvla_utils.py` 132-134);
- the task is written in small letters (`openvla_utils.py` 163);
- token 29871 must end the prompt (line 512), or the first action token is another;
- 256 edges have 255 centres (line 501), and tokens count down from the end of the vocabulary
  without its padding (line 504): a bin from the last row of the head would be 64 off;
- any token may be generated; one that is no action counts as the nearest (line 523);
- the gripper is not normalised (`mask`, line 528), 1 is open and 0 closed (`robot_utils.py` 99).
"""

from __future__ import annotations

import hand
import numpy as np
import openvla_parts as parts
import torch
from export_common import (
    Oracle,
    Recording,
    begin_bundle,
    finish_bundle,
    write_parity,
    write_stats,
)
from hand_recording import record_hand
from slim_graph import export_slim
from tokenizers import Tokenizer
from torch import Tensor, nn
from vla_parts import enlivened
from vla_text import llama, write_tokenizer

RATE, TOKENS = 5.0, 7
TASK = "Pick up the RED cube"
_SEED = 10
_MASK = np.array([True] * 6 + [False])

_DOCUMENT = f"""
format: policy_package
version: "1.1"
name: openvla
description: OpenVLA, an image and a sentence to a step of the hand in seven tokens
robot: fr3
rate: {RATE:g}
graphs: {{encode: prefill.onnx, step: decode.onnx}}
observations:
  pixel_values:
    kind: sensor/image
    camera: front
    image:
      size: [{parts.SIDE}, {parts.SIDE}]
      crop: 0.9
      interpolation: crop_and_resize
      dtype: uint8
  input_ids:
    kind: command/language
    text:
      template: "In: What action should the robot take to {{task}}?\\nOut:"
      tokenizer: tokenizer.json
      lower: true
decoder:
  type: autoregressive
  tokens: {TOKENS}
  prompt_end: {parts.EMPTY}
  detokenize:
    type: bins
    bins: 256
    value: centers
    first_token: {parts.VOCABULARY - 1}
    descending: true
action:
  normalize: quantiles
  unnormalize_mask: [true, true, true, true, true, true, false]
  parts:
    - {{kind: target/body/position, frame: base, mode: delta, dim: 3}}
    - {{kind: target/body/rotation, frame: base, mode: delta, rotation: euler_xyz, dim: 3}}
    - kind: target/gripper/position
      names: [fr3_finger_joint1]
      closed: 0
      open: 1
      binarize: 0.5
stats: stats.safetensors
"""


class Model(nn.Module):
    """The whole network."""

    def __init__(self) -> None:
        super().__init__()
        self.vision, self.language = parts.Backbone(), parts.Llama()
        # As after training, actions win over words.
        with torch.no_grad():
            actions = slice(parts.TEXT_TOKENS, parts.VOCABULARY)
            self.language.head.weight[actions] *= 4.0
        enlivened(self)

    def whole(self, pixels: Tensor, ids: Tensor) -> Tensor:
        """Logits of the token after `ids`; patches come after the first token (lines 382-385)."""
        words = self.language.embedding(ids)
        x = torch.cat([words[:, :1], self.vision(pixels), words[:, 1:]], dim=1)
        positions = parts.places(x)
        causal = positions[:, None, :] <= positions[:, :, None]
        states, _ = self.language.hidden(x, positions, causal)
        return self.language.head(states[:, -1:])


class Prefill(nn.Module):
    """`Model.whole`, and the cache."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor, input_ids: Tensor) -> tuple[Tensor, ...]:
        """Logits (1, 1, V), and keys and values of every layer."""
        language = self.model.language
        words = language.embedding(input_ids)
        x = torch.cat([words[:, :1], self.model.vision(pixel_values), words[:, 1:]], dim=1)
        positions = parts.places(x)
        causal = positions[:, None, :] <= positions[:, :, None]
        states, present = language.hidden(x, positions, causal)
        return language.head(states[:, -1:]), *(tensor for pair in present for tensor in pair)


class Decode(nn.Module):
    """One more token, with the cache (lines 325 to 341)."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.language = model.language

    def forward(
        self, input_ids: Tensor, position_ids: Tensor, *past: Tensor
    ) -> tuple[Tensor, ...]:
        """As `Prefill`, for one token (1, 1)."""
        x = self.language.embedding(input_ids)
        cached = tuple(zip(past[::2], past[1::2], strict=True))
        seen = torch.cat(
            [torch.ones_like(past[0][:, 0, :, 0]), torch.ones_like(x[:, :, 0])], dim=1
        )
        states, present = self.language.hidden(x, position_ids, seen[:, None] > 0, cached)
        return self.language.head(states), *(tensor for pair in present for tensor in pair)


def statistics() -> dict[str, np.ndarray]:
    """Of a data set whose steps are small; the gripper's are not used."""
    low = np.array([-0.012, -0.010, -0.011, -0.03, -0.028, -0.04, 0.0])
    high = np.array([0.011, 0.012, 0.010, 0.031, 0.029, 0.036, 1.0])
    return {"action.q01": low, "action.q99": high}


def reference(
    model: Model, tokenizer: Tokenizer, stats: dict[str, np.ndarray], seen: Recording
) -> Oracle:
    """`get_vla_action` and `predict_action`, without a cache."""
    bins = np.linspace(-1, 1, 256)  # line 500
    centers = (bins[:-1] + bins[1:]) / 2.0  # line 501
    low, high = stats["action.q01"], stats["action.q99"]
    poses, fingers, tokens = [], [], []
    for joints, frame in zip(seen.position, seen.images["front"], strict=True):
        pixels = parts.as_pixels(parts.center_crop(frame))
        prompt = f"In: What action should the robot take to {seen.task.lower()}?\nOut:"
        ids = list(tokenizer.encode(prompt).ids)
        if ids[-1] != parts.EMPTY:  # line 512
            ids.append(parts.EMPTY)
        for _ in range(TOKENS):
            with torch.no_grad():
                logits = model.whole(pixels, torch.tensor([ids]))
            ids.append(parts.unlike(logits[0, -1]))
        generated = np.array(ids[-TOKENS:])  # line 521
        discretized = np.clip(parts.VOCABULARY - generated - 1, 0, len(centers) - 1)  # 522, 523
        normalized = centers[discretized]
        action = np.where(_MASK, 0.5 * (normalized + 1) * (high - low) + low, normalized)  # 530
        start = hand.hand_pose(dict(zip(seen.joint_names, joints, strict=True)))
        poses.append([hand.row(hand.stepped(start, action[:3], action[3:6]))])
        fingers.append([[hand.OPENED if action[6] > 0.5 else hand.CLOSED]])
        tokens.append(generated)
    return Oracle(
        np.array(fingers), hand.JOINTS[-1:], np.array(poses), hand.FRAME, np.array(tokens)
    )


def export(model: Model) -> None:
    """Write the bundle."""
    folder = begin_bundle("openvla")
    pixels = torch.zeros(1, 3, parts.SIDE, parts.SIDE, dtype=torch.uint8)
    ids = torch.ones(1, 9, dtype=torch.int64)
    kinds = [f"{n}.{part}" for n in range(parts.LAYERS) for part in ("key", "value")]
    present = [f"present.{kind}" for kind in kinds]
    past = [f"past_key_values.{kind}" for kind in kinds]
    grown = {name: {2: "total"} for name in present}
    export_slim(
        Prefill(model),
        {"pixel_values": pixels, "input_ids": ids},
        ["logits", *present],
        folder / "prefill.onnx",
        {"input_ids": {1: "length"}, **grown},
    )
    cached = torch.zeros(1, parts.SIZE.shared, 5, parts.SIZE.head)
    one = {"input_ids": ids[:, :1], "position_ids": torch.full((1, 1), 5)}
    export_slim(
        Decode(model),
        {**one, **dict.fromkeys(past, cached)},
        ["logits", *present],
        folder / "decode.onnx",
        {**{name: {2: "past"} for name in past}, **grown},
    )
    write_tokenizer(llama(), folder / "tokenizer.json")
    write_stats(folder, statistics())
    finish_bundle(folder, _DOCUMENT)


def main() -> None:
    """Write the bundle and the oracle's answers."""
    torch.manual_seed(_SEED)
    model = Model().eval()
    export(model)
    seen = record_hand(RATE, 4, ("front",), TASK)
    stats = {name: value.astype(np.float32).astype(float) for name, value in statistics().items()}
    write_parity("openvla", seen, reference(model, llama(), stats, seen))


if __name__ == "__main__":
    main()
