# SPDX-License-Identifier: Apache-2.0
"""NoMaD on an arm: stacked images and a goal image that may be masked, diffused joint steps.

Source: robodhruv/visualnav-transformer at dca7981 (`train/vint_train/models/nomad/nomad_vint.py`,
`deployment/src/navigate.py`), smaller, with joints in the place of waypoints. What is easily
missed:

- the context (3 images and the present) lies on the channel axis and is taken apart again: one
  token per image, and one from the present and the goal together;
- `input_goal_mask` is 1 to HIDE the goal; then that token takes no part in attention, and the
  tokens are averaged with the weights of `avg_pool_mask`;
- actions are normalised differences: un-normalised with minimum and maximum (`[-1, 1]`), then
  summed up (`get_action`), here from the measured joints;
- FiLM only shifts (`cond_predict_scale=False`), 10 steps of DDPM, 8 samples of which the first is
  driven (`navigate.py` shows all).

The encoder is random and the U-Net learns random steps for its conditions, since an untrained one
only drives every value to the clip: this export shows that the path is right, not that the policy
is good.
"""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import numpy as np
import torch
from attention import PreNormLayer, sinusoid_table
from diffusers.schedulers import scheduling_ddpm
from export_common import (
    SO101_JOINTS,
    FloatArray,
    Oracle,
    Recording,
    begin_bundle,
    finish_bundle,
    record,
    write_parity,
)
from fitting import fitted
from slim_graph import export_slim
from torch import Tensor, nn
from torch.nn import functional
from unet1d import ConditionalUnet1d

_JOINTS, _IMAGE, _RATE = len(SO101_JOINTS), 96, 4.0
_CONTEXT, _ROWS, _SAMPLES, _STEPS = 3, 8, 8, 10
_WIDTH = 32
_LOW, _HIGH = (-0.06, -0.05, -0.05, -0.06, -0.1, -0.12), (0.06, 0.05, 0.07, 0.06, 0.1, 0.12)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_DOCUMENT = f"""
format: policy_package
version: "1.1"
name: nomad
description: NoMaD with joint steps for waypoints, weights are random
robot: so101
rate: {_RATE:g}
graphs: {{encode: vision_encoder.onnx, step: noise_pred_net.onnx}}
observations:
  obs_img:
    kind: sensor/image
    camera: front
    image: {{size: [{_IMAGE}, {_IMAGE}], mean: {list(_MEAN)}, std: {list(_STD)}}}
    history: {{steps: {_CONTEXT + 1}, axis: channel}}
  goal_img:
    kind: command/image
    image: {{size: [{_IMAGE}, {_IMAGE}], mean: {list(_MEAN)}, std: {list(_STD)}, optional: true,
            mask: input_goal_mask, mask_missing: 1}}
decoder: {{type: diffusion, scheduler: ddpm, steps: {_STEPS}, num_train_timesteps: {_STEPS},
          samples: {_SAMPLES}}}
action:
  normalize: min_max
  parts:
    - {{kind: target/joint/position, names: [{", ".join(SO101_JOINTS)}], mode: delta}}
chunk: {{size: {_ROWS}, execute: 1}}
stats: {{action: {{min: {list(_LOW)}, max: {list(_HIGH)}}}}}
"""


class Features(nn.Module):
    """In the place of EfficientNet-B0: depthwise separable convolutions, swish, average."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 8, 3, 2, 1)
        self.wide, self.deep = nn.Conv2d(8, 24, 1), nn.Conv2d(24, 24, 5, 2, 2, groups=24)
        self.narrow, self.norm = nn.Conv2d(24, 16, 1), nn.GroupNorm(4, 16)
        self.out = nn.Linear(16, _WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, D)."""
        maps = nn.functional.silu(self.stem(images))
        maps = nn.functional.silu(self.deep(nn.functional.silu(self.wide(maps))))
        return self.out(nn.functional.silu(self.norm(self.narrow(maps))).mean((2, 3)))


class VisionEncoder(nn.Module):
    """`NoMaD_ViNT`."""

    def __init__(self) -> None:
        super().__init__()
        self.obs, self.goal = Features(3), Features(6)
        self.register_buffer("places", sinusoid_table(_CONTEXT + 2, _WIDTH))
        self.layers = nn.ModuleList(PreNormLayer(_WIDTH, 4, _WIDTH) for _ in range(2))

    def forward(self, obs_img: Tensor, goal_img: Tensor, input_goal_mask: Tensor) -> Tensor:
        """Map (1, 12, H, W), (1, 3, H, W) and (1,) to the condition (1, D)."""
        goal = self.goal(torch.cat([obs_img[:, 3 * _CONTEXT :], goal_img], dim=1))
        seen = self.obs(torch.cat(obs_img.split(3, dim=1), dim=0))
        tokens = torch.cat([seen, goal])[None] + self.places
        shown = 1.0 - input_goal_mask.float().view(1, 1)
        kept = torch.cat([torch.ones(1, _CONTEXT + 1), shown], dim=1)
        for layer in self.layers:
            tokens = layer(tokens, (kept > 0.5)[:, None, None, :])
        return (tokens * kept[..., None]).sum(1) / kept.sum(1, keepdim=True)


