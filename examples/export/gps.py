# SPDX-License-Identifier: Apache-2.0
"""End-to-end visuomotor policy: image and joint state to joint torques at 20 Hz.

Levine, Finn, Darrell and Abbeel, End-to-End Training of Deep Visuomotor Policies, JMLR 17 (2016),
section 5; `multi_modal_network_fp` and `act` of github.com/cbfinn/gps. Three convolutions of 5x5,
the first with stride 2, a spatial softmax that turns each channel into the point where it is most
active, and fully connected layers over those points and the state. The state is whitened outside
the network, the image enters raw (0..255), and at test time the mean torque is commanded.

The convolutions are first trained to say where an object is in the image, as in the paper. A
torque controller for one pose then stands in for the trajectory-centric teachers.
"""

from __future__ import annotations

import numpy as np
import torch
from export_common import (
    SO101_HOME,
    SO101_JOINTS,
    Oracle,
    Recording,
    begin_bundle,
    export_graph,
    finish_bundle,
    record,
    write_parity,
    write_stats,
)
from torch import Tensor, nn

RATE, SIZE = 20.0, 96
POSE = (0.3, -1.0, 0.5, 1.2, 1.5, 0.8)
"""[rad], where the teacher takes the arm."""

_JOINTS = len(SO101_JOINTS)
_SEED = 0
_STIFFNESS, _DAMPING, _LARGEST = 2.0, 0.2, 0.8

_DOCUMENT = f"""
format: policy_package
version: "1.1"
name: gps
description: End-to-end visuomotor policy, image and joint state to torques
robot: so101
rate: {RATE:g}
graphs: {{step: policy.onnx}}
observations:
  image: {{kind: sensor/image, camera: front, image: {{size: [{SIZE}, {SIZE}], range: [0, 255]}}}}
  state:
    normalize: mean_std
    terms:
      - {{kind: state/joint/position, names: [{", ".join(SO101_JOINTS)}]}}
      - {{kind: state/joint/velocity, names: [{", ".join(SO101_JOINTS)}]}}
decoder: {{type: direct, output: u}}
action:
  parts:
    - {{kind: target/joint/effort, names: [{", ".join(SO101_JOINTS)}], clip: [-1.5, 1.5]}}
stats: stats.safetensors
"""


