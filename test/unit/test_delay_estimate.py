# SPDX-License-Identifier: Apache-2.0
"""A known delay is found again, whatever the rates, the noise and the sign; noise is doubted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.core.chirp import Chirp, fitting_amplitude
from levine_policy_node.core.delay_estimate import (
    CAMERA_QUALITY,
    JOINT_QUALITY,
    Signal,
    estimate_camera_delay,
    estimate_delay,
    motion_signals,
)
from levine_policy_node.core.limits import JointLimits

CHIRP = Chirp()
LENGTH_S = CHIRP.duration_s + 3.0
SIDE = 12


def motion(times_s, delay_s=0.0):
    """The chirp, which starts 1 s after time 0, `delay_s` later."""
    return np.array([CHIRP.offset(t - 1.0 - delay_s) for t in times_s])


def stamps(rate_hz, rng, jitter=0.3):
    """Uneven but increasing times at about `rate_hz`."""
    even = np.arange(0.0, LENGTH_S, 1.0 / rate_hz)
    return even + rng.uniform(0.0, jitter / rate_hz, len(even)) + rng.uniform(0.0, 1.0 / rate_hz)


def signal(rate_hz, rng, delay_s=0.0, noise=0.0, gain=1.0, drift=0.0):
    times_s = stamps(rate_hz, rng)
    values = gain * motion(times_s, delay_s) + rng.normal(0.0, noise, len(times_s))
    return Signal(times_s, values + 0.4 + drift * times_s)


def pictures(times_s, rng, delay_s, noise=2.0):
    """A blob that moves from side to side in front of a texture, under a flickering light."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    texture = rng.uniform(60, 120, (SIDE, SIDE))
    flicker = rng.normal(0.0, 3.0, len(times_s))
    frames = []
    for offset, light in zip(motion(times_s, delay_s), flicker, strict=True):
        blob = 100 * np.exp(-((x - 0.5 - 2 * offset) ** 2 + (y - 0.5) ** 2) / 0.02)
        frames.append((texture + blob + light).ravel())
    return np.stack(frames) + rng.normal(0.0, noise, (len(times_s), SIDE * SIDE))


DELAYS = st.floats(-0.05, 0.5)
SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=40, deadline=None)
@given(DELAYS, SEEDS, st.floats(0.3, 1.2), st.floats(-0.01, 0.01))
def test_a_known_delay_is_found_to_two_milliseconds(delay_s, seed, gain, drift):
    rng = np.random.default_rng(seed)
    reference = signal(100.0, rng, noise=0.0005)
    measured = signal(100.0, rng, delay_s, noise=0.001, gain=gain, drift=drift)
    found = estimate_delay(reference, measured)
    assert found.delay_s == pytest.approx(delay_s, abs=0.002)
    assert found.quality > 0.98


@settings(max_examples=40, deadline=None)
@given(DELAYS, SEEDS, st.sampled_from([-1.0, 1.0]))
def test_fifteen_samples_a_second_give_five_milliseconds(delay_s, seed, sign):
    rng = np.random.default_rng(seed)
    reference = signal(100.0, rng, noise=0.0005)
    measured = signal(15.0, rng, delay_s, noise=0.003, gain=sign)
    found = estimate_delay(reference, measured, either_sign=True)
    assert found.delay_s == pytest.approx(delay_s, abs=0.005)
    assert found.quality > JOINT_QUALITY


def test_without_noise_the_delay_is_exact_to_a_fraction_of_a_sample():
    times_s = np.arange(0.0, LENGTH_S, 0.01)
    for delay_s in (0.0, 0.0031, 0.0877, 0.4):
        measured = Signal(times_s, motion(times_s, delay_s))
        found = estimate_delay(Signal(times_s, motion(times_s)), measured)
        assert found.delay_s == pytest.approx(delay_s, abs=2e-4)
        assert found.quality > 0.999


def test_the_opposite_direction_counts_only_where_it_is_asked_for():
    rng = np.random.default_rng(0)
    reference, mirrored = signal(100.0, rng), signal(100.0, rng, 0.05, gain=-1.0)
    assert abs(estimate_delay(reference, mirrored).delay_s - 0.05) > 0.1
    either = estimate_delay(reference, mirrored, either_sign=True)
    assert either.delay_s == pytest.approx(0.05, abs=0.002)


