# SPDX-License-Identifier: Apache-2.0
"""Placement: which timeline a chunk continues, and what is counted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.merge import MergeOptions
from levine_policy_node.core.placement import ChunkPlacer
from levine_policy_node.core.statistics import RollingPercentiles
from levine_policy_node.core.units import StampNs

MS = 1_000_000
LIMITS = JointLimits(
    ("a",), np.array([-1.0]), np.array([1.0]), np.array([2.0]), np.array([8.0]), np.array([80.0])
)


def chunk(observed_ms, level, rows=10):
    positions = np.full((rows, 1), level) + 0.01 * np.arange(rows)[:, None]
    return ActionChunk(("a",), StampNs(observed_ms * MS), 0.1, positions, "policy:x@0#1")


@pytest.fixture
def placer():
    return ChunkPlacer(LIMITS, MergeOptions(blend_s=0.2, lead_s=0.03))


def place(placer, observed_ms, level, playing=True):
    return placer.place(
        chunk(observed_ms, level), StampNs((observed_ms + 50) * MS), playing=playing
    )


def test_while_playing_a_chunk_continues_the_last_one(placer):
    first = place(placer, 0, 0.0).timeline
    second = place(placer, 200, 0.1).timeline
    now = StampNs(250 * MS)
    np.testing.assert_allclose(second.sample(now).position, first.sample(now).position)
    assert placer.counts.chunks == 2


def test_when_the_arm_does_not_follow_a_chunk_starts_afresh(placer):
    place(placer, 0, 0.0, playing=False)
    second = place(placer, 200, 0.5, playing=False).timeline
    assert second.start_ns == 280 * MS
    assert second.sample(StampNs(second.start_ns)).position[0] == pytest.approx(0.5, abs=0.02)


def test_while_the_arm_stands_no_row_passes_however_long_the_inference_took(placer):
    now = StampNs(5_000 * MS)
    placed = placer.place(chunk(0, 0.5), now, playing=False, standing=True)
    assert placed.dropped_rows == 0
    # Row 0 comes one period after the chunk can take effect.
    first = placed.timeline.sample(StampNs(now + 130 * MS))
    assert first.position[0] == pytest.approx(0.5, abs=1e-9)


def test_reset_forgets_what_was_played(placer):
    place(placer, 0, 0.0)
    placer.reset()
    assert place(placer, 200, 0.5).timeline.start_ns == 280 * MS


def test_rows_are_kept_inside_the_joint_range(placer):
    assert np.max(place(placer, 0, 3.0).timeline.positions) <= 1.0 + 1e-9


def test_a_chunk_that_has_passed_is_counted_and_dropped(placer):
    late = placer.place(chunk(0, 0.0), StampNs(5_000 * MS), playing=True)
    assert late is None
    assert (placer.counts.late, placer.counts.dropped_rows, placer.counts.chunks) == (1, 10, 0)


def test_starving_is_told_once_per_time(placer):
    end_ns = place(placer, 0, 0.0).timeline.end_ns
    assert not placer.starves(StampNs(end_ns))
    assert placer.starves(StampNs(end_ns + 1))
    assert not placer.starves(StampNs(end_ns + 2))
    place(placer, 2_000, 0.0)
    assert placer.starves(StampNs(9_000 * MS))
    assert placer.counts.starved == 2


def test_nothing_starves_when_the_policy_does_not_have_the_arm(placer):
    place(placer, 0, 0.0, playing=False)
    assert not placer.starves(StampNs(9_000 * MS))


def test_percentiles_are_of_the_newest_values():
    rolling = RollingPercentiles(window=3)
    assert math.isnan(rolling.percentile(50))
    for value in (100.0, 1.0, 2.0, 3.0):
        rolling.add(value)
    assert rolling.percentile(50) == 2.0
    assert rolling.percentile(100) == 3.0
