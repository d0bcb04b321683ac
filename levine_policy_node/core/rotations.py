# SPDX-License-Identifier: Apache-2.0
"""Rotations as policies write them, to matrices and back.

Everything takes and returns stacks: the leading axes are whatever they are. Matrices turn vectors
of the rotated frame into those of the fixed one. What looks alike is named apart: `rot6d_rows` and
`rot6d_columns` differ by a transposition, which is up to 180 degrees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from levine_policy_node.core.units import FloatArray

Rotation = Literal[
    "matrix",
    "rot6d_rows",
    "rot6d_columns",
    "quaternion_xyzw",
    "quaternion_wxyz",
    "euler_xyz",
    "euler_zyx",
    "axis_angle",
]
"""How a rotation is written.

* `rot6d_rows`: the first two rows of the matrix (pytorch3d, Diffusion Policy); `rot6d_columns`:
  its first two columns (Zhou et al. 2019).
* `quaternion_*`: the real part last or first; any length but 0, either sign.
* `euler_xyz`: roll, pitch, yaw about the fixed axes, R = Rz Ry Rx (ROS, scipy's `xyz`);
  `euler_zyx`: the same three in the other order [rad].
* `axis_angle`: the axis times the angle [rad].
"""

_SMALL = 1e-8


def widths() -> dict[Rotation, int]:
    """How many numbers each form has."""
    return {name: width for name, (width, _, _) in _FORMS.items()}


def to_matrices(values: FloatArray, form: Rotation) -> FloatArray:
    """Rotation matrices.

    Args:
        values: Shape (..., n) as `form` says; what has no length is not a rotation.
        form: How they are written.

    Returns:
        Shape (..., 3, 3).

    Raises:
        ValueError: If a value is no rotation.
    """
    width, to_matrix, _ = _FORMS[form]
    values = np.asarray(values, dtype=np.float64)
    if values.shape[-1] != width or not np.all(np.isfinite(values)):
        raise ValueError(f"{form} has {width} finite numbers, found shape {values.shape}")
    return to_matrix(values)


def from_matrices(matrices: FloatArray, form: Rotation) -> FloatArray:
    """The same rotations in another form, shape (..., n); quaternions with a real part >= 0."""
    return _FORMS[form][2](np.asarray(matrices, dtype=np.float64))


def transposed(matrices: FloatArray) -> FloatArray:
    """The inverse rotations."""
    return np.swapaxes(matrices, -1, -2)


def angle(matrices: FloatArray) -> FloatArray:
    """How far each rotation turns, shape (...) [rad] in [0, pi]."""
    return np.linalg.norm(_axis_angles(matrices), axis=-1)


def _unit(vectors: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if np.any(lengths < _SMALL):
        raise ValueError("a vector without length is no rotation")
    return vectors / lengths


def _columns_of_6d(values: FloatArray) -> FloatArray:
    """Gram-Schmidt on two vectors, which become columns (Zhou et al. 2019, equation 15)."""
    first = _unit(values[..., :3])
    second = values[..., 3:]
    second = _unit(second - np.sum(first * second, axis=-1, keepdims=True) * first)
    return np.stack([first, second, np.cross(first, second)], axis=-1)


def _rows_of_6d(values: FloatArray) -> FloatArray:
    return transposed(_columns_of_6d(values))


def _as_rows(matrices: FloatArray) -> FloatArray:
    return matrices[..., :2, :].reshape(*matrices.shape[:-2], 6)


def _as_columns(matrices: FloatArray) -> FloatArray:
    return _as_rows(transposed(matrices))


def _flat_matrices(values: FloatArray) -> FloatArray:
    matrices = values.reshape(*values.shape[:-1], 3, 3)
    product = matrices @ transposed(matrices)
    if np.max(np.abs(product - np.eye(3)), initial=0.0) > 1e-3 or np.any(
        np.linalg.det(matrices) < 0
    ):
        raise ValueError("a matrix that is not orthonormal and right-handed is no rotation")
    # The nearest rotation: what a network wrote is orthonormal to a few digits only.
    left, _, right = np.linalg.svd(matrices)
    return left @ right


def _as_flat(matrices: FloatArray) -> FloatArray:
    return matrices.reshape(*matrices.shape[:-2], 9)


def _quaternions(xyzw: FloatArray) -> FloatArray:
    x, y, z, w = np.moveaxis(_unit(xyzw), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _as_quaternions(matrices: FloatArray) -> FloatArray:
    """x, y, z, w by the largest of the four, which is never small (Shepperd 1978)."""
    m = matrices
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    # Four times the outer product of the quaternion with itself.
    outer = np.empty((*m.shape[:-2], 4, 4))
    for i in range(3):
        outer[..., i, i] = 1 + 2 * m[..., i, i] - trace
        j, k = (i + 1) % 3, (i + 2) % 3
        outer[..., i, j] = outer[..., j, i] = m[..., i, j] + m[..., j, i]
        outer[..., i, 3] = outer[..., 3, i] = m[..., k, j] - m[..., j, k]
    outer[..., 3, 3] = 1 + trace
    best = np.argmax(np.diagonal(outer, axis1=-2, axis2=-1), axis=-1)
    chosen = np.take_along_axis(outer, best[..., None, None], axis=-2)[..., 0, :]
    quaternions = _unit(chosen)
    return np.where(quaternions[..., 3:] < 0, -quaternions, quaternions)


def _real_first(values: FloatArray) -> FloatArray:
    return _quaternions(np.roll(values, -1, axis=-1))


def _as_real_first(matrices: FloatArray) -> FloatArray:
    return np.roll(_as_quaternions(matrices), 1, axis=-1)


def _about(axis: int, angles: FloatArray) -> FloatArray:
    vectors = np.zeros((*angles.shape, 3))
    vectors[..., axis] = angles
    return _rodrigues(vectors)


def _roll_pitch_yaw(values: FloatArray) -> FloatArray:
    roll, pitch, yaw = np.moveaxis(values, -1, 0)
    return _about(2, yaw) @ _about(1, pitch) @ _about(0, roll)


def _as_roll_pitch_yaw(matrices: FloatArray) -> FloatArray:
    """Where the pitch is 90 degrees, roll and yaw are one angle, given as the yaw."""
    m = matrices
    level = np.hypot(m[..., 0, 0], m[..., 1, 0])
    locked = level < _SMALL
    pitch = np.arctan2(-m[..., 2, 0], level)
    roll = np.where(locked, 0.0, np.arctan2(m[..., 2, 1], m[..., 2, 2]))
    yaw = np.where(
        locked,
        np.arctan2(-m[..., 0, 1], m[..., 1, 1]),
        np.arctan2(m[..., 1, 0], m[..., 0, 0]),
    )
    return np.stack([roll, pitch, yaw], axis=-1)


def _yaw_pitch_roll(values: FloatArray) -> FloatArray:
    return _roll_pitch_yaw(values[..., ::-1])


def _as_yaw_pitch_roll(matrices: FloatArray) -> FloatArray:
    return _as_roll_pitch_yaw(matrices)[..., ::-1]


def _rodrigues(vectors: FloatArray) -> FloatArray:
    """I + sin(a)/a K + (1 - cos(a))/a^2 K^2, with the series where the angle a is small."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    skew = np.stack(
        [np.stack(r, axis=-1) for r in ((zero, -z, y), (z, zero, -x), (-y, x, zero))], axis=-2
    )
    # sinc keeps both quotients exact down to 0.
    turned = np.linalg.norm(vectors, axis=-1)[..., None, None]
    first = np.sinc(turned / np.pi)
    second = 0.5 * np.sinc(turned / (2 * np.pi)) ** 2
    return np.eye(3) + first * skew + second * (skew @ skew)


