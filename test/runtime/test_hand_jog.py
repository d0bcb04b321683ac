# SPDX-License-Identifier: Apache-2.0
"""Joints that are led by rates and by motions of the hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.core.cartesian import Poses
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.hand_jog import HandJog

pytest.importorskip("pinocchio")
from levine_policy_node.runtime.hand_kinematics import HandKinematics

ROBOT = load_robot("sim_so101")
HAND = HandKinematics(ROBOT)
LIMITS = ROBOT.limits()


@settings(max_examples=30)
@given(st.lists(st.lists(st.floats(-3, 3), min_size=6, max_size=6), min_size=1, max_size=8))
def test_no_step_is_faster_than_the_joints_may_be_nor_leaves_their_range(twists):
    jog = HandJog(LIMITS, HAND)
    jog.begin(ROBOT.home_position())
    for twist in twists:
        before = jog.joints
        jog.by_twist(np.array(twist), 0.02)
        assert np.all(np.abs(jog.joints - before) <= 0.7 * LIMITS.velocity * 0.02 + 1e-9)
        assert not LIMITS.outside(jog.joints)


def test_the_hand_goes_where_a_twist_says_and_what_is_out_of_reach_is_said():
    jog = HandJog(LIMITS, HAND)
    jog.begin(ROBOT.home_position())
    begin = HAND.pose(jog.joints).positions
    for _ in range(20):
        jog.by_twist(np.array([0.05, 0.0, 0.05, 0.0, 0.0, 0.0]), 0.02)
    np.testing.assert_allclose(
        HAND.pose(jog.joints).positions - begin, [0.02, 0.0, 0.02], atol=1e-3
    )
    for _ in range(500):
        jog.by_twist(np.array([0.2, 0.0, 0.0, 0.0, 0.0, 0.0]), 0.02)
    assert "out of reach" in jog.problem
    stood = jog.joints
    jog.by_twist(np.array([0.2, 0.0, 0.0, 0.0, 0.0, 0.0]), 0.02)
    np.testing.assert_array_equal(jog.joints, stood)
    jog.by_twist(np.array([-0.2, 0.0, 0.0, 0.0, 0.0, 0.0]), 0.02)
    assert jog.problem == ""


def test_a_tracked_controller_is_taken_from_where_it_is():
    jog = HandJog(LIMITS, HAND)
    jog.begin(ROBOT.home_position())
    begin = HAND.pose(jog.joints).positions
    far = Poses(np.array([3.0, -2.0, 9.0]), np.eye(3))
    jog.by_pose(far, 0.02)
    np.testing.assert_allclose(HAND.pose(jog.joints).positions, begin, atol=1e-4)
    for _ in range(20):
        jog.by_pose(Poses(far.positions + np.array([0.0, 0.02, 0.0]), far.rotations), 0.02)
    np.testing.assert_allclose(
        HAND.pose(jog.joints).positions, begin + np.array([0.0, 0.02, 0.0]), atol=1e-3
    )


def test_without_kinematics_only_joints_move():
    jog = HandJog(LIMITS, None)
    jog.begin(ROBOT.home_position())
    jog.by_twist(np.ones(6), 0.02)
    np.testing.assert_array_equal(jog.joints, ROBOT.home_position())
    jog.by_rates(np.full(6, 9.0), 5.0)
    moved = np.abs(jog.joints - ROBOT.home_position())
    assert np.all(moved <= 0.7 * LIMITS.velocity * 0.1 + 1e-12)
