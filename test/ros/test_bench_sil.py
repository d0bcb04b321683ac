# SPDX-License-Identifier: Apache-2.0
"""How the fault campaign judges real processes; the campaign itself is `levine bench sil`."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from levine_policy_node.bench import sil_faults, sil_hosts
from levine_policy_node.bench.bad_link import Quality, TwoHosts, inside, why_not
from levine_policy_node.bench.residual_motion import residual_ratios
from levine_policy_node.bench.sil_cases import CannotRunHereError, SilCase, Trial
from levine_policy_node.bench.sil_world import SilWorld
from levine_policy_node.core.quintic import JointPoint
from levine_policy_node.core.shaper import brake
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import UnknownNameError
from levine_policy_node.robot import load_robot

LIMITS = load_robot("sim_so101").limits()


def case(run, limit_ms=100.0, percentile=100.0, **more):
    return SilCase((30,), "a fault", limit_ms, run, percentile, **more)


def summed(trials, **more):
    return sil_faults.summed("name", case(None, **more), trials)


def test_a_late_reaction_fails_and_a_missing_one_too():
    row = summed([Trial(50.0), Trial(101.0), Trial(None, "went on"), Trial(20.0)])
    assert (row.trials, row.failed) == (4, 2)
    assert row.reaction_ms_max == 101.0
    assert row.problems == ("went on",)
    assert summed([Trial(None)]).failed == 1
    assert summed([Trial(None)], limit_ms=None).failed == 0


def test_a_percentile_lets_one_in_a_hundred_be_late():
    trials = [Trial(10.0)] * 199 + [Trial(120.0)]
    assert summed(trials, percentile=99.0).failed == 0
    assert summed(trials).failed == 1


def test_the_worst_of_what_else_was_measured_is_kept():
    row = summed([Trial(1.0, figures={"ratio": 0.5}), Trial(1.0, figures={"ratio": 0.75})])
    assert row.figures == {"ratio": 0.75}


def test_unknown_cases_are_refused():
    with pytest.raises(UnknownNameError, match="policy_killed"):
        sil_faults.run(1, only=["policy_kiled"])


def test_what_cannot_run_here_is_skipped_with_the_reason(monkeypatch):
    def refuse(options, folder):
        raise CannotRunHereError("no root")

    monkeypatch.setattr(sil_faults, "CASES", {"some": case(None, opened=refuse)})
    [row] = sil_faults.run(3)
    assert (row.trials, row.failed, row.skipped) == (0, 0, "no root")


@pytest.mark.parametrize("speed", [0.2, 1.0, 2.0])
def test_a_brake_that_begins_at_the_horizon_goes_as_far_as_it_may(speed):
    velocity = np.zeros(len(LIMITS.names))
    velocity[1] = speed
    start = JointPoint(np.zeros_like(velocity), velocity, np.zeros_like(velocity))
    tail = brake(start, LIMITS, StampNs(0))
    # Up to the horizon at that speed, then the brake: the limit itself.
    ratio, plain = residual_ratios(tail, round(-0.1e9), -1, LIMITS)
    horizon = 0.1 * speed
    far = float(np.abs(tail.positions[-1] - tail.positions[0]).max())
    bound = horizon + speed**2 / (2 * 8.0)
    assert ratio == pytest.approx(far / (bound + speed * 8.0 / (2 * 80.0)), abs=0.02)
    assert plain == pytest.approx(far / bound, abs=0.02)
    assert far + horizon <= 1.05 * (bound + speed * 8.0 / (2 * 80.0))
    assert residual_ratios(tail, round(-0.1e9), tail.end_ns, LIMITS) == (0.0, 0.0)
    # Had it still gained speed there, that would have had to end first.
    speeding = JointPoint(np.zeros_like(velocity), velocity, 4.0 * (velocity > 0.0))
    tail = brake(speeding, LIMITS, StampNs(0))
    if tail is None:
        return  # It would come to be too fast.
    far = float(np.abs(tail.positions[-1] - tail.positions[0]).max())
    top = speed + 4.0**2 / (2 * 80.0)
    bound = 0.1 * top + top**2 / (2 * 8.0) + top * (4.0 + 4.0) / 80.0
    ratio, _ = residual_ratios(tail, round(-0.1e9), -1, LIMITS)
    assert ratio == pytest.approx(far / bound, rel=0.02)
    assert ratio <= 1.0


def test_the_tick_of_a_stop_counts_from_its_brake():
    world = SimpleNamespace(
        modes=[(5_000_000, "POLICY"), (120_000_000, "STOPPING")],
        windows=[(90_000_000, b""), (119_000_000, b""), (140_000_000, b"")],
    )
    assert SilWorld.braked_ns(world, 20_000_000) == 119_000_000
    assert SilWorld.braked_ns(world, 130_000_000) is None


def test_a_network_cut_pulls_the_plug_between_two_hosts():
    reason = why_not()
    if reason:
        pytest.skip(reason)
    import socket

    with TwoHosts(Quality(delay_ms=3.0, loss=0.0)) as hosts:
        with inside(hosts.names[1]):
            receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            receiver.bind((hosts.addresses[1], 0))
        with inside(hosts.names[0]):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.settimeout(0.3)
        with sender, receiver:

            def passes():
                try:
                    sender.sendto(b"frame", receiver.getsockname())
                    return receiver.recv(16) == b"frame"
                except OSError:
                    return False

            assert any(passes() for _ in range(10))
            hosts.cut()
            assert not passes()
            hosts.cut(connected=True)
            assert any(passes() for _ in range(10))


def test_two_hosts_are_a_case_of_the_campaign():
    assert sil_faults.CASES["network_cut"] is sil_hosts.CASES["network_cut"]
    rows = {number for c in sil_faults.CASES.values() for number in c.rows}
    assert {17, 30, 31, 34, 35, 36, 38, 39, 40, 52, 56, 57, 62, 64} <= rows
    assert all(math.isfinite(c.limit_ms or 0.0) for c in sil_faults.CASES.values())
