# SPDX-License-Identifier: Apache-2.0
"""A fade starts in the given state, ends on the motion, and changes nothing after it."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.core.fade import faded
from levine_policy_node.core.spline import cubic_knots
from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.units import StampNs

START = StampNs(7_000_000_000)


def motion(rng):
    times = np.linspace(0.0, 1.0, 11)
    rows = np.cumsum(rng.normal(0, 0.05, (11, 3)), axis=0)
    return Timeline(("a", "b", "c"), START, times, rows, *cubic_knots(0.1, rows), "policy:x")


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(30, 1000))
def test_a_fade_begins_in_the_state_and_ends_on_the_motion(seed, length_ms):
    rng = np.random.default_rng(seed)
    onto = motion(rng)
    state = JointPoint(*(rng.normal(0, s, 3) for s in (0.1, 0.3, 1.0)))
    found = faded(state, onto, length_ms * 1_000_000)
    assert found.start_ns == onto.start_ns
    assert abs(found.end_ns - onto.end_ns) <= 1
    for name in ("position", "velocity", "acceleration"):
        assert np.array_equal(getattr(found.sample_s(0.0), name), getattr(state, name))
    for t in np.linspace(length_ms / 1000.0, 1.0, 21):
        got, plain = found.sample_s(float(t)), onto.sample_s(float(t))
        np.testing.assert_allclose(got.position, plain.position, atol=1e-9)
        np.testing.assert_allclose(got.acceleration, plain.acceleration, atol=1e-4)


def test_a_fade_may_be_as_long_as_the_motion():
    still = np.zeros((2, 1))
    onto = Timeline(("a",), START, np.array([0.0, 1.0]), still, still, still)
    found = faded(JointPoint.at_rest(np.array([0.2])), onto, 1_000_000_000)
    assert (found.start_ns, found.end_ns) == (onto.start_ns, onto.end_ns)
    assert found.sample_s(0.0).position[0] == 0.2
    assert found.sample_s(1.0).position[0] == 0.0


def test_the_gap_only_shrinks_from_rest_to_rest():
    still = np.zeros((2, 1))
    onto = Timeline(("a",), START, np.array([0.0, 1.0]), still, still, still)
    found = faded(JointPoint.at_rest(np.array([0.2])), onto, 400_000_000)
    positions = [found.sample_s(float(t)).position[0] for t in np.linspace(0, 1, 201)]
    assert np.all(np.diff(positions) <= 1e-12)
    assert positions[-1] == 0.0
