# SPDX-License-Identifier: Apache-2.0
"""An ensemble weighs as ACT does, on absolute time, and leaves switching joints alone."""

import numpy as np
import pytest

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.ensemble import ensembled
from levine_policy_node.core.units import StampNs, nanoseconds

NAMES = ("arm", "gripper")
NONE = np.zeros(2, dtype=bool)


def chunk(observed_s, positions, dt=0.1):
    return ActionChunk(NAMES, StampNs(nanoseconds(observed_s)), dt, np.asarray(positions, float))


def constant(observed_s, value, rows=10):
    return chunk(observed_s, np.full((rows, 2), value))


def test_weights_are_those_of_act_oldest_first():
    k = 0.5
    found = ensembled([constant(0.0, 1.0), constant(0.1, 2.0), constant(0.2, 4.0)], k, NONE)
    w = np.exp(-k * np.arange(3))
    # Rows 0..6 are covered by all, the last two only by the newest ones.
    np.testing.assert_allclose(found.positions[0], w @ [1.0, 2.0, 4.0] / w.sum())
    np.testing.assert_allclose(found.positions[-2], w[1:] @ [2.0, 4.0] / w[1:].sum())
    np.testing.assert_allclose(found.positions[-1], 4.0)
    assert found.observed_ns == nanoseconds(0.2)


def test_what_agrees_is_not_changed_by_averaging_between_rows():
    def wave(observed_s):
        times = observed_s + 0.1 * (1 + np.arange(20))
        return chunk(observed_s, np.stack([0.3 * np.sin(times), 0.2 * np.cos(times)], axis=1))

    newest = wave(0.37)
    found = ensembled([wave(0.0), wave(0.13), newest], 0.01, NONE)
    np.testing.assert_allclose(found.positions, newest.positions, atol=2e-4)


def test_the_newest_chunk_alone_decides_about_switching_joints():
    found = ensembled([constant(0.0, 0.0), constant(0.1, 1.0)], 0.0, np.array([False, True]))
    assert found.positions[0, 0] == pytest.approx(0.5)
    assert np.array_equal(found.positions[:, 1], np.ones(10))


def test_a_single_chunk_is_itself():
    rows = np.random.default_rng(0).normal(size=(5, 2))
    assert np.array_equal(ensembled([chunk(0.0, rows)], 0.3, NONE).positions, rows)
