# SPDX-License-Identifier: Apache-2.0
"""Floods are told quickly; what only piled up is none. Clocks are compared by the least delay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core.clock_skew import ClockSkew
from levine_policy_node.core.message_rate import MessageRate
from levine_policy_node.core.units import SteadyNs

MS = 1_000_000
BEGIN = 50_000 * MS


def flooded_after(rate_hz: float, agreed_hz: float, seconds: float = 2.0) -> float | None:
    """How long messages at this rate take until they are told to be too many [s]."""
    rate = MessageRate("joint_states", agreed_hz)
    for number in range(round(rate_hz * seconds)):
        now = SteadyNs(BEGIN + round(number / rate_hz * 1e9))
        rate.add(1, now)
        if rate.flood(now):
            return number / rate_hz
    return None


@pytest.mark.parametrize("agreed_hz", [50.0, 100.0, 500.0])
def test_ten_times_and_four_times_the_rate_are_told_in_time(agreed_hz):
    assert flooded_after(10.0 * agreed_hz, agreed_hz) <= 0.05
    assert flooded_after(4.0 * agreed_hz, agreed_hz) <= 0.2


@pytest.mark.parametrize("factor", [0.2, 1.0, 2.9])
def test_up_to_three_times_the_rate_is_no_flood(factor):
    assert flooded_after(factor * 100.0, 100.0) is None


@given(st.lists(st.floats(0.001, 3.0), max_size=40), st.floats(1.0, 500.0))
def test_what_piled_up_during_a_stall_is_no_flood(stalls, agreed_hz):
    rate, now, sent = MessageRate("x", agreed_hz), BEGIN, 0
    assert rate.add(1, SteadyNs(now))
    for stall_s in stalls:
        now += round(stall_s * 1e9)
        total = int((now - BEGIN) / 1e9 * agreed_hz)
        assert rate.add(total - sent, SteadyNs(now))
        sent = total
    assert rate.flood(SteadyNs(now)) == ""


def test_a_flood_is_over_half_a_second_after_it_ended():
    rate = MessageRate("policy/heartbeat", 100.0)
    for number in range(100):
        rate.add(1, SteadyNs(BEGIN + number * MS // 10))
    last = BEGIN + 10 * MS
    assert rate.flood(SteadyNs(last)) == "policy/heartbeat: more than 300 messages per second"
    assert rate.flood(SteadyNs(last + 510 * MS)) == ""
    assert rate.add(1, SteadyNs(last + 510 * MS))


@given(st.floats(-2.0, 2.0), st.lists(st.floats(0.0, 0.3), min_size=20, max_size=64))
def test_the_distance_of_clocks_is_never_overestimated_by_delays(skew_s, delays):
    skew = ClockSkew("joint_states", 0.05)
    for delay_s in delays:
        skew.add(round((skew_s + delay_s) * 1e9))
    assert skew.estimate_s == pytest.approx(skew_s + min(delays), abs=1e-8)


def test_little_is_known_from_few_messages():
    skew = ClockSkew("joint_states", 0.05)
    for _ in range(9):
        skew.add(300 * MS)
    assert skew.problem() == ""
    assert skew.unknown() == "joint_states: too few messages yet to compare clocks by"
    skew.add(300 * MS)
    assert skew.unknown() == ClockSkew("joint_states", 0.05).unknown() == ""
    assert skew.problem() == (
        "the clock that stamps joint_states is 300 ms behind this one (limit 50 ms): "
        "synchronise them"
    )
    for _ in range(64):
        skew.add(-80 * MS)
    assert "80 ms ahead of" in skew.problem()
