# SPDX-License-Identifier: Apache-2.0
"""What a policy in shadow says, beside the one that commands."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.assignment import cheapest_pairs
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.shadow import ShadowRows, accident, common_rows, implausible
from levine_policy_node.core.units import StampNs

NAMES = ("pan", "lift", "elbow", "grip")
WIDE = np.full(4, 1.5)
LIMITS = JointLimits(NAMES, -WIDE, WIDE, np.full(4, 2.0), np.full(4, 8.0), np.full(4, 80.0))
ARM = np.array([True, True, True, False])


def chunk(positions, dt_s=0.1, observed_ns=0):
    return ActionChunk(NAMES, StampNs(observed_ns), dt_s, np.asarray(positions, dtype=float))


def line(rows, dt_s, speed=1.0, since_s=0.0):
    """Joints that move along straight lines of absolute time."""
    at = since_s + (np.arange(rows) + 1) * dt_s
    return speed * at[:, None] * np.array([1.0, -0.5, 0.2, 0.0])


def test_rows_are_compared_at_their_times_whatever_the_rates():
    active = chunk(line(8, 0.1))
    candidate = chunk(line(40, 0.03, since_s=0.05), 0.03, 50_000_000)
    rows = common_rows(active, candidate, np.zeros(4))
    assert rows is not None
    assert len(rows.active) == 8
    np.testing.assert_allclose(rows.distances, 0.0, atol=1e-9)
    rows = common_rows(active, chunk(line(3, 0.1) + 0.2), np.zeros(4))
    assert rows is not None
    assert len(rows.active) == 3
    np.testing.assert_allclose(rows.distances, 0.2)


def test_chunks_without_a_common_time_cannot_be_compared():
    late = chunk(line(3, 0.1), observed_ns=5_000_000_000)
    assert common_rows(chunk(line(3, 0.1)), late, np.zeros(4)) is None


def test_targets_in_degrees_are_implausible():
    assert implausible(chunk(line(8, 0.1)), LIMITS, ARM) == ""
    assert "pan" in implausible(chunk(np.degrees(line(8, 0.1))), LIMITS, ARM)
    assert "rad/s" in implausible(chunk(line(8, 0.02, speed=10.0), 0.02), LIMITS, ARM)
    gripper = np.zeros((8, 4))
    gripper[::2, 3] = 1.5
    assert implausible(chunk(gripper), LIMITS, ARM) == ""
    assert implausible(chunk(np.zeros((1, 4))), LIMITS, ARM) == ""


def seen(active, candidate):
    return ShadowRows(active, candidate, np.zeros(4))


rows = st.integers(0, 2**32 - 1).map(
    lambda seed: np.cumsum(np.random.default_rng(seed).normal(0, 0.05, (12, 4)), axis=0)
)


@given(rows, st.floats(0.5, 2.0), st.floats(0.0, 0.02))
def test_a_policy_that_is_only_better_is_no_accident(active, factor, noise):
    other = factor * active + noise * np.sign(active)
    for absolute in (True, False):
        assert accident([seen(active, other)], NAMES, absolute=absolute) == ""


def test_a_better_policy_that_turns_another_joint_is_no_accident():
    """The one before reached to the side, this one reaches down (examples/dagger_so101)."""
    measured = np.array([0.0, -1.7, 1.2, 0.0])
    down = np.linspace(0.0, 1.0, 12)[:, None] * np.array([0.0, 0.06, 0.0, 0.0])
    aside = np.linspace(0.0, 1.0, 12)[:, None] * np.array([0.06, 0.0, 0.0, 0.0])
    rows = [ShadowRows(aside, down, measured)]
    assert accident(rows, NAMES, absolute=True) == ""
    assert "pan is like lift" in accident(rows, NAMES, absolute=False)


@given(rows)
def test_degrees_for_radians_are_seen_both_ways(active):
    degrees = seen(active, np.degrees(active))
    assert "look like degrees" in accident([degrees], NAMES, absolute=True)
    radians = seen(active, np.radians(active))
    assert "look like radians" in accident([radians], NAMES, absolute=True)


def exchanged(order):
    return {f"{NAMES[j]} is like {NAMES[k]}" for j, k in enumerate(order) if j != k}


@given(rows, st.permutations(range(4)), st.integers(0, 2**32 - 1))
def test_exchanged_motions_are_named(active, order, seed):
    noise = np.random.default_rng(seed).normal(0, 0.003, active.shape)
    rows = [seen(active, active[:, order] + noise)] * 3
    text = accident(rows, NAMES, absolute=False)
    own = np.abs(active[:, order] - active).mean(axis=0)
    if own.max() == 0.0:
        assert text == ""
    elif min(own[own > 0]) > 0.05:
        assert set(text.partition(": ")[2].split(", ")) == exchanged(order)


@given(rows, st.permutations(range(4)), st.booleans())
def test_exchanged_positions_are_named(active, order, absolute):
    measured = np.array([0.5, -0.8, 1.2, 0.0])
    placed = 0.1 * active + measured
    rows = [ShadowRows(placed - measured, placed[:, order] - measured, measured)]
    text = accident(rows, NAMES, absolute=absolute)
    assert (text != "") == (order != [0, 1, 2, 3])


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_pairs_are_the_cheapest(n, seed):
    cost = np.random.default_rng(seed).uniform(-1, 1, (n, n))
    best = min(sum(cost[i, p[i]] for i in range(n)) for p in itertools.permutations(range(n)))
    pairs = cheapest_pairs(cost)
    assert sorted(pairs) == list(range(n))
    assert sum(cost[i, pairs[i]] for i in range(n)) == pytest.approx(best)
