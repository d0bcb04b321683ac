# SPDX-License-Identifier: Apache-2.0
"""Visual foresight: the cross-entropy method over a video model that actions drive.

Source: Finn et al. (2016) and Ebert et al. (2018); SudeepDasari/visual_foresight at 4c79886
(`cem_base_controller.py`, `gaussian_sampler.py`, `pred_util.py`), smaller. The model is CDNA: a
convolutional recurrent network on the frame, with state and action at every place, predicts a few
3 by 3 motions and a mask for each; the next frame is the masked sum of the moved frame and of the
first one. Two graphs run one after the other, by tensor name: `video_prediction` maps 15 actions
to 15 frames, `pixel_cost` maps those and a goal image to a cost. What is easily missed:

- two frames are context, and so are the hand's states and the action between them; frames are
  divided by 255;
- 5 actions are drawn and each is held for 3 rows; candidates are refitted with their FULL
  covariance, that of a sample (n - 1), whose rank 10 elites do not fill; the best of the last
  iteration is played;
- the cost counts the last frame ten times.

The original plays 10 of 15 rows at 1 Hz; here 2 at 5 Hz, as the supervisor stops a policy that
does not infer for half a second. The goal is an image, and the cost the squared difference of
pixels: nobody clicks on pixels here. The weights are random: this export shows that the path is
right, not that the policy is good.
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
from torch.nn import functional

_RATE, _HEIGHT, _WIDE, _COLUMNS, _STATE = 5.0, 16, 24, 5, 3
_HORIZON, _REPEAT, _CONTEXT = 15, 3, 2
_FINGER = hand.JOINTS[-1]
_SAMPLES, _ELITES, _ITERATIONS = 24, 10, 3
_HIDDEN, _MOTIONS = 6, 3
_STD = (0.006, 0.006, 0.006, 0.03, 0.5)
_LAST_WEIGHT = 10.0

_DOCUMENT = f"""
format: policy_package
version: "1.1"
name: visual_foresight
description: Visual foresight with a CDNA video model, weights are random
robot: fr3
rate: {_RATE:g}
graphs: {{step: [video_prediction.onnx, pixel_cost.onnx]}}
observations:
  context_frames:
    kind: sensor/image
    camera: front
    image: {{size: [{_HEIGHT}, {_WIDE}], layout: hwc}}
    history: {_CONTEXT}
  context_states: {{kind: state/body/position, frame: tcp, history: {_CONTEXT}}}
  context_actions: {{kind: feedback/action, dim: {_COLUMNS}}}
  goal_image:
    kind: command/image
    camera: goal
    image: {{size: [{_HEIGHT}, {_WIDE}], layout: hwc}}
decoder: {{type: cem, samples: {_SAMPLES}, elites: {_ELITES}, iterations: {_ITERATIONS},
          horizon: {_HORIZON}, repeat: {_REPEAT}, std: {list(_STD)},
          action: actions, value: cost}}
action:
  parts:
    - {{kind: target/body/position, frame: base, mode: delta}}
    - {{kind: target/body/rotation, frame: base, mode: delta, rotation: euler_xyz, axes: [z]}}
    - {{kind: target/gripper/position, names: [{_FINGER}], closed: 1, open: -1, binarize: 0.0}}
