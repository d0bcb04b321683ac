# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.errors import UnknownNameError
from levine_policy_node.sim.arm import HOME_POSITION
from levine_policy_node.sim.expert import PERIOD_S, MotionLimits
from levine_policy_node.sim.kinematics import ArmKinematics
from levine_policy_node.sim.reach import ReachEnvironment, ReachExpert
from levine_policy_node.sim.tasks import BASE_FRAME, TASKS, make_task


@pytest.fixture(scope="module")
def environment():
    return ReachEnvironment()


@pytest.fixture(scope="module")
def expert():
    return ReachExpert()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_goal_is_in_reach_and_away_from_the_start(environment, expert, seed):
    start = environment.reset(seed)
    hand = ArmKinematics().grasp_point(expert.posture(start.goal))
    assert np.linalg.norm(hand - start.goal) < 0.01
    assert np.linalg.norm(start.goal - ArmKinematics().grasp_point(start.position)) > 0.02
    np.testing.assert_allclose(start.position, HOME_POSITION, atol=0.03)
    assert environment.task.goal.frame == BASE_FRAME
    assert not environment.over


def test_a_seed_gives_the_same_start_and_goal_every_time(environment):
    first = environment.reset(7)
    other = environment.reset(8)
    again = environment.reset(7)
    assert not np.array_equal(first.goal, other.goal)
    np.testing.assert_array_equal(first.goal, again.goal)
    np.testing.assert_array_equal(first.position, again.position)


def test_the_expert_reaches_the_goal_and_whoever_waits_does_not(environment, expert):
    for seed in range(3):
        state = environment.reset(seed)
        posture = expert.posture(state.goal)
        while not environment.over:
            state = environment.step(expert.rows(state.position, posture, 1)[0])
        assert environment.reached
    state = environment.reset(0)
    while not environment.over:
        state = environment.step(state.position)
    assert not environment.reached


def test_passing_by_is_not_resting_there(environment, expert):
    state = environment.reset(3)
    posture, home = expert.posture(state.goal), np.array(HOME_POSITION)
    beyond = home + 2.0 * (posture - home)
    near = []
    for _ in range(8):
        state = environment.step(beyond)
        hand = ArmKinematics().grasp_point(state.position)
        near.append(np.linalg.norm(hand - state.goal) < 0.05)
        assert not environment.reached
    assert any(near)


@settings(max_examples=50, deadline=None)
@given(along=st.floats(0.0, 1.2), off=st.lists(st.floats(-0.2, 0.2), min_size=6, max_size=6))
def test_the_expert_keeps_to_its_speed_from_anywhere(expert, along, off):
    home, posture = np.array(HOME_POSITION), np.array([0.5, -0.6, 0.4, 1.0, 1.9, 1.0])
    position = home + along * (posture - home) + np.array(off)
    rows = np.vstack([position, expert.rows(position, posture, 20)])
    fastest = np.abs(np.diff(rows, axis=0)).max() / PERIOD_S
    assert fastest <= MotionLimits().velocity * 1.05


def test_a_task_that_is_none_is_refused_by_name():
    with pytest.raises(UnknownNameError, match=", ".join(sorted(TASKS))):
        make_task("juggle")
