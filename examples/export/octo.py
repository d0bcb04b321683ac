# SPDX-License-Identifier: Apache-2.0
"""Octo: a block-wise causal transformer over task, two moments of two cameras, and readouts.

Source: octo-models/octo at 241fb35 (`octo/model/octo_module.py`, `components/tokenizers.py`,
`components/action_heads.py`, `components/diffusion.py`, `utils/gym_wrappers.py`), smaller: T5-like
language encoder, `SmallStem` convolutions to patches, learned positions per moment, tokens that
see the task and what came before them, readouts that nobody sees, and the MLP-ResNet that denoises
a chunk of four actions. What is easily missed:

- images are uint8, resized by Lanczos, and scaled to [-1, 1] inside;
- the first observation is repeated, and `timestep_pad_mask` hides the repetition; a mask per
  camera hides a camera that is not there; `attention_mask` hides the padding of the text;
- of two windows of (4 x 7) denoised values the last is the action;
- 20 steps of DDPM with the cosine schedule, whose SAMPLE is clipped to 5, not the clean
  prediction;
- mean and deviation un-normalise everything but the gripper (`mask`), which is 1 when open;
- chunks are ensembled with equal weights (`TemporalEnsembleWrapper(exp_weight=0)`).

The encoder is random and the head learns random actions for its readouts, since an untrained one
only drives every value to the clip: this export shows that the path is right, not that the policy
is good.
"""

from __future__ import annotations

from pathlib import Path

import hand
import numpy as np
import torch
from export_common import (
    FloatArray,
    Oracle,
    Recording,
    begin_bundle,
    finish_bundle,
    write_parity,
)
from fitting import fitted
from octo_network import COLUMNS, HISTORY, ROWS, SIZES, TEXT, WIDTH, DiffusionHead, Transformer
from PIL import Image
from slim_graph import export_slim
from small_frames import record_small
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from torch.nn import functional

_RATE, _STEPS = 5.0, 20
_FINGER = hand.JOINTS[-1]
_TASK = "put the carrot on the plate"
_VOCABULARY = ("<pad>", "</s>", "<unk>", *sorted({*_TASK.split(), "spoon", "pot", "in", "move"}))
_MEAN = (2.3e-4, 1.3e-4, -1.3e-4, -1.5e-4, -3.9e-4, 2.4e-4, 0.58)
_STD = (0.0098, 0.0137, 0.0127, 0.0285, 0.0307, 0.0770, 0.49)

_DOCUMENT = f"""
format: policy_package
version: "1.1"
name: octo
description: Octo, weights are random
robot: fr3
rate: {_RATE:g}
graphs: {{encode: transformer.onnx, step: diffusion_head.onnx}}
observations:
  image_primary:
    kind: sensor/image
    camera: front
    image: {{size: [64, 64], interpolation: lanczos, layout: hwc, dtype: uint8}}
    history: {{steps: {HISTORY}, mask: timestep_pad_mask}}
  image_wrist:
    kind: sensor/image
    camera: wrist
    image: {{size: [32, 32], interpolation: lanczos, layout: hwc, dtype: uint8, optional: true,
            mask: image_wrist_mask}}
    history: {HISTORY}
  input_ids:
    kind: command/language
    text: {{template: "{{task}}", tokenizer: tokenizer.json, max_length: {TEXT},
           mask: attention_mask}}
decoder: {{type: diffusion, scheduler: ddpm, steps: {_STEPS}, num_train_timesteps: {_STEPS},
          clip_sample: 5.0, clip_on: sample, variance: fixed_large,
          shape: [{HISTORY}, {ROWS * COLUMNS}], index: -1,
          sample: noisy_actions, timestep: time, output: eps}}
action:
  normalize: mean_std
  unnormalize_mask: [true, true, true, true, true, true, false]
  parts:
    - {{kind: target/body/position, frame: base, mode: delta}}
    - {{kind: target/body/rotation, frame: base, mode: delta, rotation: euler_xyz}}
    - {{kind: target/gripper/position, names: [{_FINGER}], closed: 0, open: 1}}
chunk: {{size: {ROWS}, execute: 1, ensemble: 0.0}}
stats: {{action: {{mean: {list(_MEAN)}, std: {list(_STD)}}}}}
"""


def cosine_betas() -> FloatArray:
    """`diffusion.py::cosine_beta_schedule`."""
    portion = np.linspace(0, _STEPS, _STEPS + 1) / _STEPS
    product = np.cos((portion + 0.008) / 1.008 * np.pi * 0.5) ** 2
    product = product / product[0]
    return np.clip(1.0 - product[1:] / product[:-1], 0, 0.999)


def train(head: DiffusionHead) -> None:
    """Noise prediction for actions that depend on the readout, with the loss of Octo's head."""
    hats = torch.as_tensor(np.cumprod(1.0 - cosine_betas()), dtype=torch.float32)
    actions = nn.Linear(WIDTH, ROWS * COLUMNS)

    def loss(chosen: Tensor) -> Tensor:
        readout = torch.randn(len(chosen), HISTORY, WIDTH)
        wanted = actions(readout).detach()
        time = torch.randint(0, _STEPS, (len(chosen), 1, 1)).expand(len(chosen), HISTORY, 1)
        noise, share = torch.randn_like(wanted), hats[time]
        eps = head(share.sqrt() * wanted + (1.0 - share).sqrt() * noise, time, readout)
        return functional.mse_loss(eps, noise)

    fitted(head, loss, 10_000, 4000)


