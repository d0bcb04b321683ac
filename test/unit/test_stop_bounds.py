# SPDX-License-Identifier: Apache-2.0
"""What cannot be stopped is known at once, and nothing else is called so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.core.jerk_profile import End, profile_timeline
from levine_policy_node.core.limits import JointLimits, first_excess
from levine_policy_node.core.ruckig_profiles import stop_profiles
from levine_policy_node.core.shaper import brake
from levine_policy_node.core.stop_bounds import may_stop, stop_distance
from levine_policy_node.core.timeline import JointPoint
from levine_policy_node.core.units import SteadyNs
from levine_policy_node.robot import load_robot

LIMITS = {name: load_robot(name).limits() for name in ("sim_so101", "fr3")}
shares = st.lists(st.floats(-1, 1), min_size=24, max_size=24)


def state(limits: JointLimits, share: list[float]) -> JointPoint:
    """A state inside the limits, often at them."""
    p, v, a = np.array(share).reshape(3, -1)[:, : len(limits.names)]
    centre, half = 0.5 * (limits.lower + limits.upper), 0.5 * (limits.upper - limits.lower)
    return JointPoint(centre + p * half, v * limits.velocity, a * limits.acceleration)


def integrated(profile, v, a):
    """Where constant jerks lead, from 0."""
    p = 0.0
    for t, j in profile:
        p += t * (v + t * (a / 2 + t * j / 6))
        v, a = v + t * (a + t * j / 2), a + t * j
    assert abs(v) < 1e-6
    assert abs(a) < 1e-6
    return p


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(sorted(LIMITS)), share=shares)
def test_the_distance_is_that_of_the_fastest_stop(name, share):
    limits = LIMITS[name]
    at = state(limits, share)
    found = stop_distance(at.velocity, at.acceleration, limits)
    wanted = stop_profiles(at, limits, straight=False)
    if wanted is None:
        return
    peak = at.velocity + at.acceleration * np.abs(at.acceleration) / (2 * limits.jerk)
    for i, profile in enumerate(wanted.joints):
        if abs(peak[i]) <= limits.velocity[i]:
            ends = integrated(profile, at.velocity[i], at.acceleration[i])
            assert abs(found[i] - ends) < 1e-6


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(sorted(LIMITS)), share=shares, part=st.sampled_from([0.5, 0.9, 1.0]))
def test_no_stop_that_exists_is_called_impossible(name, share, part):
    limits = LIMITS[name]
    at = state(limits, share)
    if may_stop(at, limits):
        stop = brake(at, limits, SteadyNs(0))
        assert stop is None or first_excess(stop, limits) is None
        return
    for straight in (True, False):
        found = stop_profiles(at, limits.scaled(part), straight=straight)
        if found is not None:
            still = np.zeros_like(at.position)
            end = End(still, still)
            stop = profile_timeline(SteadyNs(0), limits.names, at, end, found, whole=False)
            assert first_excess(stop, limits) is not None


def test_an_acceleration_that_carries_the_velocity_over_its_limit():
    limits = LIMITS["sim_so101"]
    still = np.zeros(len(limits.names))
    at = JointPoint(still, 0.9 * limits.velocity, limits.acceleration)
    assert not may_stop(at, limits)
    assert brake(at, limits, SteadyNs(0)) is None
    assert may_stop(JointPoint(still, 0.9 * limits.velocity, -limits.acceleration), limits)


def test_an_end_of_the_range_that_is_too_near():
    limits = LIMITS["sim_so101"]
    speed = 0.5 * limits.velocity
    near = limits.upper - 0.5 * stop_distance(speed, 0.0 * speed, limits)
    at = JointPoint(near, speed, 0.0 * speed)
    assert not may_stop(at, limits)
    assert brake(at, limits, SteadyNs(0)) is None


ONE = JointLimits(
    ("pan",), np.array([-1.0]), np.array([1.0]), np.array([2.0]), np.array([8.0]), np.array([80.0])
)


def at(position=0.0, velocity=0.0, acceleration=0.0) -> JointPoint:
    return JointPoint(*(np.array([value]) for value in (position, velocity, acceleration)))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_velocity_may_be_carried_to_its_limit_and_hardly_beyond(sign):
    # 4 rad/s^2 that end with 80 rad/s^3 add 0.1 rad/s.
    for velocity, may in ((1.9001, True), (1.9003, False)):
        assert may_stop(at(0.0, sign * velocity, sign * 4.0), ONE) == may
        # Against the motion they take as much from it.
        assert may_stop(at(0.0, sign * velocity, sign * -4.0), ONE)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_range_may_be_left_by_a_microradian_and_no_more(sign):
    way = float(stop_distance(np.array([1.0]), np.zeros(1), ONE)[0])
    for beyond, may in ((0.9e-6, True), (1.1e-6, False)):
        assert may_stop(at(sign * (1.0 + beyond - way), sign), ONE) == may
        assert may_stop(at(sign * (1.0 + beyond)), ONE) == may


@pytest.mark.parametrize("velocity", [1e-6, 1e-3, 0.1, 0.79])
def test_a_slow_joint_stops_with_its_jerk_alone(velocity):
    # Both halves take sqrt(v / j), and the mean of the velocity is half of it.
    way = velocity * np.sqrt(velocity / 80.0)
    for sign in (1.0, -1.0):
        found = stop_distance(np.array([sign * velocity]), np.zeros(1), ONE)
        assert found[0] == pytest.approx(sign * way, rel=1e-9)
    assert stop_distance(np.zeros(1), np.zeros(1), ONE)[0] == 0.0


@pytest.mark.parametrize("velocity", [0.81, 1.5, 2.0])
def test_a_fast_joint_stops_with_all_of_its_deceleration(velocity):
    # A ramp of 0.1 s at both ends; symmetric, so the mean velocity is again half.
    way = 0.5 * velocity * (velocity / 8.0 + 0.1)
    found = stop_distance(np.array([velocity]), np.zeros(1), ONE)
    assert found[0] == pytest.approx(way, rel=1e-9)
