# SPDX-License-Identifier: Apache-2.0
"""Goal-conditioned behaviour cloning of BridgeData V2: an image, a goal image, a Gaussian's mean.

Source: rail-berkeley/bridge_data_v2 at 830fc9e (`jaxrl_m/agents/continuous/gc_bc.py`,
`vision/resnet_v1.py`, `experiments/configs`), smaller: a ResNet v1 with group norms and swish on
image and goal, concatenated along the channels first (`early_goal_concat`), averaged; an MLP; a
mean per column. What is easily missed:

- images stay uint8 until the network, which scales them to [-1, 1] itself and appends the
  coordinates of every pixel (`add_spatial_coordinates`);
- the standard deviation is fixed, the mode is the mean, and nothing is squashed by a tanh;
- actions are un-normalised with mean and deviation, and only then is the gripper compared with
  0.5: 1 is open (`eval.py`); statistics are those of `data_config.py`.

The weights are random: this export shows that the path is right, not that the policy is good.
"""

from __future__ import annotations

import cv2
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
from slim_graph import export_slim
from small_frames import record_small
from torch import Tensor, nn

_RATE, _IMAGE = 5.0, 64
_FINGER = hand.JOINTS[-1]
_MEAN = (
    1.9296819e-04, 1.3667766e-04, -1.4583133e-04, -1.8390431e-04, -3.0808983e-04, 2.7425270e-04,
    5.9716219e-01,
)  # fmt: skip
_STD = (0.00912848, 0.0127196, 0.01229497, 0.02606696, 0.02875283, 0.07807977, 0.48710242)

_DOCUMENT = f"""
format: policy_package
version: "1.1"
name: gcbc
description: BridgeData V2's goal-conditioned behaviour cloning, weights are random
robot: fr3
rate: {_RATE:g}
graphs: {{step: gcbc.onnx}}
observations:
  observations.image:
    kind: sensor/image
    camera: front
    image: {{size: [{_IMAGE}, {_IMAGE}], layout: hwc, dtype: uint8}}
  goals.image:
    kind: command/image
    camera: goal
    image: {{size: [{_IMAGE}, {_IMAGE}], layout: hwc, dtype: uint8}}
decoder: {{type: gaussian, mean: mean, log_std: null, squash: none}}
action:
  normalize: mean_std
  parts:
    - {{kind: target/body/position, frame: base, mode: delta}}
    - {{kind: target/body/rotation, frame: base, mode: delta, rotation: euler_xyz}}
    - {{kind: target/gripper/position, names: [{_FINGER}], closed: 0, open: 1, binarize: 0.5}}
chunk: {{size: 1, hold: 0.6}}
stats: {{action: {{mean: {list(_MEAN)}, std: {list(_STD)}}}}}
"""


class ResidualBlock(nn.Module):
    """`ResNetBlock`: two 3 by 3 convolutions with group norms."""

    def __init__(self, given: int, made: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(given, made, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(made, made, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.GroupNorm(4, made) for _ in range(2))
        self.shortcut = nn.Conv2d(given, made, 1, stride, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H / stride, W / stride)."""
        hidden = nn.functional.silu(self.norms[0](self.first(maps)))
        return nn.functional.silu(self.norms[1](self.second(hidden)) + self.shortcut(maps))


class GoalConditionedPolicy(nn.Module):
    """`GCBCAgent`'s actor with `early_goal_concat`."""

    def __init__(self) -> None:
        super().__init__()
        axis = torch.linspace(-1.0, 1.0, _IMAGE)
        rows, columns = torch.meshgrid(axis, axis, indexing="ij")
        self.register_buffer("places", torch.stack([rows, columns])[None])
        self.stem, self.norm = nn.Conv2d(8, 12, 7, 2, 3, bias=False), nn.GroupNorm(4, 12)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.blocks = nn.Sequential(ResidualBlock(12, 12, 1), ResidualBlock(12, 24, 2))
        self.hidden = nn.Sequential(nn.Linear(24, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU())
        self.mean = nn.Linear(64, len(_MEAN))

    def forward(self, image: Tensor, goal: Tensor) -> Tensor:
        """Map two (1, H, W, 3) uint8 to the mean (1, 7)."""
        both = torch.cat([image, goal], dim=-1).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        maps = torch.cat([both, self.places], dim=1)
        maps = self.pool(nn.functional.silu(self.norm(self.stem(maps))))
        return self.mean(self.hidden(self.blocks(maps).mean((2, 3))))


def reference(policy: GoalConditionedPolicy, seen: Recording) -> Oracle:
    """`eval.py` and the WidowX controller's `action_to_pose`, on the FR3's hand."""
    poses: list[FloatArray] = []
    fingers: list[float] = []
    for now, position in enumerate(seen.position):
        image, goal = (_sized(seen.images[name][now]) for name in ("front", "goal"))
        with torch.no_grad():
            action = policy(image, goal)[0].double().numpy() * np.array(_STD) + np.array(_MEAN)
        pose = hand.hand_pose(dict(zip(seen.joint_names, position, strict=True)))
        poses.append(hand.row(hand.stepped(pose, action[:3], action[3:6])))
        fingers.append(hand.OPENED if action[6] > 0.5 else hand.CLOSED)
    return Oracle(
        np.array(fingers)[:, None, None], (_FINGER,), np.array(poses)[:, None], hand.FRAME
    )


def spread(policy: GoalConditionedPolicy, seen: Recording) -> None:
    """Make the actions of the recording differ, which those of random weights hardly do."""
    image, goal = (
        _sized(seen.images[name][len(seen.position) // 2]) for name in ("front", "goal")
    )
    with torch.no_grad():
        policy.mean.weight *= 100.0
        policy.mean.bias -= policy(image, goal)[0]
        policy.mean.bias[-1] -= 0.2  # the gripper's mean is 0.6, and it switches at 0.5


def _sized(frame: FloatArray) -> Tensor:
    return torch.as_tensor(cv2.resize(frame, (_IMAGE, _IMAGE), interpolation=cv2.INTER_AREA))[None]


def main() -> None:
    """Write the bundle and the oracle's answers."""
    torch.manual_seed(0)
    policy = GoalConditionedPolicy().eval()
    seen = record_small(_RATE, ("front", "goal"))
    spread(policy, seen)
    folder = begin_bundle("gcbc")
    image = torch.randint(0, 256, (1, _IMAGE, _IMAGE, 3), dtype=torch.uint8)
    inputs = {"observations.image": image, "goals.image": image.flip(1)}
    export_slim(policy, inputs, ["mean"], folder / "gcbc.onnx")
    finish_bundle(folder, _DOCUMENT)
    write_parity("gcbc", seen, reference(policy, seen))


if __name__ == "__main__":
    main()