def _axis_angles(matrices: FloatArray) -> FloatArray:
    """By the quaternion, which is exact near 0 and near 180 degrees."""
    quaternions = _as_quaternions(matrices)
    vectors, real = quaternions[..., :3], quaternions[..., 3:]
    sines = np.linalg.norm(vectors, axis=-1, keepdims=True)
    angles = 2 * np.arctan2(sines, real)
    # angle / sin(angle / 2) tends to 2.
    return vectors * np.where(sines < _SMALL, 2.0, angles / np.maximum(sines, _SMALL))


_Form = tuple[int, Callable[[FloatArray], FloatArray], Callable[[FloatArray], FloatArray]]
_FORMS: dict[Rotation, _Form] = {
    "matrix": (9, _flat_matrices, _as_flat),
    "rot6d_rows": (6, _rows_of_6d, _as_rows),
    "rot6d_columns": (6, _columns_of_6d, _as_columns),
    "quaternion_xyzw": (4, _quaternions, _as_quaternions),
    "quaternion_wxyz": (4, _real_first, _as_real_first),
    "euler_xyz": (3, _roll_pitch_yaw, _as_roll_pitch_yaw),
    "euler_zyx": (3, _yaw_pitch_roll, _as_yaw_pitch_roll),
    "axis_angle": (3, _rodrigues, _axis_angles),
}
