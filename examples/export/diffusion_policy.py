# SPDX-License-Identifier: Apache-2.0
"""Diffusion Policy: two steps of images and joints, a 1-D U-Net with FiLM, DDIM.

Source: real-stanford/diffusion_policy at 5ba07ac (`diffusion_unet_image_policy.py`,
`train_diffusion_unet_real_image_workspace.yaml`), smaller: a ResNet stem with group norms and a
spatial softmax per camera (robomimic's `VisualCore`), both observations side by side as
`global_cond`, noise from diffusers' own `DDIMScheduler`. What is easily missed:

- `start` is n_obs_steps - 1: row 0 belongs to the older observation and is not played;
- images are resized, then cut from the centre (training cuts at random), then [-1, 1];
- states and actions are scaled from their minimum and maximum to [-1, 1], where predictions of the
  clean sample are clipped.

Trained on the reach task to predict the noise of 100 timesteps, run with 10. Nothing in the image
says where the goal is, so its encoder stays as initialised, and the U-Net learns to look away. The
original plays 8 rows of a chunk; here 2, as the supervisor stops a policy that does not infer for
half a second. Targets are relative to the measured joints (UMI), scaled row by row: the first
hardly leave them.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from export_common import (
    SO101_JOINTS,
    FloatArray,
    Oracle,
    Recording,
    begin_bundle,
    finish_bundle,
    single,
    write_parity,
    write_stats,
)
from fitting import fitted
from reach_demonstrations import RATE, ROWS, Demonstrations, demonstrations, observed
from slim_graph import export_slim
from torch import Tensor, nn
from torch.nn import functional
from unet1d import ConditionalUnet1d

_JOINTS, _OBS, _IMAGE, _CROP = len(SO101_JOINTS), len(SO101_JOINTS) + 3, 96, 84
_STEPS, _TRAIN_STEPS, _HISTORY = 10, 100, 2
_KEYPOINTS, _FEATURES, _GRID = 8, 12, 11
_MARGIN = 0.005  # [rad]; joints that stand still have a range, too
_CONDITION = _HISTORY * (_FEATURES + _OBS)

_DOCUMENT = f"""
format: policy_package
version: "1.1"
name: diffusion_policy
description: Diffusion Policy, trained to reach a place with the simulated arm
robot: so101
rate: {RATE:g}
graphs: {{encode: obs_encoder.onnx, step: unet.onnx}}
observations:
  observation.state:
    terms:
      - {{kind: state/joint/position, names: [{", ".join(SO101_JOINTS)}]}}
      - {{kind: command/body/position, frame: base_link}}
    normalize: min_max
    history: {_HISTORY}
  observation.images.front:
    kind: sensor/image
    image: {{size: [{_IMAGE}, {_IMAGE}], crop: [{_CROP}, {_CROP}], range: [-1, 1]}}
    history: {_HISTORY}
decoder: {{type: diffusion, scheduler: ddim, steps: {_STEPS}, num_train_timesteps: {_TRAIN_STEPS}}}
action:
  normalize: min_max
  parts:
    - {{kind: target/joint/position, names: [{", ".join(SO101_JOINTS)}], mode: relative}}
