# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.sim.arm import HOME_POSITION, SimArm
from levine_policy_node.sim.tasks import (
    BIN_CENTRE,
    CUBE_HALF_SIZE,
    PickPlaceTask,
    cube_position,
    cube_yaw,
    holds_cube,
)


@pytest.fixture(scope="module")
def arm():
    return SimArm()


@pytest.fixture(scope="module")
def task():
    return PickPlaceTask()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_seed_starts_a_fair_episode(arm, task, seed):
    task.reset(arm, seed)
    x, y, z = cube_position(arm)
    assert 0.16 < x < 0.26
    assert -0.14 < y < 0.04
    assert z == pytest.approx(CUBE_HALF_SIZE, abs=2e-3)
    assert abs(cube_yaw(arm)) < 0.37
    np.testing.assert_allclose(arm.joint_reading().position, HOME_POSITION, atol=0.03)
    assert not task.succeeded(arm)
    assert not task.failed(arm)
    assert not holds_cube(arm)


def test_a_seed_gives_the_same_start_every_time(arm, task):
    task.reset(arm, 7)
    first = arm.scene_state().qpos
    task.reset(arm, 8)
    assert not np.array_equal(first, arm.scene_state().qpos)
    task.reset(arm, 7)
    np.testing.assert_array_equal(first, arm.scene_state().qpos)


def put_cube(arm, x, y, z=CUBE_HALF_SIZE + 0.005):
    arm.place_object("cube", np.array([x, y, z]), 0.0)
    arm.advance(0.3)


def test_a_released_cube_in_the_bin_is_a_success(arm, task):
    task.reset(arm, 0)
    put_cube(arm, *BIN_CENTRE)
    assert task.succeeded(arm)


def test_a_cube_beside_the_bin_is_none(arm, task):
    task.reset(arm, 0)
    put_cube(arm, BIN_CENTRE[0], BIN_CENTRE[1] - 0.1)
    assert not task.succeeded(arm)


def test_a_closed_gripper_has_not_let_go(arm, task):
    task.reset(arm, 0)
    put_cube(arm, *BIN_CENTRE)
    closed = arm.setpoint
    closed[-1] = 0.1
    arm.apply(closed)
    arm.advance(1.0)
    assert not task.succeeded(arm)


@pytest.mark.parametrize("place", [(0.40, 0.0), (0.2, -0.3), (0.05, -0.15)])
def test_a_cube_out_of_reach_ends_the_episode(arm, task, place):
    task.reset(arm, 0)
    put_cube(arm, *place)
    assert task.failed(arm)
