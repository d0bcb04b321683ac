# SPDX-License-Identifier: Apache-2.0
"""HIL-SERL: two cameras and the hand's state to a drawn step of the hand and a gripper's order.

Luo et al., Precise and Dexterous Robotic Manipulation via Human-in-the-Loop Reinforcement Learning
(2024), code github.com/rail-berkeley/hil-serl, agent `agents/continuous/sac_hybrid_single.py`: a
frozen ResNet-10 that all networks share (`encode`), an actor (`step`) and a critic for the gripper
(`grasp`), each with pooling and a bottleneck of its own. What goes wrong elsewhere:

- `vision/resnet_v1.py` is Flax: SAME padding of a stride of 2 is below and to the right only.
- `gym.spaces.Dict` sorts its keys, so the state is gripper, pose, velocity, whatever the order of
  `proprio_keys` (`wrapper.py` looks for the height at index 6, which is so with forces).
- `relative_env.py`: the pose is seen from where the episode began, and both the velocity and the
  action are along the axes of the hand.
- `ACTION_SCALE` is (0.01 m, 0.06 rad) for actions in [-1, 1]; the gripper's order is argmax - 1,
  and 0 leaves it as it is. Regions are cut out of the images before they are 128 x 128.
- `std` is clipped to [1e-5, 10], and the deployed policy draws (`argmax=False`).

Two things are not as there. Forces and torques of the wrist are no observation of the runtime, so
`proprio_keys` has none. And `construct_adjoint_matrix` puts its lower left block, position times
rotation, where it adds moves to turns instead of turns to moves; here moves and turns are rotated
into the hand's frame, which is what that file says it does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import hand
import numpy as np
import torch
from export_common import (
    FloatArray,
    Oracle,
    Recording,
    begin_bundle,
    export_graph,
    finish_bundle,
    record,
    write_parity,
)
from torch import Tensor, nn
from torch.nn import functional

RATE = 10.0
FRAME = (240, 320)
CROPS = {"wrist": (50, 88, 100, 188), "front": (34, 100, 132, 124)}
"""Top, left, height, width of the region of each camera's frames [px]."""

MOVE, TURN = 0.01, 0.06
STD_MIN, STD_MAX = 1e-5, 10.0
_STATE, _ACTION = 13, 6
_SEED = 14
_STEPS = 5

_DOCUMENT = f"""
format: policy_package
version: "1.1"
name: hil_serl
description: HIL-SERL, two cameras, drawn steps of the hand, critic for the gripper
robot: fr3
rate: {RATE:g}
graphs: {{encode: resnet10.onnx, step: actor.onnx, grasp: grasp_critic.onnx}}
observations:
  wrist_1:
    kind: sensor/image
    camera: wrist
    image:
      crop: {list(CROPS["wrist"])}
      size: [128, 128]
      interpolation: linear
      layout: hwc
      dtype: uint8
  wrist_2:
    kind: sensor/image
    camera: front
    image:
      crop: {list(CROPS["front"])}
      size: [128, 128]
      interpolation: linear
      layout: hwc
      dtype: uint8
  state:
    terms:
      - {{kind: state/gripper/position}}
      - {{kind: state/body/pose, frame: tcp, rotation: euler_xyz, relative_to: start}}
      - {{kind: state/body/velocity, frame: tcp}}
decoder:
  - type: gaussian
    squash: tanh
    deterministic: false
    log_std_range: [{np.log(STD_MIN):.15g}, {np.log(STD_MAX):.15g}]
  - {{type: argmax, graph: grasp, output: q_values, values: [-1, 0, 1]}}
action:
  parts:
    - {{kind: target/body/position, frame: tcp, mode: delta, scale: {MOVE}}}
    - {{kind: target/body/rotation, frame: tcp, mode: delta, rotation: euler_xyz, scale: {TURN}}}
    - {{kind: target/gripper/toggle, closed: -1, open: 1}}
chunk: {{size: 1, hold: 0.4}}
"""


