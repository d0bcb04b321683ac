# SPDX-License-Identifier: Apache-2.0
"""pi0: images, a sentence and joints to a chunk of fifty targets, by flow matching.

Black et al., pi0 (2024). Lines are those of Physical-Intelligence/openpi 15a9616,
`src/openpi/models/pi0.py` unless another file is named. What goes wrong without an error, and is
in this bundle:

- images are padded on both sides (`packages/openpi-client/.../image_tools.py` 38), and averaged;
- an image that is missing is black, -1, and masked (`policies/droid_policy.py` 50);
- the prompt ends with a line break and is padded; padding is masked (`tokenizer.py` 33);
- 1e-6 is added to the deviations, in both directions (`transforms.py` 139, 172);
- the state is a token of the expert and sees no action (lines 151 to 157);
- time runs from 1, noise, to 0 (226), and a chunk is of 32 columns, of which the arm has six;
- targets are relative to the joints at inference time, but the gripper's (`transforms.py` 241),
  whose 0 is open (`docs/norm_stats.md` 66).
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
from torch.nn import functional
from vla_text import unigram, write_tokenizer

WORDS = 48
TASK = "pick_up the red cube"
_SEED = 0

_DOCUMENT = f"""
format: policy_package
version: "1.1"
name: pi0
description: pi0, images, a sentence and joints to fifty joint targets
robot: so101
rate: {parts.RATE:g}
graphs: {{encode: prefix.onnx, step: expert.onnx}}
observations:
{parts.OBSERVED}  lang_tokens:
    kind: command/language
    text:
      template: "{{task}}\\n"
      tokenizer: tokenizer.json
      max_length: {WORDS}
      mask: lang_masks
      clean: true
  state:
    terms:
      - {{kind: state/joint/position, names: [{", ".join(parts.ARM)}]}}
      - {{kind: state/gripper/position, names: [gripper], closed: 1, open: 0}}
    normalize: mean_std
    pad: {parts.PADDED}
decoder: {{type: flow, steps: {parts.STEPS}, shape: [{parts.ROWS}, {parts.PADDED}]}}
action:
  normalize: mean_std
  parts:
    - {{kind: target/joint/position, names: [{", ".join(parts.ARM)}], mode: relative}}
    - {{kind: target/gripper/position, names: [gripper], closed: 1, open: 0}}
chunk: {{size: {parts.ROWS}, execute: 10, smoothing: 0}}
stats: stats.safetensors
"""


def statistics() -> dict[str, np.ndarray]:
    """Of a data set of the simulated arm."""
    return {
        "state.mean": np.array([0.1, -1.0, 0.7, 1.2, 1.7, 0.4]),
        "state.std": np.array([0.4, 0.3, 0.3, 0.2, 0.2, 0.3]),
        "state.eps": np.array(parts.EPS),
        "action.mean": np.array([0.0, 0.01, -0.01, 0.0, 0.0, 0.45]),
        "action.std": np.array([0.05, 0.05, 0.04, 0.04, 0.05, 0.1]),
        "action.eps": np.array(parts.EPS),
    }


def reference(
    policy: parts.Pi, tokenizer: Tokenizer, stats: dict[str, np.ndarray], seen: Recording
) -> Oracle:
    """`Policy.infer`: raw, normalised, sampled, un-normalised, absolute."""
    noises = np.random.default_rng(0)
    answers: list[np.ndarray] = []
    cleaned = seen.task.strip().replace("_", " ").replace("\n", " ")  # tokenizer.py, line 23
    ids = [*tokenizer.encode(cleaned).ids, tokenizer.token_to_id("\n")]  # line 33
    words = torch.tensor([ids + [0] * (WORDS - len(ids))])
    mask = torch.tensor([[True] * len(ids) + [False] * (WORDS - len(ids))])
    for index, joints in enumerate(seen.position):
        state = parts.measured_state(joints)
        normalized = (state - stats["state.mean"]) / (stats["state.std"] + parts.EPS)
        padded = functional.pad(torch.tensor(normalized[None]).float(), (0, parts.PADDED - 6))
        images, masks = parts.images_of(seen, index)
        with torch.no_grad():
            prefix = policy.prefix.tokens(images, masks, words, mask)
        noise = noises.standard_normal((1, parts.ROWS, parts.PADDED), dtype=np.float32)
        rows = parts.sampled(policy, prefix, padded, noise)[:, :6]
        actions = rows * (stats["action.std"] + parts.EPS) + stats["action.mean"]
        answers.append(parts.absolute(actions, joints))
    return Oracle(np.stack(answers), SO101_JOINTS)


def main() -> None:
    """Write the bundle and the oracle's answers."""
    torch.manual_seed(_SEED)
    tokenizer = unigram("<bos>")
    policy = parts.Pi(tokenizer.get_vocab_size(), adaptive=False).eval()
    folder = parts.export("pi0", policy, WORDS)
    write_tokenizer(tokenizer, folder / "tokenizer.json")
    write_stats(folder, statistics())
    finish_bundle(folder, _DOCUMENT)
    seen = record(parts.RATE, steps=4, cameras={"front": (96, 96), "wrist": (96, 96)})
    seen = replace(seen, task=TASK)
    stats = {name: value.astype(np.float32).astype(float) for name, value in statistics().items()}
    write_parity("pi0", seen, reference(policy, tokenizer, stats, seen))


if __name__ == "__main__":
    main()