chunk: {{size: {ROWS}, start: {_HISTORY - 1}, execute: 2}}
stats: stats.safetensors
"""


class ImageEncoder(nn.Module):
    """robomimic's `VisualCore`: a ResNet stem and block, spatial softmax, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.GroupNorm(2, 8)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.first, self.second = nn.Conv2d(8, 12, 3, 2, 1), nn.Conv2d(12, 12, 3, 1, 1)
        self.norms = nn.ModuleList(nn.GroupNorm(3, 12) for _ in range(2))
        self.shortcut = nn.Conv2d(8, 12, 1, 2)
        self.keypoints = nn.Conv2d(12, _KEYPOINTS, 1)
        self.out = nn.Linear(2 * _KEYPOINTS, _FEATURES)
        # A buffer, as the exporter makes double precision of a linspace in `forward`.
        self.register_buffer("axis", torch.linspace(-1.0, 1.0, _GRID))

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, 84, 84) to (B, 12)."""
        maps = self.pool(self.norm(self.stem(images)).relu())
        hidden = self.norms[0](self.first(maps)).relu()
        maps = (self.norms[1](self.second(hidden)) + self.shortcut(maps)).relu()
        scores = self.keypoints(maps)
        chances = scores.flatten(2).softmax(dim=-1).view(-1, _KEYPOINTS, _GRID, _GRID)
        columns = (chances.sum(2) * self.axis).sum(-1)
        rows = (chances.sum(3) * self.axis).sum(-1)
        return self.out(torch.cat([columns, rows], dim=1))


class ObservationEncoder(nn.Module):
    """Both moments to `global_cond`."""

    def __init__(self) -> None:
        super().__init__()
        self.image = ImageEncoder()

    def forward(self, state: Tensor, images: Tensor) -> Tensor:
        """Map (B, 2, 9) and (B, 2, 3, 84, 84) to (B, C)."""
        return self.condition(
            state, self.image(images.flatten(0, 1)).view(-1, _HISTORY, _FEATURES)
        )

    def condition(self, state: Tensor, features: Tensor) -> Tensor:
        """The same from image features (B, 2, 12)."""
        return torch.cat([features, state], dim=-1).flatten(1)


def make_unet() -> ConditionalUnet1d:
    """The noise predictor."""
    return ConditionalUnet1d(_JOINTS, _CONDITION, 16, (16, 24), scaled=True)


def scheduler() -> DDIMScheduler:
    """As the original configures it."""
    return DDIMScheduler(
        num_train_timesteps=_TRAIN_STEPS,
        beta_schedule="squaredcos_cap_v2",
        clip_sample=True,
        set_alpha_to_one=True,
        prediction_type="epsilon",
    )


def train(
    encoder: ObservationEncoder,
    unet: ConditionalUnet1d,
    data: Demonstrations,
    stats: dict[str, FloatArray],
) -> None:
    """Predict the noise; rows begin one before the present, as in training of the original."""
    obs = np.concatenate([data.position, data.goal], axis=1)
    before = np.concatenate([data.before, data.goal], axis=1)
    state = scaled(np.stack([before, obs], axis=1), stats, "observation.state")
    wanted = scaled(shifted(data.rows), stats, "action")
    with torch.no_grad():
        features = encoder.image(pixels(data.frames))
    encoder.requires_grad_(requires_grad=False)
    noising = scheduler()

    def loss(chosen: Tensor) -> Tensor:
        noise = torch.randn_like(wanted[chosen])
        timestep = torch.randint(0, _TRAIN_STEPS, (len(chosen),))
        noisy = noising.add_noise(wanted[chosen], noise, timestep)
        shown = features[torch.randint(0, len(features), (len(chosen), _HISTORY))]
        condition = encoder.condition(state[chosen], shown)
        return functional.mse_loss(unet(noisy, timestep, condition), noise)

    fitted(unet, loss, len(state), 1800, batch=192, rate=3e-3)


def shifted(rows: FloatArray) -> FloatArray:
    """Rows (N, T, 6) as the chunk has them: the first is that of the older observation."""
    return np.concatenate([np.zeros_like(rows[:, :1]), rows[:, :-1]], axis=1)


def scaled(values: FloatArray, stats: dict[str, FloatArray], feature: str) -> Tensor:
    """`LinearNormalizer` in mode `limits`: minimum and maximum to -1 and 1."""
    low, high = stats[f"{feature}.min"], stats[f"{feature}.max"]
    return torch.as_tensor((values - low) / (high - low) * 2.0 - 1.0, dtype=torch.float32)


def pixels(frames: FloatArray) -> Tensor:
    """Frames (B, 96, 96, 3) uint8 as the encoder takes them, the middle 84 by 84."""
    images = torch.as_tensor(frames).permute(0, 3, 1, 2).float() / 255.0
    edge = (_IMAGE - _CROP) // 2
    return images[:, :, edge : edge + _CROP, edge : edge + _CROP] * 2.0 - 1.0


def reference(
    encoder: ObservationEncoder,
    unet: ConditionalUnet1d,
    stats: dict[str, FloatArray],
    seen: Recording,
) -> Oracle:
    """`predict_action` with diffusers' scheduler: (N, T - 1, 6) joint targets [rad].

    Noise is NumPy's `default_rng(0)`, standard normal in float32, one draw per inference.
    """
    generator = np.random.default_rng(0)
    obs = scaled(
        np.concatenate([seen.position, seen.goals["position"]], axis=1), stats, "observation.state"
    )
    images = pixels(seen.images["front"])
    low, high = stats["action.min"], stats["action.max"]
    answers: list[FloatArray] = []
    for now in range(len(obs)):
        shown = [max(now - 1, 0), now]  # the first observation is repeated
        sample = torch.as_tensor(generator.standard_normal((1, ROWS, _JOINTS), dtype=np.float32))
        denoising = scheduler()
        denoising.set_timesteps(_STEPS)
        with torch.no_grad():
            condition = encoder(obs[shown][None], images[shown][None])
            for timestep in denoising.timesteps:
                noise = unet(sample, timestep[None], condition)
                sample = denoising.step(noise, timestep, sample).prev_sample
        rows = (sample[0].double().numpy() + 1.0) / 2.0 * (high - low) + low
        answers.append(seen.position[now] + rows[_HISTORY - 1 :])
    return Oracle(np.stack(answers), SO101_JOINTS)


def write(
    encoder: ObservationEncoder, unet: ConditionalUnet1d, stats: dict[str, FloatArray]
) -> None:
    """Write the bundle, and what the original answers."""
    folder = begin_bundle("diffusion_policy")
    inputs = {
        "observation.state": torch.rand(1, _HISTORY, _OBS),
        "observation.images.front": torch.rand(1, _HISTORY, 3, _CROP, _CROP),
    }
    export_slim(encoder, inputs, ["global_cond"], folder / "obs_encoder.onnx")
    inputs = {
        "sample": torch.randn(1, ROWS, _JOINTS),
        "timestep": torch.tensor([7]),
        "global_cond": torch.randn(1, _CONDITION),
    }
    export_slim(unet, inputs, ["noise_pred"], folder / "unet.onnx")
    write_stats(folder, stats)
    finish_bundle(folder, _DOCUMENT)
    seen = observed()
    write_parity("diffusion_policy", seen, reference(encoder, unet, stats, seen))


def main() -> None:
    """Train, and write the bundle and the oracle's answers."""
    torch.manual_seed(0)
    data = demonstrations()
    obs, rows = np.concatenate([data.position, data.goal], axis=1), shifted(data.rows)
    stats = single(
        {
            "observation.state.min": obs.min(0) - 0.01,
            "observation.state.max": obs.max(0) + 0.01,
            "action.min": rows.min(0) - _MARGIN,
            "action.max": rows.max(0) + _MARGIN,
        }
    )
    encoder, unet = ObservationEncoder().eval(), make_unet()
    train(encoder, unet, data, stats)
    write(encoder, unet, stats)


if __name__ == "__main__":
    main()
