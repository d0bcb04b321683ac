# SPDX-License-Identifier: Apache-2.0
"""Wilson interval: published values, and it always holds the rate."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core.success_rate import wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Values of R, whose prop.test without correction gives this interval.
    [(91, 100, 0.838, 0.952), (0, 10, 0.0, 0.278), (10, 10, 0.722, 1.0)],
)
def test_known_values(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=6e-4)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_holds_the_rate(counts):
    low, high = wilson_interval(*counts)
    assert 0 <= low <= counts[0] / counts[1] + 1e-12
    assert counts[0] / counts[1] - 1e-12 <= high <= 1


@pytest.mark.parametrize("counts", [(0, 0), (2, 1), (-1, 3)])
def test_nonsense_is_refused(counts):
    with pytest.raises(ValueError, match="trials"):
        wilson_interval(*counts)