chunk: {{size: {_HORIZON}, execute: 2}}
"""


class VideoPrediction(nn.Module):
    """Frames that candidates lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(6, _HIDDEN, 5, 2, 2)
        given = 2 * _HIDDEN + _STATE + _COLUMNS
        self.gates = nn.Conv2d(given, 2 * _HIDDEN, 3, 1, 1)
        self.memory = nn.Conv2d(given, _HIDDEN, 3, 1, 1)
        self.kernels = nn.Linear(_HIDDEN + _STATE + _COLUMNS, _MOTIONS * 9)
        self.masks = nn.ConvTranspose2d(_HIDDEN, _MOTIONS + 1, 4, 2, 1)
        self.state = nn.Linear(_STATE + _COLUMNS, _STATE)
        # One convolution takes every pixel's 3 by 3 surroundings apart.
        self.register_buffer("around", torch.eye(9).view(9, 1, 3, 3))

    def forward(
        self,
        actions: Tensor,
        context_frames: Tensor,
        context_states: Tensor,
        context_actions: Tensor,
    ) -> Tensor:
        """Map candidates (N, 15, 5) and the context to frames (N, 15, 3, H, W)."""
        frames = context_frames[0].permute(0, 3, 1, 2)
        hidden = torch.zeros(1, _HIDDEN, _HEIGHT // 2, _WIDE // 2)
        _, hidden, _ = self.step(
            frames[:1], frames[:1], hidden, context_states[:, 0], context_actions
        )
        count = actions[:, 0, :1, None, None] * 0.0 + 1.0
        frame, hidden = frames[1:] * count, hidden * count
        start, state = frames[1:] * count, context_states[:, 1] * count[:, :, 0, 0]
        made: list[Tensor] = []
        for row in range(_HORIZON):
            frame, hidden, state = self.step(frame, start, hidden, state, actions[:, row])
            made.append(frame)
        return torch.stack(made, dim=1)

    def step(
        self, frame: Tensor, start: Tensor, hidden: Tensor, state: Tensor, action: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The next frame, what is remembered, and the hand's next state."""
        vector = torch.cat([state, action], dim=1)
        places = vector[:, :, None, None].expand(-1, -1, _HEIGHT // 2, _WIDE // 2)
        seen = self.first(torch.cat([frame, start], dim=1)).relu()
        update, forget = self.gates(torch.cat([seen, hidden, places], 1)).sigmoid().chunk(2, 1)
        fresh = self.memory(torch.cat([seen, forget * hidden, places], 1)).tanh()
        hidden = (1.0 - update) * hidden + update * fresh
        kernels = self.kernels(torch.cat([hidden.mean((2, 3)), vector], 1)).relu() + 1e-3
        kernels = kernels.view(-1, 1, _MOTIONS, 9)
        kernels = kernels / kernels.sum(-1, keepdim=True)
        apart = frame.reshape(-1, 1, _HEIGHT, _WIDE)
        around = functional.conv2d(apart, self.around, padding=1)
        moved = kernels @ around.view(-1, 3, 9, _HEIGHT * _WIDE)
        # A softmax, written out: ONNX Runtime is slow over any but the last axis.
        masks = self.masks(hidden).exp()
        masks = (masks / masks.sum(1, keepdim=True)).view(-1, 1, _MOTIONS + 1, _HEIGHT * _WIDE)
        drawn = torch.cat([moved, start.flatten(2)[:, :, None]], dim=2)
        return (masks * drawn).sum(2).reshape(start.shape), hidden, state + self.state(vector)


class PixelCost(nn.Module):
    """How far predicted frames are from the goal, the last counted ten times."""

    def __init__(self) -> None:
        super().__init__()
        weights = torch.ones(_HORIZON)
        weights[-1] = _LAST_WEIGHT
        self.register_buffer("weights", weights)

    def forward(self, frames: Tensor, goal_image: Tensor) -> Tensor:
        """Map (N, 15, 3, H, W) and (1, H, W, 3) to (N,)."""
        difference = frames - goal_image.permute(0, 3, 1, 2)[:, None]
        return ((difference**2).sum((2, 3, 4)) * self.weights).sum(1)


def perform_cem(
    cost: nn.Module, given: dict[str, Tensor], generator: np.random.Generator
) -> FloatArray:
    """`CEMBaseController.perform_CEM` with `GaussianCEMSampler`: the best plan, (15, 5).

    Noise is NumPy's, standard normal in float32, one draw of (24, 5, 5) per iteration. The root of
    the covariance is the symmetric one, where `multivariate_normal` takes any.
    """
    held = _HORIZON // _REPEAT
    mean, root = np.zeros(held * _COLUMNS), np.diag(np.tile(_STD, held))
    best = mean
    for _ in range(_ITERATIONS):
        noise = generator.standard_normal((_SAMPLES, held * _COLUMNS), dtype=np.float32)
        plans = mean + noise.astype(np.float64) @ root
        actions = np.repeat(plans.reshape(_SAMPLES, held, _COLUMNS), _REPEAT, axis=1)
        scores = cost(torch.as_tensor(actions, dtype=torch.float32), **given).numpy()
        elites = plans[np.argsort(scores)[:_ELITES]]
        left, spread, right = np.linalg.svd(np.cov(elites.T))
        mean, root, best = elites.mean(0), left @ np.diag(np.sqrt(spread)) @ right, elites[0]
    return np.repeat(best.reshape(held, _COLUMNS), _REPEAT, axis=0)


def reference(video: VideoPrediction, cost: PixelCost, seen: Recording) -> Oracle:
    """Plans on the FR3's hand: 15 steps from where it is measured."""
    generator = np.random.default_rng(0)
    sized = {
        name: np.stack([_sized(frame) for frame in frames]) for name, frames in seen.images.items()
    }
    hands = [
        hand.hand_pose(dict(zip(seen.joint_names, row, strict=True))) for row in seen.position
    ]
    previous = np.zeros(_COLUMNS)
    poses: list[list[FloatArray]] = []
    fingers: list[FloatArray] = []
    for now, pose in enumerate(hands):
        shown = [max(now - 1, 0), now]
        context = {
            "context_frames": torch.as_tensor(sized["front"][shown])[None],
            "context_states": torch.tensor(
                np.array([[hands[k][0] for k in shown]]), dtype=torch.float32
            ),
            "context_actions": torch.tensor(previous[None], dtype=torch.float32),
        }
        goal = torch.as_tensor(sized["goal"][now : now + 1])
        with torch.no_grad():
            plan = perform_cem(
                lambda actions, **given: cost(video(actions, **given), goal),  # noqa: B023
                context,
                generator,
            )
        rows: list[FloatArray] = []
        for action in plan:
            pose = hand.stepped(pose, action[:3], np.array([0.0, 0.0, action[3]]))
            rows.append(hand.row(pose))
        poses.append(rows)
        fingers.append(np.where(plan[:, 4:] > 0.0, hand.CLOSED, hand.OPENED))
        previous = plan[0]  # the next observation is one row later
    return Oracle(np.stack(fingers), (_FINGER,), np.array(poses), hand.FRAME)


def _sized(frame: FloatArray) -> FloatArray:
    sized = cv2.resize(frame, (_WIDE, _HEIGHT), interpolation=cv2.INTER_AREA)
    return sized.astype(np.float32) / np.float32(255.0)


def main() -> None:
    """Write the bundle and the oracle's answers."""
    torch.manual_seed(0)
    video, cost = VideoPrediction().eval(), PixelCost().eval()
    folder = begin_bundle("visual_foresight")
    inputs = {
        "actions": torch.randn(_SAMPLES, _HORIZON, _COLUMNS) * 0.05,
        "context_frames": torch.rand(1, _CONTEXT, _HEIGHT, _WIDE, 3),
        "context_states": torch.rand(1, _CONTEXT, _STATE),
        "context_actions": torch.rand(1, _COLUMNS) * 0.05,
    }
    axes = {"actions": {0: "num_samples"}, "frames": {0: "num_samples"}}
    export_slim(video, inputs, ["frames"], folder / "video_prediction.onnx", axes)
    inputs = {
        "frames": torch.rand(_SAMPLES, _HORIZON, 3, _HEIGHT, _WIDE),
        "goal_image": torch.rand(1, _HEIGHT, _WIDE, 3),
    }
    axes = {"frames": {0: "num_samples"}, "cost": {0: "num_samples"}}
    export_slim(cost, inputs, ["cost"], folder / "pixel_cost.onnx", axes)
    finish_bundle(folder, _DOCUMENT)
    seen = record_small(_RATE, ("front", "goal"))
    write_parity("visual_foresight", seen, reference(video, cost, seen))


if __name__ == "__main__":
    main()
