# SPDX-License-Identifier: Apache-2.0
"""RT-2: a question about an image, answered with eight integers that are a hand's step.

Brohan et al., RT-2 (2023), sections 3.1 and 3.2; there is no public code, so lines are sections.
The variant of PaLI-X, where every integer has a token of its own, with a small decoder. Its graph
keeps no cache: every token is computed from the image and all tokens before it. What goes wrong
without an error, and is in this bundle:

- the prompt is a question, `Q: what action should the robot take to [task]? A:` (3.2);
- only tokens of actions may be chosen (3.2, "Output Constraint");
- the answer is text, `1 128 91 241 5 101 127`: terminate, three of position, three of rotation,
  how far the gripper is closed; a number is an edge, not a centre: 256 bins, uniform (RT-1);
- 1 of the gripper is closed, where OpenVLA's is open.
"""

from __future__ import annotations

import hand
import numpy as np
import torch
from export_common import Oracle, Recording, begin_bundle, finish_bundle, write_parity
from hand_recording import record_hand
from openvla_parts import as_pixels, places, unlike
from PIL import Image
from slim_graph import export_slim
from tokenizers import Tokenizer
from torch import Tensor, nn
from vla_parts import Layer, RmsNorm, Size, VisionTransformer, enlivened
from vla_text import SPACE, unigram, write_tokenizer

RATE, TOKENS = 3.0, 8
TASK = "move the red cube to the bowl"
SIDE = 48
_WIDTH = 16
_SIZE = Size(width=_WIDTH, heads=2, shared=2, head=8, hidden=32)
_SEED = 2
_LOW = np.array([0, -0.05, -0.05, -0.05, -0.2, -0.2, -0.2, 0.0])
_HIGH = np.array([1, 0.05, 0.05, 0.05, 0.2, 0.2, 0.2, 1.0])


def _document(first: int) -> str:
    return f"""
format: policy_package
version: "1.1"
name: rt2
description: RT-2, a question about an image answered with eight integers
robot: fr3
rate: {RATE:g}
graphs: {{step: policy.onnx}}
observations:
  pixel_values:
    kind: sensor/image
    camera: front
    image: {{size: [{SIDE}, {SIDE}], interpolation: bilinear, dtype: uint8}}
  input_ids:
    kind: command/language
    text:
      template: "Q: what action should the robot take to {{task}}? A:"
      tokenizer: tokenizer.json
decoder:
  type: autoregressive
  tokens: {TOKENS}
  allowed: [{first}, {first + 255}]
  detokenize:
    type: text
    tokenizer: tokenizer.json
    value: edges
    low: {_LOW.tolist()}
    high: {_HIGH.tolist()}
    choices: [2, null, null, null, null, null, null, null]
action:
  parts:
    - {{kind: policy/terminate, dim: 1}}
    - {{kind: target/body/position, frame: base, mode: delta, dim: 3}}
    - {{kind: target/body/rotation, frame: base, mode: delta, rotation: euler_xyz, dim: 3}}
    - {{kind: target/gripper/position, names: [fr3_finger_joint1], closed: 1, open: 0}}
"""


class Model(nn.Module):
    """Image tokens, then words: a causal decoder."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vision = VisionTransformer((SIDE, SIDE), 12, _WIDTH)
        self.embedding = nn.Embedding(vocabulary, _WIDTH)
        self.layers = nn.ModuleList(Layer(_SIZE) for _ in range(2))
        self.norm = RmsNorm(_WIDTH, "llama")
        self.head = nn.Linear(_WIDTH, vocabulary, bias=False)
        enlivened(self)

    def forward(self, pixel_values: Tensor, input_ids: Tensor) -> Tensor:
        """Logits of the next token, (1, 1, V)."""
        image = self.vision(pixel_values.to(torch.float32) / 127.5 - 1.0) * 2.0
        x = torch.cat([image, self.embedding(input_ids)], dim=1)
        positions = places(x)
        causal = positions[:, None, :] <= positions[:, :, None]
        for layer in self.layers:
            x, _ = layer(x, positions, causal)
        return self.head(self.norm(x[:, -1:]))


def reference(model: Model, tokenizer: Tokenizer, seen: Recording) -> Oracle:
    """Answer the question, read the integers, step."""
    integers = [tokenizer.token_to_id(f"{SPACE}{n}") for n in range(256)]
    poses, fingers, tokens = [], [], []
    for joints, frame in zip(seen.position, seen.images["front"], strict=True):
        small = Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        pixels = as_pixels(np.asarray(small))
        question = f"Q: what action should the robot take to {seen.task}? A:"
        ids = list(tokenizer.encode(question).ids)
        for _ in range(TOKENS):
            with torch.no_grad():
                logits = model(pixels, torch.tensor([ids]))[0, -1]
            ids.append(integers[unlike(logits[integers])])
        answer = tokenizer.decode(ids[-TOKENS:])
        numbers = np.array([int(word) for word in answer.split()])
        action = _LOW + numbers / 255.0 * (_HIGH - _LOW)
        start = hand.hand_pose(dict(zip(seen.joint_names, joints, strict=True)))
        poses.append([hand.row(hand.stepped(start, action[1:4], action[4:7]))])
        fingers.append([[hand.OPENED + action[7] * (hand.CLOSED - hand.OPENED)]])
        tokens.append(ids[-TOKENS:])
    return Oracle(
        np.array(fingers), hand.JOINTS[-1:], np.array(poses), hand.FRAME, np.array(tokens)
    )


def export(model: Model, tokenizer: Tokenizer) -> None:
    """Write the bundle."""
    folder = begin_bundle("rt2")
    inputs = {
        "pixel_values": torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8),
        "input_ids": torch.ones(1, 9, dtype=torch.int64),
    }
    axes = {"input_ids": {1: "length"}}
    export_slim(model, inputs, ["logits"], folder / "policy.onnx", axes)
    write_tokenizer(tokenizer, folder / "tokenizer.json")
    finish_bundle(folder, _document(tokenizer.token_to_id(f"{SPACE}0")))


def main() -> None:
    """Write the bundle and the oracle's answers."""
    torch.manual_seed(_SEED)
    tokenizer = unigram(integers=256)
    model = Model(tokenizer.get_vocab_size()).eval()
    export(model, tokenizer)
    seen = record_hand(RATE, 4, ("front",), TASK)
    write_parity("rt2", seen, reference(model, tokenizer, seen))


if __name__ == "__main__":
    main()
