# SPDX-License-Identifier: Apache-2.0
"""The supervisor's windows through a bad network into every release of the real controller."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.modes import Event, Mode
from levine_policy_node.core.plan import Plan
from levine_policy_node.core.supervision import (
    Heartbeat,
    Inputs,
    Measured,
    Request,
    SupervisorOptions,
    SupervisorState,
)
from levine_policy_node.core.supervisor import step
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import StampNs, SteadyNs, seconds
from levine_policy_node.sim.controller_semantics import SEMANTICS
from levine_policy_node.sim.controller_trajectory import TrajectoryCommand, TrajectoryPoint
from levine_policy_node.sim.joint_trajectory_controller import (
    JointTrajectoryController,
    TrajectoryControllerOptions,
)
from levine_policy_node.sim.limit_checks import SetpointCheck

MS = 1_000_000
OFFSET = 1_700_000_000_123_456_789
BEGIN = 50_000 * MS
TICK = 10 * MS
ARM_LAG = 40 * MS
LIMITS = JointLimits(
    ("pan", "lift"),
    np.array([-1.5, -1.0]),
    np.array([1.5, 1.2]),
    np.array([2.0, 1.5]),
    np.array([8.0, 6.0]),
    np.array([80.0, 60.0]),
)
OPTIONS = SupervisorOptions(
    limits=LIMITS, home=np.array([0.0, 0.3]), exempt=np.zeros(2, dtype=bool), lead_s=0.05
)
LEAD = 50 * MS
# The first brake ends a window; this is longer than any brake within LIMITS takes.
LONGEST_BRAKE_S = 0.6
SETTINGS = settings(max_examples=12)
# Lyrical and Rolling need `allow_trajectory_replacement: false`, see the last tests.
SAFE = {
    name: TrajectoryControllerOptions(name, allow_trajectory_replacement=False)
    for name in SEMANTICS
}


def wave(now_ns: int, seed: int) -> Timeline[StampNs]:
    """A chunk of 0.9 s from 30 ms ago on; another seed is another motion."""
    rng = np.random.default_rng(seed)
    times_s = np.arange(19) * 0.05
    size, pulse, phase = rng.uniform(0.1, 0.4, 2), rng.uniform(1, 3, 2), rng.uniform(0, 6, 2)
    turn = (seconds(now_ns) + times_s[:, None] - 0.03) * pulse + phase
    return Timeline(
        LIMITS.names,
        StampNs(OFFSET + now_ns - 30 * MS),
        times_s,
        size * np.sin(turn),
        size * pulse * np.cos(turn),
        -size * pulse**2 * np.sin(turn),
        "policy:wave@0#0",
    )


@dataclass(frozen=True)
class Stream:
    """What the supervisor sent and what it commanded, on the steady clock."""

    sent_ns: tuple[int, ...]
    windows: tuple[Timeline[SteadyNs], ...]
    until_ns: tuple[int, ...]
    plans: tuple[tuple[int, Plan], ...]

    def commanded(self, time_ns: int) -> np.ndarray:
        """Position the supervisor meant the arm to be at."""
        k = bisect_right(self.plans, time_ns, key=lambda plan: plan[0]) - 1
        return self.plans[max(0, k)][1].sample(SteadyNs(time_ns)).position


@lru_cache(maxsize=8)
def stream(seed: int) -> Stream:
    """0.9 s of a supervisor at 100 Hz whose policy changes its mind five times a second."""
    state = SupervisorState()
    acts = [Event.ARM, Event.ENGAGE]
    sent, windows, until, plans = [], [], [], []
    for k in range(90):
        now = SteadyNs(BEGIN + k * TICK)
        position, velocity = np.zeros(2), np.zeros(2)
        if state.plan is not None:
            point = state.plan.sample(SteadyNs(now - ARM_LAG))
            position, velocity = point.position, point.velocity
        chunk = (wave(now, 10 * seed + k // 20),) if k % 20 == 3 else ()
        inputs = Inputs(
            ros_offset_ns=OFFSET,
            measured=Measured(position, velocity, now),
            heartbeat=Heartbeat(k // 10, now),
            chunks=chunk,
            requests=(Request(acts[0]),) if acts else (),
        )
        state, decision = step(state, now, inputs, OPTIONS)
        if acts and decision.replies[0].accepted:
            acts.pop(0)
        if state.plan is not None:
            plans.append((int(now), state.plan))
        if decision.window is not None:
            sent.append(int(now))
            windows.append(decision.window)
            until.append(state.sent_until_ns)
    assert state.mode.mode is Mode.POLICY
    return Stream(tuple(sent), tuple(windows), tuple(until), tuple(plans))


def message(window: Timeline[SteadyNs]) -> TrajectoryCommand:
    rows = zip(
        np.rint(window.times_s * 1e9).astype(int).tolist(),
        window.positions,
        window.velocities,
        window.accelerations,
        strict=True,
    )
    points = tuple(TrajectoryPoint(*row) for row in rows)
    return TrajectoryCommand(window.joint_names, StampNs(window.start_ns + OFFSET), points)


@dataclass(frozen=True)
class Network:
    """What happens to window k: the times it arrives after it was sent [ns]; none if it is lost.

    `period_ns` and `phase_ns` are the controller's, and its clock is `skew_ns` ahead of ours.
    """

    arrivals: tuple[tuple[int, ...], ...]
    period_ns: int
    phase_ns: int
    skew_ns: int = 0


@st.composite
def networks(draw, worst=False):
    """Late, duplicated, lost and reordered windows; `worst` without any bound on it."""
    late = st.integers(0, (200 if worst else 12) * 1000).map(lambda us: us * 1000)
    arrivals: list[tuple[int, ...]] = []
    well = 2
    for _ in range(90):
        kind = draw(st.sampled_from(("well", "well", "well", "lost", "twice", "overtaken")))
        if worst:
            arrivals.append(tuple(draw(st.lists(late, max_size=2))))
            continue
        if kind == "well" or well < 2:
            # One mishap at a time: that is what the lead of 50 ms is for.
            arrivals.append((draw(late),))
            well += 1
        else:
            after = {"lost": (), "twice": (draw(late), 20 * MS + 5_000), "overtaken": (25 * MS,)}
            arrivals.append(after[kind])
            well = 0
    period = draw(st.sampled_from((2, 4, 5, 10))) * MS
    skew = draw(st.integers(-20 if worst else 0, 20 if worst else 3)) * MS
    return Network(tuple(arrivals), period, draw(st.integers(0, period - 1)), skew)


@dataclass(frozen=True)
class Played:
    """One control cycle.

    `at_ns` is the steady time the setpoint is for and `newest` the window in force.
    """

    at_ns: int
    newest: int
    setpoint: np.ndarray


def play(sent: Stream, network: Network, options: TrajectoryControllerOptions, until_ns: int):
    """Every cycle from the first window that arrives on, and what the limit check says."""
    deliveries = sorted(
        (sent.sent_ns[k] + late, k)
        for k in range(len(sent.sent_ns))
        for late in network.arrivals[k]
    )
    made = JointTrajectoryController(LIMITS.names, network.period_ns, options)
    made.activate(np.zeros(2))
    check = SetpointCheck(LIMITS)
    ahead = network.period_ns if options.release.looks_ahead else 0
    cycles: list[Played] = []
    violations = []
    newest = -1
    now = BEGIN + network.phase_ns
    check.begin(np.zeros(2), StampNs(now - network.period_ns))
    while now < until_ns:
        stamp = StampNs(now + OFFSET + network.skew_ns)
        while deliveries and deliveries[0][0] <= now:
            _, k = deliveries.pop(0)
            if made.receive(message(sent.windows[k]), stamp) is None:
                newest = k
        arm = sent.plans[0][1] if newest < 0 else None
        lagging = np.zeros(2) if arm else sent.commanded(now - ARM_LAG)
        setpoint = made.update(stamp, lagging, np.zeros(2))
        violations += check.check(setpoint, stamp).violations
        cycles.append(Played(now + network.skew_ns + ahead, newest, setpoint))
        now += network.period_ns
    return cycles, violations


def in_time(sent: Stream, cycle: Played) -> bool:
    """Whether what is in force then is still what the supervisor meant."""
    k = cycle.newest
    last = k + 1 == len(sent.sent_ns)
    agreed_ns = sent.until_ns[k] if last else min(sent.until_ns[k], sent.sent_ns[k + 1] + LEAD)
    return cycle.at_ns <= agreed_ns


def error(sent: Stream, cycle: Played) -> float:
    """How far the setpoint is from what the supervisor meant [rad]."""
    return float(np.max(np.abs(cycle.setpoint - sent.commanded(cycle.at_ns))))


@SETTINGS
@pytest.mark.parametrize("semantics", SEMANTICS)
@given(seed=st.integers(0, 3), network=networks(), desired=st.booleans())
def test_what_is_played_is_the_plan_and_keeps_every_limit(semantics, seed, network, desired):
    sent = stream(seed)
    options = TrajectoryControllerOptions(
        semantics, interpolate_from_desired_state=desired, allow_trajectory_replacement=False
    )
    cycles, violations = play(sent, network, options, sent.sent_ns[-1])
    assert not violations
    for cycle in cycles:
        if cycle.newest >= 0:
            assert in_time(sent, cycle)
            assert error(sent, cycle) < 1e-9


@SETTINGS
@pytest.mark.parametrize("semantics", SEMANTICS)
@given(seed=st.integers(0, 3), network=networks(worst=True))
def test_in_any_network_what_is_in_time_is_the_plan(semantics, seed, network):
    sent = stream(seed)
    cycles, _ = play(sent, network, SAFE[semantics], sent.sent_ns[-1])
    for cycle in cycles:
        if cycle.newest < 0:
            assert not np.any(cycle.setpoint)
            continue
        window = sent.windows[cycle.newest]
        if window.covers(SteadyNs(cycle.at_ns)) and in_time(sent, cycle):
            assert error(sent, cycle) < 1e-9


@SETTINGS
@pytest.mark.parametrize("semantics", SEMANTICS)
@given(seed=st.integers(0, 3), network=networks(), cut=st.integers(3, 60))
def test_a_stream_that_stops_comes_to_rest_within_its_brake(semantics, seed, network, cut):
    full = stream(seed)
    sent = Stream(full.sent_ns[:cut], full.windows[:cut], full.until_ns[:cut], full.plans)
    over_ns = sent.sent_ns[-1] + round((OPTIONS.window_s + LONGEST_BRAKE_S) * 1e9)
    cycles, violations = play(sent, network, SAFE[semantics], over_ns + 200 * MS)
    assert not violations
    at_rest = np.array([c.setpoint for c in cycles if c.at_ns >= over_ns])
    assert len(at_rest) > 10
    newest = cycles[-1].newest
    expected = sent.windows[newest].positions[-1] if newest >= 0 else np.zeros(2)
    np.testing.assert_array_equal(at_rest, np.broadcast_to(expected, at_rest.shape))


def ordinary(period_ms=10):
    """A network that takes one millisecond or nine."""
    return Network(((MS,), (9 * MS,)) * 45, period_ms * MS, 5 * MS)


def test_blending_of_master_plays_windows_late_and_in_jumps():
    sent = stream(0)
    good, none = play(sent, ordinary(), SAFE["master"], sent.sent_ns[-1])
    bad, jumps = play(sent, ordinary(), TrajectoryControllerOptions("master"), sent.sent_ns[-1])
    assert not none
    worst = max(violation.value / violation.limit for violation in jumps)
    assert worst > 50.0
    lag = [float(np.max(np.abs(a.setpoint - b.setpoint))) for a, b in zip(good, bad, strict=True)]
    # The reach of 50 ms into the past becomes a delay of 50 ms.
    assert max(lag) > 0.02


def test_blending_is_no_better_with_the_desired_state():
    sent = stream(0)
    options = TrajectoryControllerOptions("master", interpolate_from_desired_state=True)
    _, jumps = play(sent, ordinary(), options, sent.sent_ns[-1])
    assert jumps
