# SPDX-License-Identifier: Apache-2.0
"""What a policy with a memory sees, in time and not in inferences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core.history_axis import HistoryAxis
from levine_policy_node.core.moments import Moments
from levine_policy_node.core.observation import Observation
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import ObservationError

PERIOD_NS = 100_000_000


def seen(period: float, past: tuple[float, ...] = ()) -> Observation:
    """An observation whose joints say when it was made, in periods."""
    return Observation(
        StampNs(round(period * PERIOD_NS)),
        np.array([float(period)]),
        past=tuple(seen(other) for other in past),
    )


def times(moments) -> list[float]:
    return [float(m.observation.joint_positions[0]) for m in moments]


def test_moments_are_one_period_apart_and_begin_with_the_first_observation():
    memory = Moments(3, 0.1, 1)
    assert [times(memory.recall(seen(k))) for k in range(5)] == [
        [0],
        [0, 1],
        [0, 1, 2],
        [1, 2, 3],
        [2, 3, 4],
    ]
    memory.reset()
    now = memory.recall(seen(5))
    assert times(now) == [5]
    assert now[0].step == 0


def test_what_was_measured_between_inferences_is_seen():
    memory = Moments(2, 0.1, 1)
    memory.recall(seen(0))
    assert times(memory.recall(seen(8, past=(6.1, 7.1)))) == [7.1, 8]


def test_nothing_from_before_the_policy_took_over_is_seen():
    memory = Moments(3, 0.1, 1)
    assert times(memory.recall(seen(8, past=(6, 7)))) == [8]
    assert times(memory.recall(seen(9, past=(6, 7)))) == [8, 9]


def test_a_hole_in_the_past_is_no_observation():
    memory = Moments(2, 0.1, 1)
    memory.recall(seen(0))
    with pytest.raises(ObservationError, match=r"nothing was observed 0\.1 s ago"):
        memory.recall(seen(8))


def test_a_clock_that_goes_back_begins_again():
    memory = Moments(2, 0.1, 1)
    memory.recall(seen(9))
    assert times(memory.recall(seen(1))) == [1]


def test_the_last_action_is_the_row_that_was_due():
    memory = Moments(1, 0.1, 2)
    np.testing.assert_array_equal(memory.recall(seen(0))[0].previous, [0, 0])
    rows = np.arange(8.0)[:, None] * np.ones(2)
    memory.played(StampNs(0), rows)
    assert [memory.recall(seen(k))[0].previous[0] for k in (1, 3.1, 4, 20)] == [0, 2, 3, 7]
    memory.played(StampNs(4 * PERIOD_NS), rows + 100)
    assert [memory.recall(seen(k))[0].previous[0] for k in (20.1, 21)] == [107, 107]
    memory.reset()
    assert memory.recall(seen(30))[0].previous[0] == 0


@given(
    st.integers(1, 6),
    st.lists(st.floats(0.05, 0.95), min_size=1, max_size=40),
)
def test_moments_are_near_their_times_whatever_the_jitter(steps, jitter):
    """Inferences come when frames do, a fraction of a period early or late."""
    memory = Moments(steps, 0.1, 1)
    for k, fraction in enumerate(jitter):
        now = k + 0.4 * fraction
        recalled = memory.recall(seen(now))
        memory.played(StampNs(round(now * PERIOD_NS)), np.full((1, 1), float(k)))
        assert 1 <= len(recalled) <= steps
        assert len(recalled) <= k + 1
        backs = np.arange(len(recalled))[::-1]
        assert np.all(np.abs(np.array(times(recalled)) - (now - backs)) <= 1.0)
        assert [m.step for m in recalled] == list(recalled[-1].step - backs)
        if k > 0:
            assert recalled[-1].previous[0] == k - 1


MOMENTS = [np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0])]


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        (HistoryAxis(3), [[[1, 2, 3], [1, 2, 3], [4, 5, 6]]]),
        (HistoryAxis(3, pad="zero"), [[[0, 0, 0], [1, 2, 3], [4, 5, 6]]]),
        (HistoryAxis(3, "flat"), [[1, 2, 3, 1, 2, 3, 4, 5, 6]]),
        (HistoryAxis(2, "flat", widths=(1, 2)), [[1, 4, 2, 3, 5, 6]]),
    ],
)
def test_moments_lie_in_a_tensor_oldest_first(axis, expected):
    made = axis.tensor(MOMENTS)
    np.testing.assert_array_equal(made, expected)
    assert axis.shape((3,)) == made.shape


@pytest.mark.parametrize("channel", [0, 2])
def test_images_are_stacked_on_their_channels(channel):
    axis = HistoryAxis(2, "channel", channel=channel)
    shape = (3, 4, 5) if channel == 0 else (4, 5, 3)
    images = [np.full(shape, value, dtype=np.uint8) for value in (1, 2)]
    made = axis.tensor(images)
    assert made.shape == axis.shape(shape)
    assert made.dtype == np.uint8
    first = np.take(made[0], [0, 1, 2], axis=channel)
    np.testing.assert_array_equal(first, images[0])


@given(st.integers(1, 20), st.integers(1, 20))
def test_the_mask_says_what_is_padded(steps, count):
    count = min(steps, count)
    seen_steps = HistoryAxis(steps).seen(count)
    assert seen_steps.shape == (steps,)
    assert seen_steps.sum() == count
    assert np.all(np.diff(seen_steps.astype(int)) >= 0)