@settings(max_examples=15, deadline=None)
@given(DELAYS, SEEDS, st.sampled_from([15.0, 30.0]))
def test_a_camera_that_sees_the_motion_is_measured(delay_s, seed, rate_hz):
    rng = np.random.default_rng(seed)
    reference = signal(100.0, rng, noise=0.0005)
    times_s = stamps(rate_hz, rng)
    found = estimate_camera_delay(reference, times_s, pictures(times_s, rng, delay_s))
    assert found.delay_s == pytest.approx(delay_s, abs=0.005)
    assert found.quality > CAMERA_QUALITY


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.sampled_from([15.0, 30.0]), st.booleans())
def test_a_camera_that_sees_something_else_is_doubted(seed, rate_hz, other):
    rng = np.random.default_rng(seed)
    times_s = stamps(rate_hz, rng)
    frames = rng.normal(100.0, 3.0, (len(times_s), SIDE * SIDE))
    if other:  # a light that is dimmed now and then
        steps = np.repeat(rng.normal(0.0, 5.0, 6), -(-len(times_s) // 6))[: len(times_s)]
        frames += np.outer(steps, np.linspace(0.0, 1.0, SIDE * SIDE))
    reference = signal(100.0, rng, noise=0.0005)
    assert estimate_camera_delay(reference, times_s, frames).quality < CAMERA_QUALITY


def test_what_does_not_change_has_no_delay():
    rng = np.random.default_rng(0)
    reference = signal(100.0, rng)
    still = Signal(reference.times_s, np.full_like(reference.values, 0.3))
    assert estimate_delay(reference, still).quality == 0.0
    assert estimate_delay(still, reference).quality == 0.0
    times_s = stamps(15.0, rng)
    frames = np.full((len(times_s), 20), 80.0)
    assert motion_signals(frames).shape == (len(times_s), 0)
    assert estimate_camera_delay(reference, times_s, frames).quality == 0.0
    few = Signal(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    assert estimate_delay(reference, few).quality == 0.0


def test_noise_instead_of_a_motion_is_doubted():
    rng = np.random.default_rng(0)
    reference, times_s = signal(100.0, rng), stamps(100.0, rng)
    noise = Signal(times_s, rng.normal(0.0, 0.01, len(times_s)))
    assert estimate_delay(reference, noise).quality < 0.5


@pytest.mark.parametrize(
    ("times_s", "values"),
    [([0.0, 0.0], [1.0, 2.0]), ([0.0, 1.0], [1.0]), ([1.0, 0.0], [1.0, 2.0])],
)
def test_a_signal_has_one_value_per_increasing_time(times_s, values):
    with pytest.raises(ValueError, match="signal: "):
        Signal(np.array(times_s), np.array(values))


def test_a_chirp_begins_and_ends_at_rest():
    times_s = np.linspace(0.0, CHIRP.duration_s, 8001)
    offsets = np.array([CHIRP.offset(t) for t in times_s])
    assert np.max(np.abs(offsets)) == pytest.approx(CHIRP.amplitude, rel=0.02)
    speed = np.abs(np.gradient(offsets, times_s))
    assert offsets[0] == offsets[-1] == 0.0
    assert max(speed[0], speed[-1]) < 1e-3
    assert CHIRP.offset(-0.1) == CHIRP.offset(CHIRP.duration_s + 0.1) == 0.0


def test_the_amplitude_fits_the_room_and_the_speed_of_the_joint():
    limits = JointLimits(
        names=("wide", "slow"),
        lower=np.array([-1.0, -1.0]),
        upper=np.array([1.0, 1.0]),
        velocity=np.array([2.0, 0.6]),
        acceleration=np.array([8.0, 8.0]),
        jerk=np.array([80.0, 80.0]),
    )
    middle = np.zeros(2)
    assert fitting_amplitude(CHIRP, middle, limits, 0) == CHIRP.amplitude
    assert fitting_amplitude(CHIRP, np.array([0.95, 0.0]), limits, 0) == pytest.approx(0.05)
    assert fitting_amplitude(CHIRP, np.array([-0.95, 0.0]), limits, 0) == pytest.approx(0.05)
    assert fitting_amplitude(CHIRP, np.array([0.99, 0.0]), limits, 0) is None
    slow = fitting_amplitude(CHIRP, middle, limits, 1)
    assert slow is not None
    assert slow * 2 * np.pi * CHIRP.high_hz <= 0.6
