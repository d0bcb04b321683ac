# SPDX-License-Identifier: Apache-2.0
"""What a policy that takes over knows of what came before it."""

from __future__ import annotations

import numpy as np

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.action_prefix import PrefixOptions
from levine_policy_node.core.alignment import AlignmentLimits
from levine_policy_node.core.frame_store import FrameStore
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.merge import MergeOptions
from levine_policy_node.core.observation import JointSample
from levine_policy_node.core.placement import ChunkPlacer
from levine_policy_node.core.replan_rule import ReplanOptions
from levine_policy_node.core.replanner import Replanner
from levine_policy_node.core.units import StampNs, nanoseconds

T0 = 1_700_000_000_000_000_000
NAMES = ("a", "b")
WIDE = np.full(2, 3.0)
LIMITS = JointLimits(NAMES, -WIDE, WIDE, WIDE, 5 * WIDE, 50 * WIDE)


def at(time_s: float) -> StampNs:
    return StampNs(T0 + nanoseconds(time_s))


def chunk(time_s: float, value: float) -> ActionChunk:
    rows = value + 0.01 * np.arange(16)[:, None] * np.ones(2)
    return ActionChunk(NAMES, at(time_s), 0.1, rows, "policy:x@00000000#1")


def test_the_first_chunk_continues_what_the_old_policy_plays():
    options = MergeOptions(rule="blend", blend_s=0.2, smoothing_s=0.0, lead_s=0.1)
    old = ChunkPlacer(LIMITS, options)
    played = old.place(chunk(0.0, 0.0), at(0.05), playing=True)
    new = ChunkPlacer(LIMITS, options, PrefixOptions(16, 0, 0.1))
    new.continue_from(old, at(0.4))
    assert new.ends_ns == old.ends_ns
    merged = new.place(chunk(0.4, 0.3), at(0.45), playing=True)
    assert played is not None
    assert merged is not None
    joint = merged.timeline.start_ns
    for what in ("position", "velocity", "acceleration"):
        before, after = (getattr(line.timeline.sample(joint), what) for line in (played, merged))
        np.testing.assert_allclose(before, after, atol=1e-6)
    assert new.counts.chunks == 2
    # Real-time chunking knows what the old policy's timeline still plays.
    assert new.prefix(at(0.5)) is not None


def test_the_joint_states_seen_so_far_are_known():
    limits = AlignmentLimits(0.2, 0.1, 0.1, np.array([True, True]))
    store = FrameStore()
    old, new = (Replanner(store, (), limits, ReplanOptions()) for _ in range(2))
    for step in range(5):
        old.add_joint_sample(JointSample(at(0.01 * step), np.zeros(2), np.zeros(2)))
    new.continue_from(old)
    found = new.observe(at(0.041))
    assert found is not None
    assert getattr(found, "stamp_ns", None) == getattr(old.observe(at(0.041)), "stamp_ns", 1)
