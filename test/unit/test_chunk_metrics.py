# SPDX-License-Identifier: Apache-2.0
"""The seam benchmark's ruler and its policy: known commands give known figures."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.bench.chunk_metrics import find_lag, measure_arm, measure_gripper
from levine_policy_node.bench.chunk_stream import Motion, Played, PolicyStream, StreamSpec
from levine_policy_node.bench.docs_section import markdown_table, replace_section

MOTION = Motion(6, seed=5)
TIMES_S = 2.0 + np.arange(2000) / 100.0


def played(arm, gripper=None, starved=None):
    gripper = MOTION.gripper(TIMES_S) if gripper is None else gripper
    starved = np.zeros(len(TIMES_S), dtype=bool) if starved is None else starved
    return Played(TIMES_S, np.column_stack([arm, gripper]), starved)


@pytest.mark.parametrize("seed", range(4))
def test_the_motion_is_as_fast_as_it_says(seed):
    times_s = np.arange(6000) / 100.0
    metrics = measure_arm(
        Played(
            times_s,
            np.column_stack([Motion(6, seed).arm(times_s), np.zeros(6000)]),
            np.zeros(6000, dtype=bool),
        ),
        Motion(6, seed),
    )
    assert metrics.rms_accel == pytest.approx(1.21, rel=0.1)
    assert metrics.rms_jerk == pytest.approx(3.2, rel=0.1)


def test_the_motion_itself_is_without_error():
    metrics = measure_arm(played(MOTION.arm(TIMES_S)), MOTION)
    assert metrics.rmse_mrad == 0.0
    assert metrics.max_step_mrad == 0.0
    assert metrics.lag_ms == pytest.approx(0.0, abs=0.1)
    assert metrics.starved_pct == 0.0


@given(delay_s=st.floats(-0.5, 0.5))
def test_the_lag_is_the_delay_between_the_ticks_too(delay_s):
    lag_s = find_lag(MOTION.arm(TIMES_S - delay_s), TIMES_S, MOTION)
    assert lag_s == pytest.approx(delay_s, abs=2e-4)


def test_the_error_of_shape_is_what_remains_without_the_lag():
    random = np.random.default_rng(1)
    noisy = MOTION.arm(TIMES_S - 0.1) + random.normal(0.0, 0.01, (len(TIMES_S), 6))
    metrics = measure_arm(played(noisy), MOTION)
    assert metrics.lag_ms == pytest.approx(100.0, abs=3.0)
    assert metrics.shape_rmse_mrad == pytest.approx(10.0, rel=0.1)
    assert metrics.rmse_mrad > 40.0


def test_a_parabola_has_its_acceleration_and_a_cubic_its_jerk():
    t = TIMES_S - TIMES_S[0]
    assert measure_arm(played(np.outer(t**2, np.ones(6))), MOTION).rms_accel == pytest.approx(2.0)
    jerk = measure_arm(played(np.outer(t**3, np.ones(6))), MOTION).rms_jerk
    assert jerk == pytest.approx(6.0, rel=1e-3)


def test_one_step_is_the_largest():
    command = MOTION.arm(TIMES_S)
    command[700:, 2] += 0.05
    metrics = measure_arm(played(command), MOTION)
    assert metrics.max_step_mrad == pytest.approx(50.0, abs=0.1)


def test_starved_ticks_are_counted():
    starved = np.arange(len(TIMES_S)) < 100
    assert measure_arm(played(MOTION.arm(TIMES_S), starved=starved), MOTION).starved_pct == 5.0


def test_a_gripper_that_switches_late_is_late_and_not_smeared():
    metrics = measure_gripper(
        played(MOTION.arm(TIMES_S), gripper=MOTION.gripper(TIMES_S - 0.08)), MOTION
    )
    assert metrics.gripper_late_ms == pytest.approx(80.0, abs=10.0)
    assert metrics.gripper_smear_ms == 0.0
    assert metrics.gripper_crossings == 1.0
    assert metrics.gripper_overshoot_pct == 0.0


def test_an_averaged_gripper_is_smeared():
    kernel = np.ones(30) / 30
    smeared = np.convolve(MOTION.gripper(TIMES_S), kernel, mode="same")
    metrics = measure_gripper(played(MOTION.arm(TIMES_S), gripper=smeared), MOTION)
    assert metrics.gripper_smear_ms == pytest.approx(270.0, abs=20.0)


def test_a_gripper_that_never_switches_is_as_late_as_can_be():
    still = np.zeros(len(TIMES_S))
    metrics = measure_gripper(played(MOTION.arm(TIMES_S), gripper=still), MOTION)
    assert metrics.gripper_late_ms == pytest.approx(600.0)
    assert metrics.gripper_crossings == 0.0


def test_the_same_seed_gives_the_same_errors_whenever_they_are_asked_for():
    spec = replace(StreamSpec(), tracking_lag_s=0.0)
    errors = []
    for observed_s in (1.0, 7.3):
        stream = PolicyStream(spec, seed=3)
        chunk = stream.observe(observed_s)
        errors.append(chunk.rows[:, :6] - stream.motion.arm(chunk.times_s))
    np.testing.assert_allclose(errors[0], errors[1], atol=1e-12)


def test_a_chunk_starts_where_a_trailing_arm_was_and_ends_on_the_motion():
    spec = replace(StreamSpec(), bias_rad=0.0, noise_rad=0.0)
    stream = PolicyStream(spec, seed=3)
    chunk = stream.observe(4.0)
    motion = stream.motion.arm(np.array([4.0 - spec.tracking_lag_s, chunk.times_s[-1]]))
    np.testing.assert_allclose(chunk.rows[0, :6], motion[0], atol=1e-12)
    np.testing.assert_allclose(chunk.rows[-1, :6], motion[1], atol=1e-4)
    assert chunk.rows.shape == (50, 7)
    assert abs(chunk.arrival_s - 4.0 - spec.latency_s) <= spec.jitter_s
    assert set(chunk.rows[:, -1]) <= {0.0, 1.0}


def test_a_generated_section_is_replaced_and_the_rest_kept():
    text = replace_section("# Title\n\nby hand\n", "bench x", "first")
    again = replace_section(text + "\nmore by hand\n", "bench x", "second")
    assert "by hand" in again
    assert "more by hand" in again
    assert "second" in again
    assert "first" not in again
    other = replace_section(again, "bench y", "third")
    assert other.index("second") < other.index("third")


def test_a_table_has_one_line_per_row():
    assert markdown_table(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | --: |\n| x | 1 |"


def test_the_gripper_needs_a_switch_in_sight():
    motion = Motion(1, seed=0)
    times_s = motion.switches_s[0] + 0.2 + np.arange(50) / 100.0
    command = np.zeros((50, 2))
    metrics = measure_gripper(Played(times_s, command, np.zeros(50, dtype=bool)), motion)
    assert math.isnan(metrics.gripper_late_ms)