class NoisePredictor(nn.Module):
    """The U-Net on all samples of one condition (`obs_cond.repeat_interleave`)."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = ConditionalUnet1d(_JOINTS, _WIDTH, 16, (8, 16), scaled=False)

    def forward(self, sample: Tensor, timestep: Tensor, global_cond: Tensor) -> Tensor:
        """Map (8, 8, 6), (1,) and (1, D) to (8, 8, 6)."""
        condition = global_cond.expand(_SAMPLES, _WIDTH)
        return self.unet(sample, timestep.expand(_SAMPLES), condition)


def pixels(frames: FloatArray) -> Tensor:
    """Frames (B, 96, 96, 3) uint8 as `transform_images` makes them; no resize is needed here."""
    images = torch.as_tensor(frames).permute(0, 3, 1, 2).float() / 255.0
    mean, std = torch.tensor(_MEAN).view(3, 1, 1), torch.tensor(_STD).view(3, 1, 1)
    return (images - mean) / std


def train(predictor: NoisePredictor) -> None:
    """Noise prediction for steps that depend on the condition."""
    noising = scheduling_ddpm.DDPMScheduler(_STEPS, beta_schedule="squaredcos_cap_v2")
    steps = nn.Linear(_WIDTH, _ROWS * _JOINTS)

    def loss(chosen: Tensor) -> Tensor:
        condition = torch.randn(len(chosen), _WIDTH)
        wanted = steps(condition).detach().tanh().view(-1, _ROWS, _JOINTS)
        time, noise = torch.randint(0, _STEPS, (len(chosen),)), torch.randn_like(wanted)
        noisy = noising.add_noise(wanted, noise, time)
        return functional.mse_loss(predictor.unet(noisy, time, condition), noise)

    fitted(predictor, loss, 10_000, 600)


def reference(encoder: VisionEncoder, predictor: NoisePredictor, seen: Recording) -> Oracle:
    """`navigate.py`, with joints for waypoints: (N, T, 6) joint targets [rad].

    Noise is NumPy's `default_rng(0)`, float32: the sample, then what every step but the last adds.
    """
    generator = np.random.default_rng(0)

    def draw(*_: object, **__: object) -> Tensor:
        return torch.as_tensor(generator.standard_normal((8, _ROWS, _JOINTS), dtype=np.float32))

    images, goals = pixels(seen.images["front"]), pixels(seen.images["goal"])
    low, high = np.array(_LOW), np.array(_HIGH)
    answers: list[FloatArray] = []
    for now, position in enumerate(seen.position):
        shown = [max(now - back, 0) for back in range(_CONTEXT, -1, -1)]
        denoising = scheduling_ddpm.DDPMScheduler(
            _STEPS, beta_schedule="squaredcos_cap_v2", clip_sample=True
        )
        denoising.set_timesteps(_STEPS)
        sample = draw()
        with torch.no_grad(), mock.patch.object(scheduling_ddpm, "randn_tensor", draw):
            stacked = torch.cat([images[k] for k in shown])[None]
            condition = encoder(stacked, goals[now : now + 1], torch.zeros(1))
            for timestep in denoising.timesteps:
                noise = predictor(sample, timestep[None], condition)
                sample = denoising.step(noise, timestep, sample).prev_sample
        steps = (sample[0].double().numpy() + 1.0) / 2.0 * (high - low) + low
        answers.append(position + np.cumsum(steps, axis=0))
    return Oracle(np.stack(answers), SO101_JOINTS)


def main() -> None:
    """Write the bundle and the oracle's answers."""
    torch.manual_seed(0)
    encoder, predictor = VisionEncoder().eval(), NoisePredictor().eval()
    train(predictor)
    predictor.eval()
    folder = begin_bundle("nomad")
    inputs = {
        "obs_img": torch.rand(1, 3 * (_CONTEXT + 1), _IMAGE, _IMAGE),
        "goal_img": torch.rand(1, 3, _IMAGE, _IMAGE),
        "input_goal_mask": torch.zeros(1),
    }
    export_slim(encoder, inputs, ["global_cond"], folder / "vision_encoder.onnx")
    inputs = {
        "sample": torch.randn(_SAMPLES, _ROWS, _JOINTS),
        "timestep": torch.tensor([7]),
        "global_cond": torch.randn(1, _WIDTH),
    }
    export_slim(predictor, inputs, ["noise_pred"], folder / "noise_pred_net.onnx")
    finish_bundle(folder, _DOCUMENT)
    size = (_IMAGE, _IMAGE)
    seen = record(_RATE, cameras={"front": size, "goal": size})
    # One goal for all observations.
    goal = np.repeat(seen.images["goal"][:1], len(seen.position), axis=0)
    seen = replace(seen, images={**seen.images, "goal": goal})
    write_parity("nomad", seen, reference(encoder, predictor, seen))


if __name__ == "__main__":
    main()
