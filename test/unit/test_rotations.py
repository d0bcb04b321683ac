# SPDX-License-Identifier: Apache-2.0
"""Every form of a rotation, there and back, and as others write it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from levine_policy_node.core.cartesian import CartesianMode, Poses
from levine_policy_node.core.rotations import angle, from_matrices, to_matrices, widths

FORMS = sorted(widths())
MODES = ["absolute", "relative", "delta"]


def turns(count: int, largest: float = np.pi):
    """Rotations, shape (count, 3, 3), up to half a turn and around it."""
    numbers = st.floats(-1, 1, allow_subnormal=False)
    axes = arrays(np.float64, (count, 3), elements=numbers)
    sizes = arrays(
        np.float64,
        (count, 1),
        elements=st.one_of(
            st.floats(0, largest, allow_subnormal=False),
            st.sampled_from([0.0, 1e-9, 1e-6, np.pi / 2, np.pi - 1e-6, np.pi - 1e-9, np.pi]),
        ),
    )

    def made(axis, size):
        length = np.linalg.norm(axis, axis=1, keepdims=True)
        unit = np.where(length > 1e-3, axis / np.maximum(length, 1e-3), [[0.0, 0.0, 1.0]])
        unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
        return to_matrices(unit * size, "axis_angle")

    return st.builds(made, axes, sizes)


def poses(count: int):
    metres = arrays(np.float64, (count, 3), elements=st.floats(-2, 2, allow_subnormal=False))
    return st.builds(Poses, metres, turns(count))


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=40)
@given(matrices=turns(4))
def test_there_and_back_is_the_same_rotation(form, matrices):
    values = from_matrices(matrices, form)
    assert values.shape == (4, widths()[form])
    # Near a pitch of 90 degrees, roll and yaw keep half of their digits.
    np.testing.assert_allclose(to_matrices(values, form), matrices, atol=1e-7)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=20)
@given(matrices=turns(3))
def test_what_comes_out_is_a_rotation(form, matrices):
    again = to_matrices(from_matrices(matrices, form), form)
    np.testing.assert_allclose(again @ np.swapaxes(again, -1, -2), [np.eye(3)] * 3, atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(again), 1.0, atol=1e-9)


@given(arrays(np.float64, (6,), elements=st.floats(-1, 1, allow_subnormal=False)))
def test_any_two_vectors_with_directions_of_their_own_are_a_rotation(values):
    first, second = values[:3], values[3:]
    if np.linalg.norm(np.cross(first, second)) < 1e-3:
        return
    columns = to_matrices(values, "rot6d_columns")
    np.testing.assert_allclose(columns @ columns.T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(columns[:, 0] * np.linalg.norm(first), first, atol=1e-9)
    np.testing.assert_array_equal(to_matrices(values, "rot6d_rows"), columns.T)


def test_rows_are_not_columns():
    quarter = to_matrices(np.array([0.0, 0.0, np.pi / 2]), "axis_angle")
    rows = from_matrices(quarter, "rot6d_rows")
    columns = from_matrices(quarter, "rot6d_columns")
    np.testing.assert_allclose(rows, [0, -1, 0, 1, 0, 0], atol=1e-9)
    np.testing.assert_allclose(columns, [0, 1, 0, -1, 0, 0], atol=1e-9)
    mixed = to_matrices(rows, "rot6d_columns")
    np.testing.assert_allclose(angle(mixed @ quarter.T), np.pi, atol=1e-6)


def test_known_values():
    half = np.sqrt(0.5)
    np.testing.assert_allclose(
        to_matrices(np.array([0.0, 0.0, half, half]), "quaternion_xyzw"),
        [[0, -1, 0], [1, 0, 0], [0, 0, 1]],
        atol=1e-12,
    )
    np.testing.assert_allclose(
        to_matrices(np.array([2 * half, 0.0, 0.0, 2 * half]), "quaternion_wxyz"),
        [[0, -1, 0], [1, 0, 0], [0, 0, 1]],
        atol=1e-12,
    )
    # Roll first, about the fixed axes: x stays, y goes to z, then yaw turns x to y.
    turned = to_matrices(np.array([np.pi / 2, 0.0, np.pi / 2]), "euler_xyz")
    np.testing.assert_allclose(turned, [[0, 0, 1], [1, 0, 0], [0, 1, 0]], atol=1e-12)
    np.testing.assert_allclose(
        to_matrices(np.array([0.3, 0.2, 0.1]), "euler_zyx"),
        to_matrices(np.array([0.1, 0.2, 0.3]), "euler_xyz"),
    )


@pytest.mark.parametrize(
    ("form", "values"),
    [
        ("rot6d_rows", np.zeros(6)),
        ("rot6d_columns", np.array([1.0, 0, 0, 2.0, 0, 0])),
        ("quaternion_xyzw", np.zeros(4)),
        ("quaternion_wxyz", np.array([np.nan, 0, 0, 1])),
        ("matrix", np.diag([1.0, 1.0, -1.0]).ravel()),
        ("matrix", np.ones(9)),
        ("axis_angle", np.zeros(4)),
    ],
)
def test_what_is_no_rotation_is_refused(form, values):
    with pytest.raises(ValueError, match=r"rotation|finite numbers"):
        to_matrices(values, form)


@pytest.mark.parametrize("in_body", [(False, False), (True, True), (True, False)])
@pytest.mark.parametrize("position", MODES)
@pytest.mark.parametrize("rotation", MODES)
@settings(max_examples=10)
@given(rows=poses(4), start=poses(1))
def test_poses_and_back_is_the_identity(position, rotation, in_body, rows, start):
    begin = Poses(start.positions[0], start.rotations[0])
    mode = CartesianMode(position, rotation, *in_body)
    again = mode.rows(mode.poses(rows, begin), begin)
    np.testing.assert_allclose(again.positions, rows.positions, atol=1e-9)
    np.testing.assert_allclose(again.rotations, rows.rotations, atol=1e-9)


def test_relative_rows_start_from_one_pose_and_steps_from_the_row_before():
    yaw = to_matrices(np.array([0.0, 0.0, np.pi / 2]), "axis_angle")
    start = Poses(np.array([1.0, 0.0, 0.0]), yaw)
    rows = Poses(np.tile([1.0, 0.0, 0.0], (2, 1)), np.stack([yaw, yaw]))
    relative = CartesianMode("relative", "relative").poses(rows, start)
    np.testing.assert_allclose(relative.positions, [[2, 0, 0], [2, 0, 0]])
    np.testing.assert_allclose(angle(relative.rotations), [np.pi, np.pi])
    steps = CartesianMode("delta", "delta", moved_in_body=True, turned_in_body=True).poses(
        rows, start
    )
    # Forward, turn left, forward: the body looks along y, then along -x.
    np.testing.assert_allclose(steps.positions, [[1, 1, 0], [0, 1, 0]], atol=1e-12)
    np.testing.assert_allclose(angle(steps.rotations), [np.pi, np.pi / 2])


def test_an_empty_chunk_has_no_poses():
    none = Poses(np.zeros((0, 3)), np.zeros((0, 3, 3)))
    start = Poses(np.zeros(3), np.eye(3))
    made = CartesianMode("delta", "delta").poses(none, start)
    assert made.positions.shape == (0, 3)
    assert made.rotations.shape == (0, 3, 3)
