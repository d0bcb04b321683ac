# SPDX-License-Identifier: Apache-2.0
"""Where the hand is, and the joints that bring it somewhere, on the URDFs that ship."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from levine_policy_node.core.cartesian import Poses
from levine_policy_node.core.inverse_kinematics import reach
from levine_policy_node.core.rotations import angle, to_matrices
from levine_policy_node.errors import ConfigError, OutOfReachError, SystemDependencyError
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.hand_kinematics import HandKinematics
from levine_policy_node.urdf import hand_joints

ROBOTS = {name: load_robot(name) for name in ("fr3", "sim_so101")}
HANDS = {name: HandKinematics(robot) for name, robot in ROBOTS.items()}
DT_S = 0.1
shares = st.lists(st.floats(0, 1), min_size=8, max_size=8)
nudges = st.lists(st.floats(-1, 1), min_size=8, max_size=8)


def place(name, share):
    """Joint positions somewhere inside the limits."""
    limits = ROBOTS[name].limits()
    return limits.lower + np.array(share[: len(limits.names)]) * (limits.upper - limits.lower)


def followed(name, poses, measured, **options):
    """Joint positions of the whole robot for a list of poses."""
    hand = HANDS[name]
    stacked = Poses(
        np.array([pose.positions for pose in poses]), np.array([pose.rotations for pose in poses])
    )
    rows = np.tile(measured, (len(poses), 1))
    rows[:, hand.joints] = hand.follow(stacked, measured, DT_S, **options)
    return rows


def misses(name, joints, pose):
    found = HANDS[name].pose(joints)
    turned = angle(pose.rotations @ found.rotations.T)
    return float(np.linalg.norm(pose.positions - found.positions)), float(turned)


def agility(name, joints):
    """Least motion of the hand for a motion of the joints; 0 at a singularity."""
    hand = HANDS[name]
    unit = np.eye(len(joints))[hand.joints]
    jacobian = np.array([hand.velocity(joints, one) for one in unit])
    return float(np.linalg.svd(jacobian, compute_uv=False)[-1])


AT_LIMITS = [0.0, 0.0, 0.25, 0.0, 0.0, 0.375, 0.0, 0.0]
ALONG_LIMITS = [0.0, 1.0, 0.0, 0.0625, 0.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize("name", ROBOTS)
@settings(max_examples=60, deadline=None)
@given(share=shares, nudge=nudges)
@example(share=AT_LIMITS, nudge=ALONG_LIMITS)
@example(share=[*AT_LIMITS[:5], 0.4375, 0.0, 0.0], nudge=ALONG_LIMITS)
def test_a_pose_that_the_arm_had_is_met_from_nearby(name, share, nudge):
    robot = ROBOTS[name]
    limits = robot.limits()
    begin = place(name, share)
    end = np.clip(begin + 0.15 * np.array(nudge[: len(begin)]), limits.lower, limits.upper)
    assume(min(agility(name, begin), agility(name, end)) > 0.02)
    pose = HANDS[name].pose(end)
    [found] = followed(name, [pose], begin)
    # With joints at their limits it may end in a corner that no step leads out of (3 of 20,000),
    # and that is near enough not to be refused.
    if np.all((found > limits.lower) & (found < limits.upper)):
        assert max(misses(name, found, pose)) < 1e-7
    assert np.all(found >= limits.lower - 1e-12)
    assert np.all(found <= limits.upper + 1e-12)


@pytest.mark.parametrize("name", ROBOTS)
@pytest.mark.parametrize("wrist", [0.375, 0.4375])
def test_a_way_along_the_limits_is_found(name, wrist):
    """Joints that would all be taken beyond their limits must not all be left out."""
    limits = ROBOTS[name].limits()
    begin = place(name, [*AT_LIMITS[:5], wrist, 0.0, 0.0])
    nudge = 0.15 * np.array(ALONG_LIMITS[: len(begin)])
    pose = HANDS[name].pose(np.clip(begin + nudge, limits.lower, limits.upper))
    [found] = followed(name, [pose], begin)
    assert max(misses(name, found, pose)) < 1e-7


@pytest.mark.parametrize("name", ROBOTS)
def test_standing_still_moves_no_more_than_the_elbow(name):
    home = ROBOTS[name].home_position()
    away = home + 0.1
    found = followed(name, [HANDS[name].pose(away)] * 3, away)
    most = 3 * 0.05 * ROBOTS[name].limits().velocity * DT_S * 1.01
    assert np.all(np.abs(found[-1] - away) <= most)
    if name == "fr3":
        assert np.abs(found[-1] - home).sum() < np.abs(away - home).sum()
    else:
        np.testing.assert_allclose(found[-1], away, atol=1e-9)


@pytest.mark.parametrize("name", ROBOTS)
def test_rows_that_follow_a_line_are_as_close_as_the_poses_are(name):
    begin = ROBOTS[name].home_position()
    pose = HANDS[name].pose(begin)
    ends = [pose.positions + np.array([0.0, 0.0, 0.002 * i]) for i in range(1, 17)]
    rows = followed(name, [Poses(p, pose.rotations) for p in ends], begin, turned=False)
    steps = np.diff(np.vstack([begin, rows]), axis=0)
    assert np.max(np.abs(steps)) < 0.05
    for row, position in zip(rows, ends, strict=True):
        assert misses(name, row, Poses(position, pose.rotations))[0] < 1e-7


def test_out_of_a_stretched_arm_and_back_into_it():
    """Stretched, no motion of the joints moves the hand outwards or, to first order, inwards."""
    robot, hand = ROBOTS["sim_so101"], HANDS["sim_so101"]
    limits = robot.limits()
    stretched = np.zeros(6)
    bent = stretched + np.array([0.0, -0.2, 0.4, -0.2, 0.0, 0.0])
    [out] = followed("sim_so101", [hand.pose(bent)], stretched)
    assert max(misses("sim_so101", out, hand.pose(bent))) < 1e-7
    [back] = followed("sim_so101", [hand.pose(stretched)], bent)
    assert max(misses("sim_so101", back, hand.pose(stretched))) < 1e-3
    assert np.all((back >= limits.lower) & (back <= limits.upper))


@pytest.mark.parametrize("name", ROBOTS)
def test_beyond_its_reach_the_arm_goes_nowhere_and_says_how_far_it_would_be(name):
    home = ROBOTS[name].home_position()
    pose = HANDS[name].pose(home)
    far = Poses(pose.positions + np.array([2.0, 0.0, 0.0]), pose.rotations)
    with pytest.raises(OutOfReachError, match=r"row 1 .* would miss it by 1\.[0-9]+ m"):
        followed(name, [pose, far], home)


def test_five_joints_meet_the_position_and_come_near_the_rotation():
    hand, home = HANDS["sim_so101"], ROBOTS["sim_so101"].home_position()
    pose = hand.pose(home)
    aside = Poses(pose.positions + np.array([0.0, 0.03, 0.01]), pose.rotations)
    [found] = followed("sim_so101", [aside], home)
    moved, turned = misses("sim_so101", found, aside)
    assert moved < 1e-7
    assert 0.01 < turned < ROBOTS["sim_so101"].hand.rotation_tolerance
    quarter = to_matrices(np.array([0.0, 0.0, 1.2]), "axis_angle")
    wrong = Poses(pose.positions, quarter @ pose.rotations)
    with pytest.raises(OutOfReachError, match=r"rad \(allowed: 0.001 m, 0.3 rad\)"):
        followed("sim_so101", [wrong], home)
    [found] = followed("sim_so101", [wrong], home, turned=False)
    assert misses("sim_so101", found, wrong)[0] < 1e-6


def test_an_arm_outside_of_its_limits_may_stay_there():
    robot, hand = ROBOTS["sim_so101"], HANDS["sim_so101"]
    outside = robot.home_position()
    outside[1] = robot.limits().lower[1] - 0.01
    [found] = followed("sim_so101", [hand.pose(outside)], outside)
    np.testing.assert_allclose(found, outside, atol=1e-9)


def test_joints_at_a_limit_are_left_out():
    """Two joints of one axis each; the first is blocked and the second makes up for it."""

    def forward(joints):
        turned = to_matrices(np.array([0.0, 0.0, np.sum(joints)]), "axis_angle")
        jacobian = np.zeros((6, 2))
        jacobian[5] = 1.0
        return np.zeros(3), turned, jacobian

    target = Poses(np.zeros(3), to_matrices(np.array([0.0, 0.0, 1.0]), "axis_angle"))
    found = reach(forward, target, np.zeros(2), np.array([-2.0, -2.0]), np.array([0.1, 2.0]))
    np.testing.assert_allclose(found.joints, [0.1, 0.9], atol=1e-9)
    assert found.rotation_error < 1e-9


def test_without_pinocchio_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pinocchio", None)
    with pytest.raises(SystemDependencyError, match=r"levine_policy_node\[cartesian\]"):
        HandKinematics(ROBOTS["fr3"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"frame": "nothing"}, "no joints lead from base to nothing in the URDF"),
        ({"base": "fr3_hand_tcp", "frame": "base"}, "no joints lead from fr3_hand_tcp to base"),
        ({"base": "fr3_link8"}, "no joint moves it"),
        ({"frame": "fr3_rightfinger"}, "fr3_finger_joint2 that move it are not in the robot file"),
    ],
)
def test_a_hand_that_is_not_at_the_end_of_the_joints_is_refused(changes, said):
    robot = ROBOTS["fr3"]
    wrong = robot.model_copy(update={"hand": robot.hand.model_copy(update=changes)})
    with pytest.raises(ConfigError, match=said):
        hand_joints(wrong)


def test_a_robot_without_a_hand_says_so():
    without = ROBOTS["fr3"].model_copy(update={"hand": None})
    with pytest.raises(ConfigError, match="hand: is missing"):
        HandKinematics(without)
