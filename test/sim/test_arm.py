# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from levine_policy_node.robot import load_robot
from levine_policy_node.sim.arm import HOME_POSITION, ArmOptions, SimArm

HOME = np.array(HOME_POSITION)


def ramp(arm: SimArm, goal: np.ndarray, duration_s: float = 1.0) -> None:
    start, ticks = arm.setpoint, round(duration_s / 0.01)
    for tick in range(1, ticks + 1):
        arm.apply(start + (goal - start) * tick / ticks)
        arm.advance(0.01)


def test_starts_at_rest_at_home():
    arm = SimArm()
    reading = arm.joint_reading()
    assert arm.time_s == 0.0
    np.testing.assert_array_equal(reading.position, HOME)
    np.testing.assert_array_equal(reading.velocity, 0.0)
    np.testing.assert_array_equal(arm.setpoint, HOME)


def test_home_is_inside_the_soft_limits():
    limits = load_robot("sim_so101").limits()
    assert np.all((limits.lower < HOME) & (limits.upper > HOME))


def test_holds_its_setpoint_against_gravity():
    arm = SimArm()
    arm.advance(2.0)
    np.testing.assert_allclose(arm.joint_reading().position, HOME, atol=0.01)


def test_follows_a_ramp_and_reaches_its_end():
    arm = SimArm()
    goal = HOME + np.array([0.4, 0.2, -0.2, -0.3, 0.5, -0.4])
    ramp(arm, goal)
    assert np.abs(arm.joint_reading().velocity).max() > 0.1
    arm.advance(0.5)
    np.testing.assert_allclose(arm.joint_reading().position, goal, atol=0.02)


def test_time_advances_by_what_was_asked_however_it_is_cut():
    arm = SimArm()
    for _ in range(300):
        arm.advance(0.0033)
    assert arm.time_s == pytest.approx(0.99, abs=0.0011)


def test_an_advance_shorter_than_a_step_is_carried_over():
    arm = SimArm()
    arm.advance(0.0005)
    assert arm.time_s == 0.0
    arm.advance(0.0015)
    assert arm.time_s == pytest.approx(0.002)


def test_two_runs_are_bit_identical():
    readings = []
    for _ in range(2):
        arm = SimArm(ArmOptions(encoder_noise_rad=0.01))
        arm.reset(5)
        ramp(arm, HOME + 0.2)
        readings.append(arm.joint_reading().position)
    np.testing.assert_array_equal(*readings)


def test_reset_forgets_everything_before_it():
    arm = SimArm()
    ramp(arm, HOME + 0.2)
    used = arm.joint_reading().position
    arm.reset(0)
    assert arm.time_s == 0.0
    ramp(arm, HOME + 0.2)
    np.testing.assert_array_equal(arm.joint_reading().position, used)


def test_encoder_noise_follows_the_seed_and_has_its_size():
    arm = SimArm(ArmOptions(encoder_noise_rad=0.01))
    arm.reset(1)
    first = np.array([arm.joint_reading().position for _ in range(200)])
    arm.reset(2)
    assert not np.array_equal(first[0], arm.joint_reading().position)
    np.testing.assert_allclose(first.std(axis=0), 0.01, rtol=0.3)


def test_friction_makes_the_arm_lag():
    lags = []
    for scale in (1.0, 3.0):
        arm = SimArm(ArmOptions(friction_scale=scale))
        goal = HOME + np.array([0.8, 0.0, 0.0, 0.0, 0.0, 0.0])
        ramp(arm, goal, 0.5)
        lags.append(goal[0] - arm.joint_reading().position[0])
    assert lags[1] > 2 * lags[0] > 0


def test_snapshots_are_copies():
    arm = SimArm()
    state, reading, setpoint = arm.scene_state(), arm.joint_reading(), arm.setpoint
    ramp(arm, HOME + 0.2)
    assert state.time_s == 0.0
    np.testing.assert_array_equal(reading.position, HOME)
    np.testing.assert_array_equal(setpoint, HOME)
    assert not np.array_equal(state.qpos, arm.scene_state().qpos)


def test_the_setpoint_is_not_an_alias_of_the_callers_array():
    arm = SimArm()
    wanted = HOME.copy()
    arm.apply(wanted)
    wanted += 1.0
    np.testing.assert_array_equal(arm.setpoint, HOME)


def test_a_copied_state_moves_on_alike():
    arm, copy = SimArm(), SimArm()
    ramp(arm, HOME + 0.1)
    copy.copy_state(arm)
    for each in (arm, copy):
        ramp(each, HOME - 0.1)
    np.testing.assert_array_equal(arm.scene_state().qpos, copy.scene_state().qpos)
    assert arm.time_s == copy.time_s
