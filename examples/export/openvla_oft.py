# SPDX-License-Identifier: Apache-2.0
"""OpenVLA-OFT: two images, a sentence and the hand's pose to a chunk of steps in one pass.

Kim et al., Fine-Tuning Vision-Language-Action Models (2025): parallel decoding, bidirectional
attention, continuous actions learnt with L1. Lines are those of moojink/openvla-oft 213c5ff,
`prismatic/extern/hf/modeling_prismatic.py` unless another file is named. What goes wrong without
an error, and is in this bundle:

- prompt, crop, small letters and token 29871 as in OpenVLA, and after them a place for every
  number of the chunk and a stop token, all within the attention (lines 734 to 755);
- the embeddings of these places, and of the stop token, are zero (line 891);
- the hidden states begin one token before the places (lines 985 and 916);
- what is measured is normalised with quantiles and cut to [-1, 1] (`openvla_utils.py` 669-677);
- 1e-8 is added to the distance of the quantiles (line 787).
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

RATE, ROWS, COLUMNS = 5.0, 8, 7
TASK = "put the Bottle in the box"
_MEASURED = 7
_EPS = 1e-8
_SEED = 7
_MASK = np.array([True] * 6 + [False])

_DOCUMENT = f"""
format: policy_package
version: "1.1"
name: openvla_oft
description: OpenVLA-OFT, two images, a sentence and the hand's pose to eight steps of the hand
robot: fr3
rate: {RATE:g}
graphs: {{step: policy.onnx}}
observations:
  pixel_values:
    kind: sensor/image
    camera: front
    image: &image
      size: [{parts.SIDE}, {parts.SIDE}]
      crop: 0.9
      interpolation: crop_and_resize
      dtype: uint8
  pixel_values_wrist: {{kind: sensor/image, camera: wrist, image: *image}}
  input_ids:
    kind: command/language
    text:
      template: "In: What action should the robot take to {{task}}?\\nOut:"
      tokenizer: tokenizer.json
      lower: true
  proprio:
    terms:
      - {{kind: state/body/pose, frame: tcp, rotation: axis_angle}}
      - {{kind: state/gripper/position, names: [fr3_finger_joint1]}}
    normalize: quantiles
    clip: [-1, 1]