class FeaturePoints(nn.Module):
    """(B, 3, 96, 96) pixels, 0..255, to (B, 2 F) image points, -1..1 each."""

    def __init__(self, filters: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, filters, 5, stride=2),
            nn.ReLU(),
            nn.Conv2d(filters, filters, 5),
            nn.ReLU(),
            nn.Conv2d(filters, filters, 5),
            nn.ReLU(),
        )
        side = ((SIZE - 5) // 2 + 1) - 8
        line = torch.linspace(-1.0, 1.0, side)
        self.register_buffer("rows", line.repeat_interleave(side))
        self.register_buffer("columns", line.repeat(side))

    def forward(self, image: Tensor) -> Tensor:
        """The expected position of each channel's activation (spatial softmax)."""
        active = self.layers(image / 255.0)
        weight = torch.softmax(active.flatten(2), dim=2)
        return torch.cat([(weight * self.columns).sum(2), (weight * self.rows).sum(2)], dim=1)


class Visuomotor(nn.Module):
    """Image and whitened state to the mean torque (B, 6) [N m]."""

    def __init__(self, filters: int = 16, hidden: int = 40) -> None:
        super().__init__()
        self.points = FeaturePoints(filters)
        self.motor = nn.Sequential(
            nn.Linear(2 * filters + 2 * _JOINTS, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, _JOINTS),
        )

    def forward(self, image: Tensor, state: Tensor) -> Tensor:
        """One pass."""
        return self.motor(torch.cat([self.points(image), state], dim=1))


def frames(rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Noisy images with one bright square, and where its middle is, -1..1."""
    images = rng.uniform(60, 120, (count, 3, 1, 1)) + rng.normal(0, 12, (count, 3, SIZE, SIZE))
    middles = rng.integers(12, SIZE - 12, (count, 2))
    for image, (row, column) in zip(images, middles, strict=True):
        colour = np.array([220.0, 60.0, 60.0])[:, None, None]
        image[:, row - 5 : row + 6, column - 5 : column + 6] = colour
    places = (middles[:, ::-1] + 0.5) / SIZE * 2.0 - 1.0
    pixels = np.clip(images, 0, 255).astype(np.float32)
    return torch.from_numpy(pixels), torch.from_numpy(places.astype(np.float32))


def teacher(position: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    """Torques (N, 6) [N m] that take the arm to `POSE`."""
    torque = _STIFFNESS * (np.array(POSE) - position) - _DAMPING * velocity
    return np.clip(torque, -_LARGEST, _LARGEST)


def train() -> tuple[Visuomotor, dict[str, np.ndarray]]:
    """Where the object is first, then the torques; whitening is that of the samples."""
    torch.manual_seed(_SEED)
    rng = np.random.default_rng(_SEED)
    policy = Visuomotor()
    head = nn.Linear(32, 2)
    adam = torch.optim.Adam([*policy.points.parameters(), *head.parameters()], lr=2e-3)
    for _ in range(120):
        images, places = frames(rng, 24)
        loss = nn.functional.mse_loss(head(policy.points(images)), places)
        adam.zero_grad()
        loss.backward()
        adam.step()
    print(f"gps: object found within {loss.item() ** 0.5:.3f} of half an image")
    position = np.array(SO101_HOME) + rng.uniform(-0.8, 0.8, (20000, _JOINTS))
    velocity = rng.normal(0.0, 0.7, (20000, _JOINTS))
    state = np.concatenate([position, velocity], axis=1)
    stats = {"state.mean": state.mean(0), "state.std": state.std(0)}
    stats = {name: value.astype(np.float32) for name, value in stats.items()}
    x = torch.from_numpy((state - stats["state.mean"]) / stats["state.std"]).float()
    y = torch.from_numpy(teacher(position, velocity)).float()
    with torch.no_grad():
        seen = policy.points(frames(rng, 200)[0])
    adam = torch.optim.Adam(policy.motor.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 4000)
    for _ in range(4000):
        batch = torch.randint(len(x), (256,))
        # What the image shows tells nothing of this pose, and the network must learn that.
        shown = seen[torch.randint(len(seen), (256,))] + 0.2 * torch.randn(256, seen.shape[1])
        loss = nn.functional.mse_loss(policy.motor(torch.cat([shown, x[batch]], 1)), y[batch])
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
    print(f"gps: torques within {loss.item() ** 0.5:.3f} N m of the teacher's")
    return policy.eval(), stats


def reference(policy: Visuomotor, stats: dict[str, np.ndarray], seen: Recording) -> Oracle:
    """What `act` of the published code answers: (N, 1, 6) torques [N m].

    It whitens as `obs.dot(scale) + bias` and leaves the pixels alone.
    """
    scale = np.diag(1.0 / stats["state.std"].astype(np.float64))
    bias = -stats["state.mean"].dot(scale)
    answers: list[np.ndarray] = []
    state = np.concatenate([seen.position, seen.velocity], axis=1)
    for row, frame in zip(state, seen.images["front"], strict=True):
        white = torch.from_numpy(row.dot(scale) + bias).float()[None]
        image = torch.from_numpy(frame.astype(np.float32)).permute(2, 0, 1)[None]
        with torch.no_grad():
            answers.append(policy(image, white).numpy())
    return Oracle(np.clip(np.stack(answers), -1.5, 1.5), SO101_JOINTS, kind="effort")


def main() -> None:
    """Train, then write the bundle and the oracle's answers."""
    torch.set_num_threads(1)
    policy, stats = train()
    folder = begin_bundle("gps")
    example = {
        "image": torch.rand(1, 3, SIZE, SIZE) * 255.0,
        "state": torch.zeros(1, 2 * _JOINTS),
    }
    export_graph(policy, example, ["u"], folder / "policy.onnx")
    write_stats(folder, stats)
    finish_bundle(folder, _DOCUMENT)
    seen = record(RATE, cameras={"front": (SIZE, SIZE)})
    write_parity("gps", seen, reference(policy, stats, seen))


if __name__ == "__main__":
    main()
