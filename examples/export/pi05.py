# SPDX-License-Identifier: Apache-2.0
"""pi0.5: images and a sentence that tells the joints to fifty targets, by flow matching.

Physical Intelligence, pi0.5 (2025), without its subtasks. Lines are those of
Physical-Intelligence/openpi 15a9616, `src/openpi/models/pi0.py` unless another file is named.
Images, time and targets are as in pi0. What else goes wrong without an error, and is here:

- quantiles are -1 and 1, and 1e-6 is added to their distance (`transforms.py` 145, 181);
- the state is in the prompt, as bins of the normalised numbers: 256 in [-1, 1], -1 below them
  (`tokenizer.py` 26 to 28), and no input of the network;
- the prompt ends with a blank (`tokenizer.py` 28);
- the expert's norms follow the time (`gemma.py` 128), here one time per row: that is what fixed
  rows of real-time chunking need, which have time 0 (LeRobot `flow_matching.py`, line 111).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pi_parts as parts
import torch
from export_common import (
    SO101_JOINTS,
    Oracle,
    Recording,
    finish_bundle,
    record,
    write_parity,
    write_stats,
)
from tokenizers import Tokenizer
from vla_text import unigram, write_tokenizer

WORDS = 200
TASK = "pick_up the red cube"
_SEED = 0

_DOCUMENT = f"""
format: policy_package
version: "1.1"
name: pi05
description: pi0.5, images and a sentence that tells the joints to fifty joint targets
robot: so101
rate: {parts.RATE:g}
graphs: {{encode: prefix.onnx, step: expert.onnx}}
observations:
{parts.OBSERVED}  lang_tokens:
    kind: command/language
    text:
      template: "Task: {{task}}, State: {{state:bins256}};\\nAction: "
      tokenizer: tokenizer.json
      max_length: {WORDS}
      mask: lang_masks
      clean: true
  state:
    terms:
      - {{kind: state/joint/position, names: [{", ".join(parts.ARM)}]}}
      - {{kind: state/gripper/position, names: [gripper], closed: 1, open: 0}}
    normalize: quantiles
decoder: {{type: flow, steps: {parts.STEPS}, shape: [{parts.ROWS}, {parts.PADDED}]}}
action:
  normalize: quantiles
  parts:
    - {{kind: target/joint/position, names: [{", ".join(parts.ARM)}], mode: relative}}
    - {{kind: target/gripper/position, names: [gripper], closed: 1, open: 0}}
chunk: {{size: {parts.ROWS}, execute: 10, smoothing: 0, rtc: {{mode: trained, max_delay: 10}}}}
stats: stats.safetensors
"""


def statistics() -> dict[str, np.ndarray]:
    """Of a data set of the simulated arm."""
    return {
        "state.q01": np.array([-0.6, -1.6, 0.2, 1.0, 1.2, 0.0]),
        "state.q99": np.array([0.7, -0.7, 1.2, 1.6, 2.1, 0.8]),
        "state.eps": np.array(parts.EPS),
        "action.q01": np.array([-0.1, -0.08, -0.09, -0.07, -0.1, 0.3]),
        "action.q99": np.array([0.1, 0.09, 0.08, 0.08, 0.11, 0.6]),
        "action.eps": np.array(parts.EPS),
    }


def reference(
    policy: parts.Pi, tokenizer: Tokenizer, stats: dict[str, np.ndarray], seen: Recording
) -> Oracle:
    """`Policy.infer`: raw, normalised, sampled, un-normalised, absolute."""
    noises = np.random.default_rng(0)
    answers: list[np.ndarray] = []
    cleaned = seen.task.strip().replace("_", " ").replace("\n", " ")  # tokenizer.py, line 23
    for index, joints in enumerate(seen.position):
        low, high = stats["state.q01"], stats["state.q99"]
        state = (parts.measured_state(joints) - low) / (high - low + parts.EPS) * 2.0 - 1.0
        discretized = np.digitize(state, bins=np.linspace(-1, 1, 256 + 1)[:-1]) - 1  # 26
        prompt = f"Task: {cleaned}, State: {' '.join(map(str, discretized))};\nAction: "  # 28
        ids = tokenizer.encode(prompt).ids
        words = torch.tensor([ids + [0] * (WORDS - len(ids))])
        mask = torch.tensor([[True] * len(ids) + [False] * (WORDS - len(ids))])
        images, masks = parts.images_of(seen, index)
        with torch.no_grad():
            prefix = policy.prefix.tokens(images, masks, words, mask)
        noise = noises.standard_normal((1, parts.ROWS, parts.PADDED), dtype=np.float32)
        rows = parts.sampled(policy, prefix, None, noise)[:, :6]
        low, high = stats["action.q01"], stats["action.q99"]
        actions = (rows + 1.0) / 2.0 * (high - low + parts.EPS) + low  # transforms.py, line 181
        answers.append(parts.absolute(actions, joints))
    return Oracle(np.stack(answers), SO101_JOINTS)


def main() -> None:
    """Write the bundle and the oracle's answers."""
    torch.manual_seed(_SEED)
    tokenizer = unigram("<bos>")
    policy = parts.Pi(tokenizer.get_vocab_size(), adaptive=True).eval()
    folder = parts.export("pi05", policy, WORDS)
    write_tokenizer(tokenizer, folder / "tokenizer.json")
    write_stats(folder, statistics())
    finish_bundle(folder, _DOCUMENT)
    seen = record(parts.RATE, steps=4, cameras={"front": (96, 96), "wrist": (96, 96)})
    seen = replace(seen, task=TASK)
    stats = {name: value.astype(np.float32).astype(float) for name, value in statistics().items()}
    write_parity("pi05", seen, reference(policy, tokenizer, stats, seen))


if __name__ == "__main__":
    main()
