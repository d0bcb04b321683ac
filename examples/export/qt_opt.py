# SPDX-License-Identifier: Apache-2.0
"""QT-Opt: the cross-entropy method over a Q-function of image, gripper and action.

Source: Kalashnikov et al., QT-Opt (2018), appendix, and quantiumracle/QT_Opt at c66ca63
(`qt_opt_v3.py`, `cem_optimal_action`), smaller. Convolutions on the image run once (`encode`); the
action and the state of the gripper go through fully connected layers, are added to every place of
the feature map, and more convolutions and a sigmoid give one value per candidate (`step`). What is
easily missed:

- 2 iterations of 64 candidates, 6 elites, refitted with the deviation of the population; the best
  candidate of the LAST iteration is played, not the mean;
- eight columns: 3 translation in the hand's frame, 2 sine and cosine of a turn about its approach
  axis, open, close, terminate; the last three act above 0.5.

Candidates of the turn begin around no turn, so that an untrained Q-function does not spin the
hand. The weights are random: this export shows that the path is right, not that the policy is
good.
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

_RATE, _IMAGE, _COLUMNS, _CHANNELS = 3.0, 64, 8, 16
_FINGER = hand.JOINTS[-1]
_SAMPLES, _ELITES, _ITERATIONS, _STEP_M = 64, 6, 2, 0.03
_MEAN = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0)
_STD = (0.5, 0.5, 0.5, 0.05, 0.2, 0.5, 0.5, 0.3)

_DOCUMENT = f"""
format: policy_package
version: "1.1"
name: qt_opt
description: QT-Opt, weights are random
robot: fr3
rate: {_RATE:g}
graphs: {{encode: conv_trunk.onnx, step: q_head.onnx}}
observations:
  image:
    kind: sensor/image
    camera: front
    image: {{size: [{_IMAGE}, {_IMAGE}]}}
  gripper_closed: {{kind: state/gripper/position, names: [{_FINGER}], closed: 1, open: 0}}
  gripper_height: {{kind: state/body/position, frame: tcp, axes: [z]}}
decoder: {{type: cem, samples: {_SAMPLES}, elites: {_ELITES}, iterations: {_ITERATIONS},
          mean: {list(_MEAN)},
          std: {list(_STD)},
          bounds: [-1, 1], action: action, value: q_value}}
action:
  parts:
    - {{kind: target/body/position, frame: tcp, mode: delta, scale: {_STEP_M}}}
    - {{kind: target/body/rotation, frame: tcp, mode: delta, rotation: yaw_cos_sin}}
    - {{kind: target/gripper/open_close, names: [{_FINGER}], binarize: 0.5}}
    - {{kind: policy/terminate, dim: 1, binarize: 0.5}}
chunk: {{size: 1, hold: 1.0}}
"""


class Trunk(nn.Module):
    """The layers before the action is known."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, _CHANNELS, 6, 2, 2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(_CHANNELS, _CHANNELS, 5, 1, 2),
            nn.BatchNorm2d(_CHANNELS),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Map (1, 3, 64, 64) to (1, C, 8, 8)."""
        return self.layers(image)


class Head(nn.Module):
    """The layers after it."""

    def __init__(self) -> None:
        super().__init__()
        self.vector = nn.Sequential(
            nn.Linear(_COLUMNS + 2, 32), nn.ReLU(), nn.Linear(32, _CHANNELS), nn.ReLU()
        )
        self.layers = nn.Sequential(
            nn.Conv2d(_CHANNELS, _CHANNELS, 3, 1, 1),
            nn.BatchNorm2d(_CHANNELS),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(_CHANNELS, _CHANNELS, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(4 * _CHANNELS, 32),
            nn.ReLU(),
            nn.Linear(32, 1),
            nn.Sigmoid(),
        )

    def forward(
        self, action: Tensor, features: Tensor, gripper_closed: Tensor, gripper_height: Tensor
    ) -> Tensor:
        """Map candidates (N, 8) to their values (N,)."""
        state = torch.cat([gripper_closed, gripper_height], dim=1)
        candidates = torch.cat([action, state.expand(action.shape[0], 2)], dim=1)
        return self.layers(features + self.vector(candidates)[:, :, None, None])[:, 0]


def cem_optimal_action(
    head: Head, given: tuple[Tensor, ...], generator: np.random.Generator
) -> FloatArray:
    """The best of 64 candidates around the 6 best of 64, (8,).

    Noise is NumPy's, standard normal in float32, one draw of (64, 8) per iteration.
    """
    mean, deviation = np.array(_MEAN), np.array(_STD)
    best = mean
    for _ in range(_ITERATIONS):
        noise = generator.standard_normal((_SAMPLES, _COLUMNS), dtype=np.float32)
        actions = np.clip(mean + deviation * noise.astype(np.float64), -1.0, 1.0)
        values = head(torch.as_tensor(actions, dtype=torch.float32), *given).numpy()
        elites = actions[np.argsort(values)[::-1][:_ELITES]]
        mean, deviation, best = elites.mean(0), elites.std(0), elites[0]
    return best


def reference(trunk: Trunk, head: Head, seen: Recording) -> Oracle:
    """The action on the FR3's hand; the gripper stays where it was or was last told to be."""
    generator = np.random.default_rng(0)
    poses: list[FloatArray] = []
    fingers: list[float] = []
    told = float(seen.position[0, seen.joint_names.index(_FINGER)])
    for now, position in enumerate(seen.position):
        finger = position[seen.joint_names.index(_FINGER)]
        closed = (hand.OPENED - finger) / (hand.OPENED - hand.CLOSED)
        pose = hand.hand_pose(dict(zip(seen.joint_names, position, strict=True)))
        frame, size = seen.images["front"][now], (_IMAGE, _IMAGE)
        image = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        pixels = torch.as_tensor(image).permute(2, 0, 1)[None].float() / 255.0
        state = (torch.tensor([[closed]]).float(), torch.tensor([[pose[0][2]]]).float())
        with torch.no_grad():
            action = cem_optimal_action(head, (trunk(pixels), *state), generator)
        turn = np.arctan2(action[4], action[3])
        moved = pose[0] + pose[1] @ (_STEP_M * action[:3])
        poses.append(hand.row((moved, pose[1] @ hand.euler_xyz(np.array([0.0, 0.0, turn])))))
        opens, closes = action[5] > 0.5, action[6] > 0.5
        if opens != closes:
            told = hand.OPENED if opens else hand.CLOSED
        fingers.append(told)
    return Oracle(
        np.array(fingers)[:, None, None], (_FINGER,), np.array(poses)[:, None], hand.FRAME
    )


def main() -> None:
    """Write the bundle and the oracle's answers."""
    torch.manual_seed(1)
    trunk, head = Trunk().eval(), Head().eval()
    folder = begin_bundle("qt_opt")
    image = torch.rand(1, 3, _IMAGE, _IMAGE)
    export_slim(trunk, {"image": image}, ["features"], folder / "conv_trunk.onnx")
    inputs = {
        "action": torch.rand(_SAMPLES, _COLUMNS),
        "features": trunk(image).detach(),
        "gripper_closed": torch.rand(1, 1),
        "gripper_height": torch.rand(1, 1),
    }
    axes = {"action": {0: "num_samples"}, "q_value": {0: "num_samples"}}
    export_slim(head, inputs, ["q_value"], folder / "q_head.onnx", axes)
    finish_bundle(folder, _DOCUMENT)
    seen = record_small(_RATE, ("front",))
    write_parity("qt_opt", seen, reference(trunk, head, seen))


if __name__ == "__main__":
    main()