decoder: {{type: direct, output: actions}}
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
chunk: {{size: {ROWS}, execute: {ROWS}, merge: replace, smoothing: 0}}
stats: stats.safetensors
"""


class Head(nn.Module):
    """`L1RegressionActionHead` (`action_heads.py`, lines 38 to 107)."""

    def __init__(self, hidden: int = 24) -> None:
        super().__init__()
        width = parts.WIDTH * COLUMNS
        self.first = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.ReLU())
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.ReLU())
            for _ in range(2)
        )
        self.last = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, COLUMNS))

    def forward(self, states: Tensor) -> Tensor:
        """(B, T A, W) to (B, T, A)."""
        x = self.first(states.reshape(-1, ROWS, parts.WIDTH * COLUMNS))
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)


class Policy(nn.Module):
    """The whole network, with what `predict_action` adds to the prompt."""

    def __init__(self) -> None:
        super().__init__()
        self.vision, self.language, self.head = parts.Backbone(), parts.Llama(), Head()
        self.proprio = nn.Sequential(  # projectors.py, lines 6 to 24
            nn.Linear(_MEASURED, parts.WIDTH), nn.GELU(), nn.Linear(parts.WIDTH, parts.WIDTH)
        )
        enlivened(self)

    def forward(
        self, pixel_values: Tensor, pixel_values_wrist: Tensor, input_ids: Tensor, proprio: Tensor
    ) -> Tensor:
        """Normalised actions (1, T, A)."""
        words = self.language.embedding(input_ids)
        empty = self.language.embedding(torch.full((1, 1), parts.EMPTY))
        places = torch.zeros(1, ROWS * COLUMNS + 1, parts.WIDTH)
        images = [self.vision(pixels) for pixels in (pixel_values, pixel_values_wrist)]
        measured = self.proprio(proprio)[:, None]
        x = torch.cat([words[:, :1], *images, measured, words[:, 1:], empty, places], dim=1)
        positions = parts.places(x)
        everything = positions[:, None, :] >= torch.zeros_like(positions)[:, :, None]
        states, _ = self.language.hidden(x, positions, everything)
        return self.head(states[:, -ROWS * COLUMNS - 2 : -2])


def reference(
    policy: Policy, tokenizer: Tokenizer, stats: dict[str, np.ndarray], seen: Recording
) -> Oracle:
    """`get_vla_action` of `openvla_utils.py`, and `predict_action`."""
    poses, fingers = [], []
    frames = zip(seen.position, seen.images["front"], seen.images["wrist"], strict=True)
    for joints, front, wrist in frames:
        start = hand.hand_pose(dict(zip(seen.joint_names, joints, strict=True)))
        opened = (joints[-1] - hand.CLOSED) / (hand.OPENED - hand.CLOSED)
        proprio = np.concatenate([start[0], hand.rotation_vector(start[1]), [opened]])
        low, high = stats["proprio.q01"], stats["proprio.q99"]
        proprio = np.clip(2 * (proprio - low) / (high - low + _EPS) - 1, -1.0, 1.0)  # 669-677
        prompt = f"In: What action should the robot take to {seen.task.lower()}?\nOut:"
        ids = tokenizer.encode(prompt).ids
        ids = ids if ids[-1] == parts.EMPTY else [*ids, parts.EMPTY]  # line 972
        images = [parts.as_pixels(parts.center_crop(frame)) for frame in (front, wrist)]
        with torch.no_grad():
            rows = _predicted(policy, ids, images, torch.tensor(proprio[None]).float())
        low, high = stats["action.q01"], stats["action.q99"]
        actions = np.where(_MASK, 0.5 * (rows + 1) * (high - low + _EPS) + low, rows)  # line 785
        made = [start]
        for action in actions:
            made.append(hand.stepped(made[-1], action[:3], action[3:6]))
        poses.append([hand.row(pose) for pose in made[1:]])
        fingers.append(np.where(actions[:, 6:] > 0.5, hand.OPENED, hand.CLOSED))
    return Oracle(np.array(fingers), hand.JOINTS[-1:], np.array(poses), hand.FRAME)


def _predicted(
    policy: Policy, ids: list[int], images: list[Tensor], proprio: Tensor
) -> np.ndarray:
    """Lines 980 to 1053 and 889 to 925, step by step as they are written."""
    prompt_tokens = len(ids) - 1  # line 985
    ids = [*ids, *[1] * (ROWS * COLUMNS), parts.STOP]  # lines 737 to 744
    mask = torch.arange(len(ids))[None] > prompt_tokens
    embeddings = policy.language.embedding(torch.tensor([ids]))
    patches = torch.cat([policy.vision(image) for image in images], dim=1)
    patches = torch.cat([patches, policy.proprio(proprio)[:, None]], dim=1)  # line 458
    embeddings = embeddings * ~mask[:, :, None]  # line 891
    x = torch.cat([embeddings[:, :1], patches, embeddings[:, 1:]], dim=1)  # line 475
    everything = torch.ones(1, x.shape[1], x.shape[1], dtype=torch.bool)
    states, _ = policy.language.hidden(x, torch.arange(x.shape[1])[None], everything)
    begin = patches.shape[1] + prompt_tokens
    rows = policy.head(states[:, begin : begin + ROWS * COLUMNS])  # lines 914 to 918
    return rows.reshape(ROWS, COLUMNS).double().numpy()


def statistics() -> dict[str, np.ndarray]:
    """Of a data set whose steps are small; the hand is further away than most of it."""
    return {
        "action.q01": np.array([-0.006, -0.005, -0.006, -0.015, -0.014, -0.02, 0.0]),
        "action.q99": np.array([0.006, 0.006, 0.005, 0.016, 0.015, 0.018, 1.0]),
        "action.eps": np.array(_EPS),
        "proprio.q01": np.array([0.10, -0.15, 0.30, -3.3, -0.4, -0.5, 0.0]),
        "proprio.q99": np.array([0.32, 0.15, 0.60, 3.3, 0.5, 0.4, 1.0]),
        "proprio.eps": np.array(_EPS),
    }


def export(policy: Policy) -> None:
    """Write the bundle."""
    folder = begin_bundle("openvla_oft")
    pixels = torch.zeros(1, 3, parts.SIDE, parts.SIDE, dtype=torch.uint8)
    inputs = {
        "pixel_values": pixels,
        "pixel_values_wrist": pixels,
        "input_ids": torch.ones(1, 9, dtype=torch.int64),
        "proprio": torch.zeros(1, _MEASURED),
    }
    axes = {"input_ids": {1: "length"}}
    export_slim(policy, inputs, ["actions"], folder / "policy.onnx", axes)
    write_tokenizer(llama(), folder / "tokenizer.json")
    write_stats(folder, statistics())
    finish_bundle(folder, _DOCUMENT)


def main() -> None:
    """Write the bundle and the oracle's answers."""
    torch.manual_seed(_SEED)
    policy = Policy().eval()
    export(policy)
    seen = record_hand(RATE, 4, ("front", "wrist"), TASK)
    stats = {name: value.astype(np.float32).astype(float) for name, value in statistics().items()}
    write_parity("openvla_oft", seen, reference(policy, llama(), stats, seen))


if __name__ == "__main__":
    main()
