# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.units import StampNs
from levine_policy_node.robot import load_robot
from levine_policy_node.sim.arm import HOME_POSITION, SimArm
from levine_policy_node.sim.expert import PERIOD_S, Expert, MotionLimits, advance
from levine_policy_node.sim.kinematics import ArmKinematics, HandPose
from levine_policy_node.sim.scene import JOINT_NAMES
from levine_policy_node.sim.tasks import PickPlaceTask

TICKS = 10


def period(begin: JointPoint, end: JointPoint) -> Timeline:
    return Timeline(
        JOINT_NAMES,
        StampNs(0),
        np.array([0.0, PERIOD_S]),
        np.stack([begin.position, end.position]),
        np.stack([begin.velocity, end.velocity]),
        np.stack([begin.acceleration, end.acceleration]),
    )


@pytest.mark.parametrize("seed", [3, 23, 37, 41])
def test_the_expert_succeeds_within_the_robots_limits(seed):
    arm, task, limits = SimArm(), PickPlaceTask(), load_robot("sim_so101").limits()
    expert = Expert(arm)
    task.reset(arm, seed)
    point = JointPoint.at_rest(arm.setpoint)
    expert.begin(point)
    while arm.time_s < task.horizon_s and not task.succeeded(arm):
        following = expert.act()
        motion = period(point, following)
        peaks = motion.peaks()
        assert np.all(peaks.velocity <= limits.velocity)
        assert np.all(peaks.acceleration <= limits.acceleration)
        assert np.all(peaks.jerk <= limits.jerk)
        assert np.all((following.position > limits.lower) & (following.position < limits.upper))
        for tick in range(1, TICKS + 1):
            arm.apply(motion.sample_s(tick * PERIOD_S / TICKS).position)
            arm.advance(PERIOD_S / TICKS)
        point = following
    assert task.succeeded(arm)
    assert arm.time_s < 7.0


angles = st.lists(st.floats(-1.5, 1.5, allow_subnormal=False), min_size=6, max_size=6).map(
    np.array
)


@settings(max_examples=40, deadline=None)
@given(start=angles, goals=st.lists(angles, min_size=1, max_size=4))
def test_the_approach_keeps_its_limits_and_arrives(start, goals):
    limits, point = MotionLimits(), JointPoint.at_rest(start)
    for goal in goals:
        for _ in range(60):
            following = advance(point, goal, limits)
            # Jerk is constant over a period, so acceleration is largest at its ends.
            jerk = (following.acceleration - point.acceleration) / PERIOD_S
            assert np.all(np.abs(jerk) <= limits.jerk + 1e-6)
            assert np.all(np.abs(following.acceleration) <= limits.acceleration + 1e-6)
            assert np.all(np.abs(following.velocity) <= 1.1 * limits.velocity)
            point = following
    np.testing.assert_allclose(point.position, goals[-1], atol=1e-3)


@pytest.fixture(scope="module")
def kinematics():
    return ArmKinematics()


@settings(max_examples=40, deadline=None)
@given(
    x=st.floats(0.17, 0.25, allow_subnormal=False),
    y=st.floats(-0.13, 0.03, allow_subnormal=False),
    z=st.floats(0.0175, 0.04, allow_subnormal=False),
)
def test_the_hand_reaches_the_table(kinematics, x, y, z):
    wanted = np.array([x, y, z])
    joints = kinematics.solve(HandPose(wanted, 0.0), np.array(HOME_POSITION), iterations=40)
    np.testing.assert_allclose(kinematics.grasp_point(joints), wanted, atol=0.008)
