# SPDX-License-Identifier: Apache-2.0
"""Smoothing keeps lines, ends and phase, removes noise, and can be switched off exactly."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core.smoothing import smoothed


@given(st.integers(1, 60), st.floats(0.01, 0.2), st.integers(0, 10**6))
def test_sigma_zero_changes_nothing(rows, dt_s, seed):
    values = np.random.default_rng(seed).normal(size=(rows, 3))
    assert np.array_equal(smoothed(values, dt_s, np.zeros(3)), values)
    mixed = smoothed(values, dt_s, np.array([0.1, 0.0, 0.1]))
    assert np.array_equal(mixed[:, 1], values[:, 1])


@given(st.integers(1, 60), st.floats(0.01, 0.2), st.floats(0.01, 0.3), st.floats(-2, 2))
def test_a_straight_line_stays_straight(rows, dt_s, sigma_s, slope):
    line = slope * np.arange(rows)[:, None] * np.ones((1, 2)) + 0.3
    np.testing.assert_allclose(smoothed(line, dt_s, np.full(2, sigma_s)), line, atol=1e-9)


@given(st.integers(2, 60), st.floats(0.02, 0.3), st.integers(0, 10**6))
def test_the_ends_stay_and_time_has_no_direction(rows, sigma_s, seed):
    values = np.random.default_rng(seed).normal(size=(rows, 1))
    sigma = np.array([sigma_s])
    forward = smoothed(values, 0.04, sigma)
    backward = smoothed(values[::-1], 0.04, sigma)[::-1]
    np.testing.assert_allclose(forward, backward, atol=1e-12)
    np.testing.assert_allclose(forward[[0, -1]], values[[0, -1]], atol=1e-12)


def test_noise_goes_and_motion_stays():
    times = 0.04 * np.arange(50)
    motion = 0.4 * np.sin(2.0 * times)[:, None]
    noise = np.random.default_rng(0).normal(0, 0.01, motion.shape)
    found = smoothed(motion + noise, 0.04, np.array([0.06]))
    kinks = (
        np.diff(found[5:-5], 3, axis=0).std() / np.diff((motion + noise)[5:-5], 3, axis=0).std()
    )
    assert kinks < 0.1
    assert np.abs(found - motion).max() < 0.02