def same(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """Pad (B, C, H, W) as Flax's SAME does: what is odd goes below and to the right."""
    pads: list[int] = []
    for size in (int(x.shape[3]), int(x.shape[2])):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return functional.pad(x, pads, value=value)


class Block(nn.Module):
    """ResNetBlock."""

    def __init__(self, inputs: int, filters: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv_0 = nn.Conv2d(inputs, filters, 3, stride, bias=False)
        self.conv_1 = nn.Conv2d(filters, filters, 3, bias=False)
        self.norm_0, self.norm_1 = nn.GroupNorm(4, filters), nn.GroupNorm(4, filters)
        self.projects = inputs != filters or stride != 1
        if self.projects:
            self.conv_proj = nn.Conv2d(inputs, filters, 1, stride, bias=False)
            self.norm_proj = nn.GroupNorm(4, filters)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, filters, H / stride, W / stride)."""
        y = torch.relu(self.norm_0(self.conv_0(same(x, 3, self.stride))))
        y = self.norm_1(self.conv_1(same(y, 3, 1)))
        return torch.relu((self.norm_proj(self.conv_proj(x)) if self.projects else x) + y)


class ResNet10(nn.Module):
    """`resnetv1-10-frozen` with 4 filters instead of 64: frames to features before pooling."""

    def __init__(self, filters: int = 4) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]))
        self.conv_init = nn.Conv2d(3, filters, 7, 2, padding=3, bias=False)
        self.norm_init = nn.GroupNorm(4, filters)
        widths = [filters, *(filters * 2**stage for stage in range(4))]
        self.blocks = nn.ModuleList(
            Block(widths[i], widths[i + 1], 1 if i == 0 else 2) for i in range(4)
        )

    def features(self, image: Tensor) -> Tensor:
        """(B, 128, 128, 3) uint8 to (B, 4, 4, 8 * filters)."""
        x = ((image.float() / 255.0 - self.mean) / self.std).permute(0, 3, 1, 2)
        x = torch.relu(self.norm_init(self.conv_init(x)))
        x = functional.max_pool2d(same(x, 3, 2, -torch.inf), 3, 2)
        for block in self.blocks:
            x = block(x)
        return x.permute(0, 2, 3, 1)

    def forward(self, wrist_1: Tensor, wrist_2: Tensor) -> tuple[Tensor, Tensor]:
        """Both frames, in one batch, so that the graph has the weights once."""
        first, second = self.features(torch.cat([wrist_1, wrist_2])).split(1)
        return first, second


class Encoder(nn.Module):
    """`EncodingWrapper`: learned pooling and bottleneck per camera, and the state beside them."""

    def __init__(self, channels: int = 32, spatial: int = 3, width: int = 16) -> None:
        super().__init__()
        self.kernels = nn.ParameterList(
            nn.Parameter(torch.randn(4, 4, channels, spatial) / 16.0) for _ in range(2)
        )
        self.dense = nn.ModuleList(nn.Linear(channels * spatial, width) for _ in range(2))
        self.norm = nn.ModuleList(nn.LayerNorm(width, eps=1e-6) for _ in range(2))
        self.proprio, self.proprio_norm = nn.Linear(_STATE, width), nn.LayerNorm(width, eps=1e-6)
        self.width = 3 * width

    def forward(self, features: tuple[Tensor, Tensor], state: Tensor) -> Tensor:
        """Features of both frames and (B, 13) to (B, width)."""
        encoded: list[Tensor] = []
        for i, seen in enumerate(features):
            pooled = (seen.unsqueeze(-1) * self.kernels[i]).sum(dim=(1, 2))
            encoded.append(torch.tanh(self.norm[i](self.dense[i](pooled.flatten(1)))))
        return torch.cat([*encoded, torch.tanh(self.proprio_norm(self.proprio(state)))], dim=1)


class Actor(nn.Module):
    """`Policy`: the Gaussian before tanh."""

    def __init__(self, hidden: int = 48) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.layers = nn.Sequential(
            nn.Linear(self.encoder.width, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh()
        )
        self.means, self.log_stds = nn.Linear(hidden, _ACTION), nn.Linear(hidden, _ACTION)
        with torch.no_grad():
            # Beyond the bounds of the deviation on both sides, so that they show.
            self.log_stds.bias.copy_(torch.tensor([-13.0, -1.0, -2.0, 3.0, -1.0, -2.0]))

    def forward(self, seen_1: Tensor, seen_2: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """`mean` and `log_std`, (B, 6) each."""
        hidden = self.layers(self.encoder((seen_1, seen_2), state))
        return self.means(hidden), self.log_stds(hidden)


class GraspCritic(nn.Module):
    """What closing, leaving and opening the gripper are worth."""

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.layers = nn.Sequential(
            nn.Linear(self.encoder.width, hidden), nn.Tanh(), nn.Linear(hidden, 3)
        )

    def forward(self, seen_1: Tensor, seen_2: Tensor, state: Tensor) -> Tensor:
        """`q_values` (B, 3)."""
        return self.layers(self.encoder((seen_1, seen_2), state))


@dataclass(frozen=True)
class Agent:
    """All networks."""

    encode: ResNet10
    actor: Actor
    grasp: GraspCritic


def velocity(joints: dict[str, float], speeds: dict[str, float]) -> tuple[FloatArray, FloatArray]:
    """How fast the hand moves [m/s] and turns [rad/s] along the base's axes, by differences."""
    step = 1e-5
    ahead = {name: value + step * speeds[name] for name, value in joints.items()}
    behind = {name: value - step * speeds[name] for name, value in joints.items()}
    (p1, r1), (p0, r0) = hand.hand_pose(ahead), hand.hand_pose(behind)
    return (p1 - p0) / (2 * step), hand.rotation_vector(r1 @ r0.T) / (2 * step)


def roll_pitch_yaw(rotation: FloatArray) -> FloatArray:
    """`as_euler("xyz")` of scipy: about the fixed axes [rad]."""
    r = rotation
    pitch = np.arctan2(-r[2, 0], np.hypot(r[0, 0], r[1, 0]))
    return np.array([np.arctan2(r[2, 1], r[2, 2]), pitch, np.arctan2(r[1, 0], r[0, 0])])


def reference(agent: Agent, seen: Recording) -> Oracle:
    """One episode of `FrankaEnv` in `RelativeFrame`, `Quat2EulerWrapper` and `SERLObsWrapper`.

    Hand poses (N, 1, 7) and the finger's targets (N, 1, 1) [m]. Noise: NumPy's `default_rng(0)`.
    """
    noise = np.random.default_rng(0)
    start: hand.Pose | None = None
    finger = seen.position[0, -1]
    poses, fingers, orders = [], [], []
    for i in range(len(seen.position)):
        joints = dict(zip(seen.joint_names, seen.position[i], strict=True))
        speeds = dict(zip(seen.joint_names, seen.velocity[i], strict=True))
        pose = hand.hand_pose(joints)
        start = start or pose
        moves, turns = velocity(joints, speeds)
        state = np.concatenate(
            [
                [joints["fr3_finger_joint1"] / hand.OPENED],
                start[1].T @ (pose[0] - start[0]),
                roll_pitch_yaw(start[1].T @ pose[1]),
                pose[1].T @ moves,
                pose[1].T @ turns,
            ]
        )
        frames = [torch.from_numpy(_region(seen, camera, i)) for camera in CROPS]
        with torch.no_grad():
            features = agent.encode(*frames)
            inputs = (*features, torch.tensor(state[None]).float())
            mean, log_std = agent.actor(*inputs)
            std = torch.clip(torch.exp(log_std), STD_MIN, STD_MAX)
            drawn = torch.from_numpy(noise.standard_normal((1, _ACTION), dtype=np.float32))
            action = torch.tanh(mean + std * drawn)[0].numpy().astype(np.float64)
            order = int(agent.grasp(*inputs).argmax()) - 1
        if order:
            finger = hand.OPENED if order > 0 else hand.CLOSED
        place = pose[0] + pose[1] @ (MOVE * action[:3])
        poses.append(hand.row((place, pose[1] @ hand.euler_xyz(TURN * action[3:])))[None])
        fingers.append([[finger]])
        orders.append(order)
    print(f"orders to the gripper: {orders}")
    names = ("fr3_finger_joint1",)
    return Oracle(np.array(fingers), names, np.stack(poses), hand.FRAME)


def _region(seen: Recording, camera: str, i: int) -> np.ndarray:
    """`IMAGE_CROP` and `cv2.resize` of `get_im`, (1, 128, 128, 3)."""
    top, left, height, width = CROPS[camera]
    region = seen.images[camera][i][top : top + height, left : left + width]
    return cv2.resize(np.ascontiguousarray(region), (128, 128))[None]


def observed() -> Recording:
    """A slow motion of the arm, and frames of coloured tiles, which compress well."""
    seen = record(RATE, steps=_STEPS, names=hand.JOINTS, home=hand.HOME)
    # The finger is measured in metres, and still.
    seen.position[:, -1], seen.velocity[:, -1] = 0.03, 0.0
    rng, tile = np.random.default_rng(_SEED), 20
    shape = (_STEPS, FRAME[0] // tile, FRAME[1] // tile, 3)
    tiles = {name: rng.integers(0, 256, shape, dtype=np.uint8) for name in CROPS}
    images = {name: t.repeat(tile, axis=1).repeat(tile, axis=2) for name, t in tiles.items()}
    return replace(seen, images=images)


def main() -> None:
    """Write the bundle and the oracle's answers."""
    torch.manual_seed(_SEED)
    agent = Agent(ResNet10().eval(), Actor().eval(), GraspCritic().eval())
    folder = begin_bundle("hil_serl")
    frame = torch.randint(0, 256, (1, 128, 128, 3), dtype=torch.uint8)
    frames = {"wrist_1": frame, "wrist_2": frame.flip(1)}
    features = ["features_1", "features_2"]
    export_graph(agent.encode, frames, features, folder / "resnet10.onnx")
    with torch.no_grad():
        encoded = dict(zip(features, agent.encode(*frames.values()), strict=True))
    inputs = {**encoded, "state": torch.randn(1, _STATE)}
    export_graph(agent.actor, inputs, ["mean", "log_std"], folder / "actor.onnx")
    export_graph(agent.grasp, inputs, ["q_values"], folder / "grasp_critic.onnx")
    finish_bundle(folder, _DOCUMENT)
    seen = observed()
    write_parity("hil_serl", seen, reference(agent, seen))


if __name__ == "__main__":
    main()
