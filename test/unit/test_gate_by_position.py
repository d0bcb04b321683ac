# SPDX-License-Identifier: Apache-2.0
"""Single positions and limits of velocity by position: where exactly the gate trips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from levine_policy_node.core.gate import tick_trip
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.position_based_velocity import BRAKING_SHARE, PositionBasedVelocity
from levine_policy_node.core.units import SteadyNs

BY = PositionBasedVelocity(
    offset=np.array([0.1, 0.1]),
    deceleration=np.array([2.0, 2.0]),
    lower=np.array([-1.0, -1.0]),
    upper=np.array([1.0, 1.0]),
)
LIMITS = JointLimits(
    ("calm", "quick"),
    np.array([-0.99, -0.99]),
    np.array([0.99, 0.99]),
    np.array([9.0, 9.0]),
    np.array([20.0, 20.0]),
    np.array([2000.0, 2000.0]),
    BY,
)
TICK_S = 0.01
NOW = SteadyNs(5_000_000_000)
# A brake that begins in this tick may have gained a^2 / 2j.
GAINED = 20.0**2 / (2.0 * 2000.0)


def allowed(position):
    """-o + sqrt(2 d (q+ - q)), of which the gate leaves a thousandth and what was gained."""
    return (-0.1 + np.sqrt(2.0 * 2.0 * (1.0 - position))) * 1.001 + GAINED


def trip(*positions, limits=LIMITS):
    """What the gate says to the last of the positions of the second joint, 10 ms apart."""
    times = [int(NOW) - round(TICK_S * 1e9) * k for k in range(len(positions))][::-1]
    rows = [np.array([0.0, position]) for position in positions]
    return tick_trip(list(zip(times, rows, strict=True))[:-1], NOW, rows[-1], limits)


@pytest.mark.parametrize("begin", [0.5, 0.8])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_bound_is_that_of_the_position_before(begin, sign):
    slow, fast = (allowed(begin) * (1.0 + e) for e in (-1e-6, 1e-6))
    assert trip(sign * begin, sign * (begin + TICK_S * slow)) == ""
    said = trip(sign * begin, sign * (begin + TICK_S * fast))
    velocity = sign * allowed(begin)
    assert said == (
        f"quick: velocity {velocity:.4g} beyond the {abs(velocity):.4g} allowed at its position"
    )
    # Away from the end there is all the room.
    assert trip(sign * begin, sign * (begin - TICK_S * fast)) == ""


def test_what_stands_passes_even_where_nothing_is_allowed():
    narrow = replace(LIMITS, by_position=replace(BY, offset=np.array([0.1, 50.0])))
    assert trip(0.5, 0.5, limits=narrow) == ""
    assert trip(0.5, 0.5 + 0.9 * GAINED * TICK_S, limits=narrow) == ""
    assert trip(0.5, 0.5 + 1.1 * GAINED * TICK_S, limits=narrow) != ""
    assert trip(0.5, 0.5 - 1.1 * GAINED * TICK_S, limits=narrow) != ""


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_one_that_brakes_hard_enough_may_be_faster(sign):
    braking = BRAKING_SHARE * 20.0
    velocity = 1.2 * allowed(0.7)
    for share, passes in ((1.02, True), (0.98, False), (-1.0, False)):
        # The second difference is the deceleration.
        change = share * braking * TICK_S
        first = 0.7 - TICK_S * (velocity + change)
        said = trip(sign * first, sign * 0.7, sign * (0.7 + TICK_S * velocity))
        assert (said == "") == passes, said


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_one_whose_brake_sets_in_hard_enough_may_be_faster(sign):
    velocity = 1.2 * allowed(0.7)
    for share, passes in ((1.02, True), (0.98, False), (-1.0, False)):
        jerk = -share * BRAKING_SHARE * 2000.0
        # The newest third difference; the one before it has no acceleration.
        steps = np.array([velocity, velocity, velocity + jerk * TICK_S**2])
        rows = 0.7 + TICK_S * np.concatenate([[-steps[0] - steps[1], -steps[1], 0.0], steps[2:]])
        said = trip(*(sign * rows))
        assert (said == "") == passes, said


def test_the_first_tick_has_nothing_to_be_compared_with():
    assert trip(0.98) == ""
    assert trip(0.98, limits=replace(LIMITS, by_position=None)) == ""


@pytest.mark.parametrize(("order", "limit"), [(1, 9.0), (2, 20.0), (3, 2000.0)])
def test_each_difference_is_bounded_by_its_own_limit(order, limit):
    """Positions that differ only in the newest one have that difference in every order."""
    name = ("velocity", "acceleration", "jerk")[order - 1]
    unlimited = dict.fromkeys(("velocity", "acceleration", "jerk"), np.full(2, np.inf))
    free = replace(LIMITS, by_position=None, **{**unlimited, name: np.full(2, limit)})
    size = limit * TICK_S**order
    before = [0.0] * order
    near = 1e-8
    assert trip(*before, (1.0 - near) * size, limits=free) == ""
    assert trip(*before, (1.0 + near) * size, limits=free).startswith(f"quick: {name} ")
    assert trip(*before, -(1.0 + near) * size, limits=free).endswith(" beyond its limit")
