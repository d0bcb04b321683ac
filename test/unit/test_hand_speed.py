# SPDX-License-Identifier: Apache-2.0
"""The search for a hand that is too fast finds what looking at every sample finds."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core.collision_rules import too_fast
from levine_policy_node.core.timeline import JointPoint

LENGTH = np.array([0.4, 0.3])
LIMIT = 0.5
ALLOWED = 1.01 * LIMIT


@dataclass
class PlanarHand:
    """Two links of which the hand is the end; only what the search of speeds asks for."""

    tool_speed: float = LIMIT
    hand_reach: np.ndarray = field(default_factory=lambda: np.array([0.7, 0.3]))
    looks: int = 0

    def hand_speed(self, position, velocity):
        self.looks += 1
        turn, rate = np.cumsum(position), np.cumsum(velocity)
        across = np.stack([-np.sin(turn), np.cos(turn)])
        return float(np.linalg.norm(across @ (LENGTH * rate)))


def wave(size, rates, phases, scale, samples):
    """Joints that swing, each with its own rate; velocities are the positions' own."""
    time_s = 0.01 * np.arange(samples)[:, None]
    angle = np.asarray(rates) * time_s + np.asarray(phases)
    position = np.asarray(size) * np.sin(angle)
    velocity = np.asarray(size) * np.asarray(rates) * np.cos(angle)
    return JointPoint(position, scale * velocity, np.zeros_like(position))


def judge(motion):
    """Index and peak by looking at every sample."""
    hand = PlanarHand()
    speeds = [hand.hand_speed(p, v) for p, v in zip(motion.position, motion.velocity, strict=True)]
    fast = np.flatnonzero(np.array(speeds) > ALLOWED)
    return (max(0, int(fast[0]) - 1), max(speeds)) if len(fast) else None


pairs = st.tuples(st.floats(-1.5, 1.5), st.floats(-1.5, 1.5))


def check(motion):
    found, expected = too_fast(motion, PlanarHand()), judge(motion)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert (found.index, found.peak) == (expected[0], pytest.approx(expected[1]))


@given(size=pairs, rates=pairs, phases=pairs, samples=st.integers(1, 250))
def test_it_is_what_looking_at_every_sample_finds(size, rates, phases, samples):
    check(wave(size, rates, phases, 1.0, samples))


@pytest.mark.parametrize("seed", range(40))
def test_it_is_found_where_turning_alone_makes_the_hand_fast(seed):
    # Scaled so that the fastest sample is just beyond what is allowed: there is one crossing.
    rng = np.random.default_rng(seed)
    size, rates, phases = rng.uniform(-1.5, 1.5, (3, 2))
    hand = PlanarHand()
    motion = wave(size, rates, phases, 1.0, 300)
    speeds = [hand.hand_speed(p, v) for p, v in zip(motion.position, motion.velocity, strict=True)]
    for share in (0.999, 1.001, 1.05):
        check(wave(size, rates, phases, share * ALLOWED / max(speeds), 300))


def test_an_elbow_that_opens_while_the_shoulder_turns_evenly_is_seen():
    # The shoulder's rate never changes; the hand is fast only once the elbow is nearly straight.
    samples = 200
    elbow = np.linspace(-3.0, 0.0, samples)
    position = np.stack([np.zeros(samples), elbow], axis=1)
    velocity = np.tile([0.75, 0.0], (samples, 1))
    motion = JointPoint(position, velocity, np.zeros_like(position))
    assert judge(motion) is not None
    check(motion)
    back = JointPoint(-position, velocity, np.zeros_like(position))
    check(back)


def test_a_few_looks_do_for_a_hand_that_stays_well_below():
    position = np.stack([np.zeros(200), np.full(200, -3.0)], axis=1)
    position[:, 0] = np.linspace(0.0, 0.1, 200)
    velocity = np.tile([0.75, 0.0], (200, 1))
    hand = PlanarHand()
    assert too_fast(JointPoint(position, velocity, np.zeros_like(position)), hand) is None
    # A window of 80 samples at a time.
    assert hand.looks <= 3
