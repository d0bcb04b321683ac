# SPDX-License-Identifier: Apache-2.0
"""A quarter of a million parameters: two small CNNs, one MLP, a smooth chunk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from pipeline import ROWS
from torch import Tensor, nn

from levine_policy_node.core.units import FloatArray

CONTROL_POINTS = 10
_CAMERAS = 2
_WIDTH, _FEATURES = 24, 32
_HIDDEN = 256
FEATURES = 6 + _CAMERAS * 3 * _FEATURES
_GRID = 24


class Encoder(nn.Module):
    """Where each of 32 learned features is in the image, and how strong it is.

    Spatial softmax: Levine et al., End-to-End Training of Deep Visuomotor Policies (2016).
    """

    grid: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, _WIDTH, 8, stride=4, padding=2),
            nn.ReLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(_WIDTH, _FEATURES, 3, padding=1),
        )
        self.sharpness = nn.Parameter(torch.tensor(1.0))
        axis = torch.linspace(-1.0, 1.0, _GRID)
        rows, columns = torch.meshgrid(axis, axis, indexing="ij")
        self.register_buffer("grid", torch.stack([columns.flatten(), rows.flatten()], dim=1))

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, 96, 96) in [0, 1] to (B, 96)."""
        maps = self.layers(images - 0.5).flatten(2)
        places = torch.softmax(maps * self.sharpness, dim=-1) @ self.grid
        strengths = torch.tanh(maps.amax(dim=-1) / 5.0)
        return torch.cat([places.flatten(1), strengths], dim=1)


@dataclass(frozen=True, slots=True)
class Scaling:
    """Means and standard deviations that the network's inputs and outputs are scaled with.

    Attributes:
        joint_mean: Shape (6,) [rad].
        joint_std: Shape (6,) [rad].
        control_mean: Of the chunk's control points, relative to the joints, (10, 6) [rad].
        control_std: Likewise.
        row_std: Of the chunk's rows, for the loss, (16, 6) [rad].
    """

    joint_mean: FloatArray
    joint_std: FloatArray
    control_mean: FloatArray
    control_std: FloatArray
    row_std: FloatArray

    @staticmethod
    def of(joints: FloatArray, rows: FloatArray) -> Scaling:
        """Measure joints (N, 6) and labels (N, 16, 6)."""
        relative = rows - joints[:, None, :]
        controls = np.einsum("ct,ntj->ncj", np.linalg.pinv(spline_basis()), relative)
        return Scaling(
            joints.mean(axis=0),
            joints.std(axis=0) + 0.01,
            controls.mean(axis=0),
            controls.std(axis=0) + 0.005,
            relative.std(axis=0) + 0.005,
        )


class ChunkPolicy(nn.Module):
    """Joints and two frames in, a chunk relative to the joints out.

    The chunk is a cubic B-spline with 10 control points, so its rows cannot be jagged.
    """

    def __init__(self, scaling: Scaling) -> None:
        super().__init__()
        for name in ("joint_mean", "joint_std", "control_mean", "control_std"):
            self.register_buffer(name, _float(getattr(scaling, name)))
        self.register_buffer("basis", _float(spline_basis()))
        self.encoders = nn.ModuleList(Encoder() for _ in range(_CAMERAS))
        self.head = nn.Sequential(
            nn.Linear(FEATURES, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, CONTROL_POINTS * 6),
        )

    def forward(self, joints: Tensor, front: Tensor, wrist: Tensor) -> Tensor:
        """Map (B, 6) [rad] and two (B, 3, 96, 96) in [0, 1] to rows (B, 16, 6) [rad]."""
        return self.plan(self.see(joints, front, wrist))

    def see(self, joints: Tensor, front: Tensor, wrist: Tensor) -> Tensor:
        """The features (B, `FEATURES`) that everything is planned from."""
        features = [(joints - self.joint_mean) / self.joint_std]
        features += [
            encoder(images) for encoder, images in zip(self.encoders, (front, wrist), strict=True)
        ]
        return torch.cat(features, dim=1)

    def plan(self, features: Tensor) -> Tensor:
        """Rows (B, 16, 6) [rad] relative to the joints."""
        controls = self.head(features).reshape(-1, CONTROL_POINTS, 6)
        return self.basis @ (controls * self.control_std + self.control_mean)


def spline_basis() -> FloatArray:
    """Clamped uniform cubic B-spline basis at the times of the rows, shape (16, 10).

    Source: the Cox-de Boor recursion, de Boor, A Practical Guide to Splines (1978).
    """
    degree = 3
    inner = np.linspace(0.0, 1.0, CONTROL_POINTS - degree + 1)
    knots = np.concatenate([np.zeros(degree), inner, np.ones(degree)])
    # The last row lies on the last knot; the recursion's spans are half open.
    times = np.minimum((np.arange(ROWS) + 1) / ROWS, 1.0 - 1e-9)[:, None]
    basis = ((knots[:-1] <= times) & (times < knots[1:])).astype(np.float64)
    for order in range(1, degree + 1):
        rising = _ratio(times - knots[: -order - 1], knots[order:-1] - knots[: -order - 1])
        falling = _ratio(knots[order + 1 :] - times, knots[order + 1 :] - knots[1:-order])
        basis = rising * basis[:, :-1] + falling * basis[:, 1:]
    return basis


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    """Quotient that is 0 where knots coincide."""
    return np.where(below > 0.0, above / np.where(below > 0.0, below, 1.0), 0.0)


def _float(values: FloatArray) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32)