def denoised(head: DiffusionHead, readout: Tensor, generator: np.random.Generator) -> FloatArray:
    """`DiffusionActionHead.predict_action`: the last window's (4, 7).

    Noise is NumPy's, standard normal in float32: the sample, then what each step but the last
    adds.
    """
    betas = cosine_betas().astype(np.float32)
    alphas = 1 - betas
    hats = np.cumprod(alphas)

    def draw() -> Tensor:
        shape = (1, HISTORY, ROWS * COLUMNS)
        return torch.as_tensor(generator.standard_normal(shape, dtype=np.float32))

    sample = draw()
    for time in reversed(range(_STEPS)):
        eps = head(sample, torch.full((1, HISTORY, 1), time), readout)
        share = (1 - alphas[time]) / np.sqrt(1 - hats[time])
        sample = (sample - float(share) * eps) / float(np.sqrt(alphas[time]))
        if time > 0:
            sample = sample + float(np.sqrt(betas[time])) * draw()
        sample = sample.clip(-5.0, 5.0)
    return sample[0, -1].view(ROWS, COLUMNS).double().numpy()


def reference(encoder: Transformer, head: DiffusionHead, seen: Recording) -> Oracle:
    """`sample_actions` behind `HistoryWrapper`, and its steps on the FR3's hand."""
    generator = np.random.default_rng(0)
    ids = [_VOCABULARY.index(word) for word in seen.task.split()] + [1]
    words = torch.tensor([ids + [0] * (TEXT - len(ids))])
    read = (words != 0).long()
    mean, std = np.array(_MEAN), np.array(_STD)
    poses: list[list[FloatArray]] = []
    fingers: list[FloatArray] = []
    for now, position in enumerate(seen.position):
        shown = [max(now - 1, 0), now]
        images = [
            torch.as_tensor(np.stack([_resized(seen.images[camera][k], size) for k in shown]))[
                None
            ]
            for camera, size in zip(("front", "wrist"), SIZES.values(), strict=True)
        ]
        padding = torch.tensor([[0.0 if now == 0 else 1.0, 1.0]])
        with torch.no_grad():
            readout = encoder(*images, torch.ones(1, HISTORY), padding, words, read)
            actions = denoised(head, readout, generator)
        actions[:, :6] = actions[:, :6] * std[:6] + mean[:6]
        pose = hand.hand_pose(dict(zip(seen.joint_names, position, strict=True)))
        rows: list[FloatArray] = []
        for action in actions:
            pose = hand.stepped(pose, action[:3], action[3:6])
            rows.append(hand.row(pose))
        poses.append(rows)
        fingers.append(actions[:, 6:].clip(0.0, 1.0) * hand.OPENED)
    return Oracle(np.stack(fingers), (_FINGER,), np.array(poses), hand.FRAME)


def _resized(frame: FloatArray, size: int) -> FloatArray:
    """`tf.image.resize(method="lanczos3", antialias=True)`, as Pillow rounds it."""
    return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.LANCZOS))


def write_tokenizer(path: Path) -> None:
    """Whole words, padding 0 and `</s>` 1 at the end, as T5's."""
    words = {word: number for number, word in enumerate(_VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.save(str(path))


def main() -> None:
    """Write the bundle and the oracle's answers."""
    torch.manual_seed(0)
    encoder, head = Transformer(len(_VOCABULARY)).eval(), DiffusionHead().eval()
    train(head)
    head.eval()
    folder = begin_bundle("octo")
    inputs = {
        "image_primary": torch.randint(0, 256, (1, 2, 64, 64, 3), dtype=torch.uint8),
        "image_wrist": torch.randint(0, 256, (1, 2, 32, 32, 3), dtype=torch.uint8),
        "image_wrist_mask": torch.ones(1, HISTORY),
        "timestep_pad_mask": torch.ones(1, HISTORY),
        "input_ids": torch.zeros(1, TEXT, dtype=torch.int64),
        "attention_mask": torch.ones(1, TEXT, dtype=torch.int64),
    }
    export_slim(encoder, inputs, ["readout"], folder / "transformer.onnx")
    inputs = {
        "noisy_actions": torch.randn(1, HISTORY, ROWS * COLUMNS),
        "time": torch.full((1, HISTORY, 1), 7.0),
        "readout": torch.randn(1, HISTORY, WIDTH),
    }
    export_slim(head, inputs, ["eps"], folder / "diffusion_head.onnx")
    write_tokenizer(folder / "tokenizer.json")
    finish_bundle(folder, _DOCUMENT)
    seen = record_small(_RATE, ("front", "wrist"), _TASK)
    write_parity("octo", seen, reference(encoder, head, seen))


if __name__ == "__main__":
    main()
