# SPDX-License-Identifier: Apache-2.0
"""One supervisor, driven tick by tick with a clock of its own and judged by its own oracle."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.core.acts import prepare_chunk
from levine_policy_node.core.faults import Fault
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.modes import ACTIVE, LATCHED, MOVING, Event, Mode
from levine_policy_node.core.supervision import (
    BadChunk,
    Chunk,
    Decision,
    Heartbeat,
    Inputs,
    Measured,
    Reply,
    Request,
    SupervisorOptions,
    SupervisorState,
    Target,
)
from levine_policy_node.core.supervisor import step
from levine_policy_node.core.surroundings import NOTHING_HEARD, Surroundings
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import StampNs, SteadyNs, nanoseconds, seconds

MS = 1_000_000
OFFSET = 1_700_000_000_123_456_789
LIMITS = JointLimits(
    ("pan", "lift", "gripper"),
    np.array([-1.5, -1.0, 0.0]),
    np.array([1.5, 1.2, 1.5]),
    np.array([2.0, 1.5, 2.0]),
    np.array([8.0, 6.0, 8.0]),
    np.array([80.0, 60.0, 80.0]),
)
START = np.array([0.1, -0.2, 0.7])
OPTIONS = SupervisorOptions(
    limits=LIMITS, home=np.array([0.0, 0.3, 1.0]), exempt=np.array([False, False, True])
)


def wave(now_ns: int, seed: int = 0, away: float = 0.0, size: float = 0.3) -> Timeline[StampNs]:
    """A smooth chunk of 0.9 s, a function of absolute time, so that consecutive ones agree."""
    rng = np.random.default_rng(seed)
    times_s = np.arange(19) * 0.05
    angle = seconds(now_ns) + times_s[:, None] - 0.03
    pulse, phase = rng.uniform(0.5, 2.0, 3), rng.uniform(0, 6, 3)
    turn = angle * pulse + phase
    return Timeline(
        LIMITS.names,
        StampNs(OFFSET + now_ns - 30 * MS),
        times_s,
        START + away + size * np.array([1, 1, 0.5]) * np.sin(turn),
        size * np.array([1, 1, 0.5]) * pulse * np.cos(turn),
        -size * np.array([1, 1, 0.5]) * pulse**2 * np.sin(turn),
        "policy:wave@0#0",
    )


@dataclass
class Rig:
    """The supervisor with a perfect arm, a policy and an operator that can be switched off."""

    options: SupervisorOptions = OPTIONS
    now_ns: int = 100 * 1_000_000_000
    state: SupervisorState = field(default_factory=SupervisorState)
    policy: bool = True
    chunks: bool = True
    arm_seen: bool = True
    estop: bool = False
    publishers: int = 1
    offset_ns: int = OFFSET
    seed: int = 0
    away: float = 0.0
    size: float = 0.3
    prepared_ms: float | None = None
    target: np.ndarray | None = None
    source: str = "operator:test"
    bad: list[object] = field(default_factory=list)
    disturbance: np.ndarray = field(default_factory=lambda: np.zeros(3))
    measured: Measured | None = None
    effort: np.ndarray | None = None
    heartbeat: Heartbeat | None = None
    inferences: int = 0
    ticks: int = 0
    decisions: list[Decision] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    position: np.ndarray = field(default_factory=START.copy)
    creep: float = 0.0
    around: Surroundings = NOTHING_HEARD

    def prepared(self, chunk: Timeline[StampNs]) -> Chunk:
        """The chunk as another thread would have prepared it since the last tick."""
        if self.prepared_ms is None:
            return chunk
        then = SteadyNs(self.now_ns - round(self.prepared_ms * MS))
        return prepare_chunk(chunk, self.state, then, self.options)

    def tick(self, *acts: Event, after_ms: float = 10.0) -> Decision:
        self.now_ns += round(after_ms * MS)
        now = SteadyNs(self.now_ns)
        before = self.position
        if self.decisions and self.decisions[-1].command is not None:
            self.position = self.decisions[-1].command.position
        if self.arm_seen:
            velocity = (self.position - before) / (after_ms / 1e3) + self.creep
            seen = self.position + self.disturbance
            self.measured = Measured(seen, velocity, SteadyNs(now - 2 * MS), self.effort)
        arrived: tuple[object, ...] = tuple(self.bad)
        self.bad = []
        if self.policy and self.ticks % 2 == 0:
            if self.chunks and self.ticks % 4 == 0:
                self.inferences += 1
                chunk = wave(self.now_ns, self.seed, self.away, self.size)
                arrived = (*arrived, self.prepared(chunk))
            self.heartbeat = Heartbeat(self.inferences, SteadyNs(now - MS))
        self.ticks += 1
        target = None
        if self.target is not None:
            target = Target(self.target, self.source, SteadyNs(now - MS))
        self.state, decision = step(
            self.state,
            now,
            Inputs(
                ros_offset_ns=self.offset_ns,
                measured=self.measured,
                heartbeat=self.heartbeat,
                target=target,
                chunks=arrived,
                estop=self.estop,
                publishers=self.publishers,
                requests=tuple(Request(act, i) for i, act in enumerate(acts)),
                around=self.around,
            ),
            self.options,
        )
        self.decisions.append(decision)
        self.times.append(self.now_ns)
        return decision

    def run(self, duration_s: float) -> Decision:
        for _ in range(round(duration_s * 100)):
            decision = self.tick()
        return decision

    def until(self, mode: Mode, within_s: float = 3.0) -> int:
        """Tick until `mode`; returns after how many milliseconds."""
        for k in range(round(within_s * 100)):
            if self.tick().mode.mode is mode:
                return 10 * (k + 1)
        raise AssertionError(f"still {self.mode} after {within_s} s: {self.said()[-5:]}")

    def ask(self, act: Event) -> Reply:
        return self.tick(act).replies[0]

    def moving(self) -> Rig:
        """Arm, engage, and let the policy move the arm."""
        self.run(0.1)
        for act in (Event.ARM, Event.ENGAGE):
            reply = self.ask(act)
            assert reply.accepted, reply.message
        self.run(1.0)
        assert self.mode is Mode.POLICY
        return self

    @property
    def mode(self) -> Mode:
        return self.state.mode.mode

    def said(self) -> list[str]:
        return [f"{o.name}: {o.text}" for d in self.decisions for o in d.occurrences]

    def events(self, name: str) -> int:
        return sum(o.name == name for d in self.decisions for o in d.occurrences)


# The quintic through p, h v and h^2 a at both ends, in u = t/h, solved for here and not by the
# package; and powers of u with their derivatives.
_HERMITE = np.linalg.inv(
    [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 1],
        [0, 1, 0, 0, 0, 0],
        [0, 1, 2, 3, 4, 5],
        [0, 0, 2, 0, 0, 0],
        [0, 0, 2, 6, 12, 20],
    ]
)


def powers(u: np.ndarray, order: int) -> np.ndarray:
    """Derivatives of 1, u, ... u^5, shape (N, 6)."""
    table = np.zeros((len(u), 6))
    for n in range(order, 6):
        table[:, n] = np.prod(range(n - order + 1, n + 1)) * u ** (n - order)
    return table


_SAMPLED = [powers(np.linspace(0.0, 1.0, 17), order) for order in range(4)]


def polynomials(motion: Timeline[SteadyNs]) -> tuple[np.ndarray, np.ndarray]:
    """Segment lengths (K-1, 1, 1) and coefficients (K-1, 6, J)."""
    h = np.diff(motion.times_s)[:, None]
    p, v, a = motion.positions, motion.velocities, motion.accelerations
    ends = [p[:-1], p[1:], h * v[:-1], h * v[1:], h * h * a[:-1], h * h * a[1:]]
    return h[:, :, None], _HERMITE @ np.stack(ends, axis=1)


def evaluate(motion: Timeline[SteadyNs], time_ns: int, order: int) -> np.ndarray:
    t = (time_ns - motion.start_ns) / 1e9
    assert t >= 0.0
    if t > motion.times_s[-1]:
        return motion.positions[-1] if order == 0 else np.zeros(len(motion.joint_names))
    k = min(int(np.searchsorted(motion.times_s, t, side="right")), len(motion.times_s) - 1) - 1
    h, c = polynomials(motion)
    u = (t - motion.times_s[k]) / h[k, 0, 0]
    return (powers(np.array([u]), order) @ c[k])[0] / h[k, 0, 0] ** order


def assert_within_limits(motion: Timeline[SteadyNs]) -> None:
    h, c = polynomials(motion)
    assert np.min(h) > 0.9e-4
    assert np.all(np.isfinite(c))
    position = _SAMPLED[0] @ c
    assert np.all(position >= LIMITS.lower - 1e-9)
    assert np.all(position <= LIMITS.upper + 1e-9)
    for order, bound in enumerate((LIMITS.velocity, LIMITS.acceleration, LIMITS.jerk), start=1):
        peak = np.max(np.abs(_SAMPLED[order] @ c / h**order), axis=(0, 1))
        slack = 1e-6 if order < 3 else 1e-3
        assert np.all(peak <= bound * (1.0 + slack)), (order, peak)


def assert_abandon_safe(rig: Rig) -> None:
    """Every window keeps the limits, ends at rest, and continues the one before."""
    before: Timeline[SteadyNs] | None = None
    for decision, now_ns in zip(rig.decisions, rig.times, strict=True):
        window = decision.window
        if window is None:
            if decision.command is None:
                before = None
            continue
        assert window.joint_names == LIMITS.names
        assert_within_limits(window)
        assert np.all(window.velocities[-1] == 0.0)
        assert np.all(window.accelerations[-1] == 0.0)
        assert window.start_ns <= now_ns
        if before is not None:
            # Wherever within the lead the controller changes over, it notices nothing.
            for time_ns in (now_ns, now_ns + 20 * MS, now_ns + 40 * MS):
                for order, tolerance in enumerate((1e-9, 1e-7, 1e-5)):
                    gap = evaluate(window, time_ns, order) - evaluate(before, time_ns, order)
                    assert np.max(np.abs(gap)) <= tolerance, (order, gap)
        before = window


def assert_smooth_ticks(rig: Rig) -> None:
    """Divided differences of the commands, which no motion within the limits exceeds."""
    rows: list[tuple[float, np.ndarray]] = []
    for decision, now_ns in zip(rig.decisions, rig.times, strict=True):
        late = bool(rows) and now_ns / 1e9 - rows[-1][0] > 0.015
        if decision.command is None or (late and not rig.options.sends_windows):
            # A controller that holds sees the next command one period after the last, however
            # late it is; see test_single_positions_never_step_however_late_a_tick_is.
            rows = []
        if decision.command is None:
            continue
        rows = [*rows[-3:], (now_ns / 1e9, decision.command.position)]
        table = np.array([p for _, p in rows])
        times = np.array([t for t, _ in rows])
        bounds = (LIMITS.velocity, LIMITS.acceleration, LIMITS.jerk)
        assert np.all(np.isfinite(table))
        for order, bound in enumerate(bounds[: len(rows) - 1], start=1):
            table = np.diff(table, axis=0) / (times[order:] - times[:-order])[:, None]
            value = np.abs(table[-1]) * (1, 2, 6)[order - 1]
            assert np.all(value <= bound * 1.001), (order, value, now_ns)


def assert_rules(rig: Rig) -> None:
    """Latches, acts and motion over the whole history."""
    previous = Mode.INIT
    acts_since_rest: set[str] = set()
    for decision in rig.decisions:
        mode = decision.mode.mode
        if previous in LATCHED and mode not in LATCHED:
            assert any(r.accepted for r in decision.replies)
        if mode in {Mode.DISARMED, Mode.INIT, *LATCHED}:
            acts_since_rest = set()
        for reply in decision.replies:
            if reply.accepted:
                acts_since_rest.add(reply.message)
        if mode in ACTIVE and previous not in ACTIVE:
            assert len(acts_since_rest) >= 2
        if mode not in MOVING and mode is not previous and decision.command is not None:
            assert np.all(decision.command.velocity == 0.0)
        previous = mode


def assert_good(rig: Rig) -> None:
    assert_abandon_safe(rig)
    assert_smooth_ticks(rig)
    assert_rules(rig)
    assert rig.events("GATE_TRIPPED") == 0


# Scripts.


def test_arm_engage_and_follow_the_policy():
    rig = Rig().moving()
    rig.run(1.0)
    decision = rig.decisions[-1]
    wanted = wave(rig.now_ns).sample(StampNs(OFFSET + rig.now_ns))
    assert decision.source == decision.proposal_source == "policy:wave@0#0"
    assert np.allclose(decision.proposal.position, wanted.position, atol=1e-9)
    assert np.allclose(decision.command.position, wanted.position, atol=1e-6)
    assert rig.events("CHUNK_REFUSED") == rig.events("STARVED") == 0
    assert_good(rig)


def test_nothing_is_sent_before_arming_and_nothing_moves_before_engaging():
    rig = Rig()
    rig.run(0.3)
    assert all(d.command is None and d.window is None for d in rig.decisions)
    assert rig.ask(Event.ARM).accepted
    rig.run(0.3)
    assert rig.decisions[-1].source == "hold"
    assert np.array_equal(rig.decisions[-1].command.position, START)
    assert_good(rig)


def test_windows_come_every_20_ms_and_at_once_with_a_new_plan():
    rig = Rig().moving()
    sent = [t for d, t in zip(rig.decisions, rig.times, strict=True) if d.window is not None]
    assert max(np.diff(sent)) <= 20 * MS
    assert rig.tick(Event.PAUSE).window is not None


def test_a_dead_policy_is_braked_within_150_ms_and_then_disarmed():
    rig = Rig().moving()
    rig.policy = False
    reaction_ms = rig.until(Mode.STOPPING)
    assert reaction_ms <= 120
    assert rig.until(Mode.PAUSED) <= 700
    assert Fault.POLICY_LOST in rig.state.faults
    assert rig.until(Mode.DISARMED) <= 1100
    rig.policy = True
    rig.run(1.0)
    assert rig.mode is Mode.DISARMED
    assert not rig.ask(Event.ENGAGE).accepted
    assert_good(rig)


def test_a_policy_that_no_longer_infers_is_stopped():
    rig = Rig().moving()
    rig.chunks = False
    assert rig.until(Mode.STOPPING) <= 520 + 50
    assert "no inference" in " ".join(rig.said())
    rig.until(Mode.PAUSED)
    rig.run(2.0)
    assert rig.mode is Mode.PAUSED
    assert_good(rig)


def test_a_late_chunk_starves_and_is_joined_again_smoothly():
    rig = Rig(options=replace(OPTIONS, inference_stall_s=5.0)).moving()
    rig.chunks = False
    rig.run(1.15)
    assert rig.mode is Mode.POLICY
    assert rig.events("STARVED") == 1
    rig.chunks = True
    rig.run(0.5)
    assert rig.mode is Mode.POLICY
    assert rig.decisions[-1].source.startswith("policy:")
    rig.chunks = False
    rig.until(Mode.PAUSED, within_s=4.0)
    assert_good(rig)


def test_joint_states_lost_stops_and_latches_until_reset():
    rig = Rig().moving()
    rig.arm_seen = False
    assert rig.until(Mode.STOPPING) <= 120
    rig.until(Mode.PSTOP)
    reply = rig.ask(Event.RESET)
    assert not reply.accepted
    assert "joint_states" in reply.message
    rig.arm_seen = True
    rig.tick()
    assert rig.ask(Event.RESET).accepted
    assert rig.mode is Mode.DISARMED
    assert rig.state.faults == {}
    assert not rig.ask(Event.ENGAGE).accepted
    assert_good(rig)


@pytest.mark.parametrize("before", ["DISARMED", "ARMED", "POLICY", "HUMAN", "STOPPING", "PAUSED"])
def test_the_emergency_stop_latches_in_one_tick_and_then_there_is_silence(before):
    rig = Rig()
    rig.run(0.1)
    if before != "DISARMED":
        rig.ask(Event.ARM)
    if before not in {"DISARMED", "ARMED"}:
        rig.ask(Event.HOME if before == "HUMAN" else Event.ENGAGE)
        rig.run(0.4)
    if before in {"STOPPING", "PAUSED"}:
        rig.ask(Event.PAUSE)
    if before == "PAUSED":
        rig.until(Mode.PAUSED)
    assert rig.mode.value == before
    rig.estop = True
    assert rig.tick().mode.mode is Mode.ESTOP
    rig.estop = False
    rig.run(1.0)
    assert rig.mode is Mode.ESTOP
    assert all(d.window is None and d.command is None for d in rig.decisions[-100:])
    assert rig.ask(Event.RESET).accepted
    assert_good(rig)


def test_the_emergency_stop_cannot_be_reset_while_it_is_pressed():
    rig = Rig().moving()
    rig.estop = True
    rig.run(0.5)
    assert not rig.ask(Event.RESET).accepted
    assert rig.mode is Mode.ESTOP


def test_a_silent_estop_line_is_an_emergency_stop_where_it_is_watched():
    rig = Rig(options=replace(OPTIONS, estop_heartbeat_s=0.5))
    assert rig.tick().mode.mode is Mode.ESTOP
    assert "nothing on estop" in " ".join(rig.said())


def test_two_unreadable_chunks_in_a_row_stop_the_arm():
    rig = Rig().moving()
    rig.bad = [BadChunk("positions are not finite")]
    rig.run(0.3)
    assert rig.mode is Mode.POLICY
    assert rig.events("BAD_CHUNK") == 1
    rig.chunks = False
    rig.bad = [BadChunk("positions are not finite")]
    rig.tick()
    rig.bad = [BadChunk("joints missing")]
    assert rig.tick().mode.mode is Mode.STOPPING
    rig.until(Mode.PSTOP)
    assert rig.ask(Event.RESET).accepted
    assert_good(rig)


@pytest.mark.parametrize("shift_s", [-5.0, 3.0])
def test_a_chunk_at_an_implausible_time_is_refused(shift_s):
    rig = Rig().moving()
    strange = wave(rig.now_ns)
    moved = StampNs(int(strange.start_ns) + nanoseconds(shift_s))
    rig.bad = [replace(strange, start_ns=moved)] * 3
    rig.run(0.5)
    assert rig.mode is Mode.POLICY
    assert rig.events("CHUNK_REFUSED") == 3
    assert_good(rig)


def test_a_jump_of_the_reference_never_becomes_a_step():
    rig = Rig().moving()
    rig.away = 0.25
    rig.run(1.0)
    rig.away = -0.25
    rig.run(1.0)
    wanted = wave(rig.now_ns, away=-0.25).sample(StampNs(OFFSET + rig.now_ns))
    assert np.allclose(rig.decisions[-1].command.position, wanted.position, atol=1e-3)
    assert_good(rig)


def test_a_reference_beyond_the_limits_is_cut_to_what_is_safe():
    rig = Rig().moving()
    rig.size = 1.4
    rig.run(3.0)
    assert rig.events("CHUNK_CUT") + rig.events("CHUNK_REFUSED") > 0
    assert_good(rig)


def test_a_chunk_is_followed_up_to_its_first_bad_segment():
    rig = Rig().moving()
    rig.chunks = False
    chunk = wave(rig.now_ns + 10 * MS)
    kicked = chunk.positions.copy()
    kicked[12:, 1] += 0.02
    rig.bad = [replace(chunk, positions=kicked)]
    rig.tick()
    assert rig.events("CHUNK_CUT") == 1
    assert "lift: " in " ".join(rig.said())
    rig.run(0.45)
    followed, wanted = rig.decisions[-1].command, chunk.sample(StampNs(OFFSET + rig.now_ns))
    assert rig.decisions[-1].source.startswith("policy:")
    assert np.allclose(followed.position, wanted.position, atol=1e-6)
    rig.run(0.2)
    assert rig.decisions[-1].source in {"stop", "hold"}
    assert_good(rig)


POSITIONS = replace(OPTIONS, sends_windows=False)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from([10.0, 10.0, 12.0, 20.0, 31.0, 60.0, 90.0]), max_size=25))
def test_single_positions_never_step_however_late_a_tick_is(gaps_ms):
    """A controller that holds between commands sees each of them one period after the last."""
    rig = Rig(options=POSITIONS).moving()
    held = rig.decisions[-1].command.position
    for gap_ms in gaps_ms:
        command = rig.tick(after_ms=gap_ms).command.position
        step = np.abs(command - held)
        assert np.all(step <= LIMITS.velocity * 0.015 * 1.001), (gap_ms, step)
        if gap_ms > 35.0:
            # The arm stands by then, so the motion begins again from rest.
            assert np.all(step <= LIMITS.jerk * 0.010**3 + 1e-9), (gap_ms, step)
        held = command
    rig.run(1.5)
    assert rig.mode is Mode.POLICY
    wanted = wave(rig.now_ns).sample(StampNs(OFFSET + rig.now_ns))
    assert np.allclose(rig.decisions[-1].command.position, wanted.position, atol=1e-3)


def test_a_late_tick_near_the_end_of_a_brake_does_not_skip_the_rest_of_it():
    rig = Rig(options=POSITIONS).moving()
    rig.ask(Event.PAUSE)
    while rig.state.plan.end_ns - rig.now_ns > 25 * MS:
        rig.tick()
    one_tick_on = rig.state.plan.sample(SteadyNs(rig.now_ns + 10 * MS))
    assert np.any(one_tick_on.velocity != 0.0)
    command = rig.tick(after_ms=33.0).command
    assert np.allclose(command.position, one_tick_on.position, rtol=0.0, atol=1e-12)
    rig.until(Mode.PAUSED)


def test_a_chunk_prepared_beside_the_loop_is_taken_as_it_is():
    rig = Rig().moving()
    rig.chunks, rig.prepared_ms = False, 9.0
    prepared = rig.prepared(wave(rig.now_ns + 10 * MS, away=0.005))
    rig.bad = [prepared]
    rig.tick()
    assert rig.state.plan is prepared.followed.plan
    rig.run(0.4)
    wanted = prepared.chunk.sample(StampNs(OFFSET + rig.now_ns))
    assert np.allclose(rig.decisions[-1].command.position, wanted.position, atol=1e-6)
    assert_good(rig)


@pytest.mark.parametrize("what", ["paused meanwhile", "too late"])
def test_what_was_prepared_for_another_plan_or_moment_is_not_used(what):
    rig = Rig().moving()
    rig.chunks, rig.prepared_ms = False, 2.0
    prepared = rig.prepared(wave(rig.now_ns, away=0.1))
    if what == "paused meanwhile":
        rig.chunks = True
        rig.tick(Event.PAUSE)
        rig.run(0.3)
        rig.chunks = False
        assert rig.ask(Event.RESUME).accepted
    else:
        rig.run(0.05)
    rig.bad = [prepared]
    rig.tick()
    assert rig.mode is Mode.POLICY
    assert rig.state.plan is not prepared.followed.plan
    assert rig.state.plan.marks[-2][1] == "policy:wave@0#0"
    assert_good(rig)


@pytest.mark.parametrize("jump", [1e-6, 0.02])
def test_a_plan_gone_wrong_is_stopped_at_the_gate_and_needs_a_restart(jump):
    rig = Rig().moving()
    rig.chunks = False
    plan = rig.state.plan
    broken = replace(plan.timeline, positions=plan.timeline.positions + jump)
    rig.state = replace(rig.state, plan=replace(plan, timeline=broken))
    rig.run(0.02)
    assert Fault.GATE_TRIPPED in rig.state.faults
    rig.until(Mode.FAULT)
    assert_abandon_safe(rig)
    assert_smooth_ticks(rig)
    reply = rig.ask(Event.RESET)
    assert not reply.accepted
    assert "restart" in reply.message


def test_a_step_of_the_ros_clock_stops_the_arm_and_a_reset_forgets_it():
    rig = Rig().moving()
    rig.offset_ns += 80 * MS
    assert rig.tick().mode.mode is Mode.STOPPING
    rig.until(Mode.PSTOP)
    # A controller that was set back goes to each window anew, as long as there are any.
    stopping = [d for d in rig.decisions if Fault.CLOCK_STEPPED in d.faults]
    assert all(d.window is None for d in stopping)
    # It is told once to come to rest, whatever its clock says.
    told, *more = [d.rest for d in stopping if d.rest is not None]
    assert not more
    np.testing.assert_array_equal(told.position, rig.state.plan.timeline.positions[-1])
    assert 0.0 < told.duration_s < 2.0
    assert all(o.name != "OVERRUN" for d in stopping for o in d.occurrences)
    assert rig.ask(Event.RESET).accepted
    assert rig.ask(Event.ARM).accepted
    assert rig.state.offset_ns == rig.offset_ns
    assert_good(rig)


def test_a_foreign_publisher_is_refused_at_arming_and_a_fault_when_moving():
    rig = Rig(publishers=2)
    rig.run(0.1)
    reply = rig.ask(Event.ARM)
    assert not reply.accepted
    assert "2 publishers" in reply.message
    rig.publishers = 1
    rig.moving()
    rig.publishers = 2
    assert rig.tick().mode.mode is Mode.STOPPING
    rig.until(Mode.FAULT)
    assert not rig.ask(Event.RESET).accepted
    rig.publishers = 1
    assert rig.ask(Event.RESET).accepted
    assert rig.mode is Mode.DISARMED
    assert_good(rig)


def test_an_arm_that_does_not_follow_is_stopped_but_a_gripper_may_grasp():
    rig = Rig().moving()
    rig.disturbance = np.array([0.0, 0.0, 0.8])
    rig.run(0.5)
    assert rig.mode is Mode.POLICY
    rig.disturbance = np.array([0.8, 0.0, 0.0])
    assert 100 <= rig.until(Mode.STOPPING) <= 130
    assert Fault.TRACKING in rig.state.faults
    assert_good(rig)


def test_arming_outside_the_limits_or_while_moving_is_refused():
    rig = Rig(position=np.array([1.6, 0.0, 0.5]))
    rig.run(0.1)
    reply = rig.ask(Event.ARM)
    assert not reply.accepted
    assert "pan is at 1.6000" in reply.message
    rig = Rig()
    rig.run(0.1)
    rig.creep = 0.2
    assert "moving" in rig.ask(Event.ARM).message
    unseen = Rig(arm_seen=False)
    unseen.run(0.1)
    assert "joint_states" in unseen.ask(Event.ARM).message


def test_arming_takes_up_the_held_position_if_the_arm_only_hangs_below_it():
    rig = Rig().moving()
    rig.ask(Event.DISARM)
    rig.until(Mode.DISARMED)
    held = rig.state.plan.timeline.positions[-1]
    rig.disturbance = np.array([0.01, -0.02, 0.0])
    rig.run(0.1)
    assert rig.ask(Event.ARM).accepted
    assert np.array_equal(rig.decisions[-1].command.position, held)
    rig.ask(Event.DISARM)
    rig.disturbance = np.array([0.3, 0.0, 0.0])
    rig.tick()
    rig.run(0.1)
    assert rig.ask(Event.ARM).accepted
    assert np.allclose(rig.decisions[-1].command.position, held + rig.disturbance)


def test_a_stop_while_disarmed_latches_and_holds_nothing():
    rig = Rig().moving()
    rig.ask(Event.DISARM)
    rig.until(Mode.DISARMED)
    # Nothing is commanded now, and somebody moves the arm by hand.
    rig.disturbance = np.array([0.4, 0.0, 0.0])
    rig.run(0.1)
    assert rig.ask(Event.STOP).accepted
    rig.run(0.1)
    assert rig.mode is Mode.PSTOP
    assert all(d.command is None and d.window is None for d in rig.decisions[-20:])
    assert rig.ask(Event.RESET).accepted
    assert_good(rig)


def test_engaging_is_refused_while_a_cause_is_there_that_would_stop_the_arm_at_once():
    rig = Rig()
    rig.run(0.1)
    assert rig.ask(Event.ARM).accepted
    rig.chunks = False
    rig.bad = [BadChunk("positions are not finite"), BadChunk("joints missing")]
    rig.tick()
    reply = rig.ask(Event.ENGAGE)
    assert not reply.accepted
    assert "2 unusable chunks in a row" in reply.message
    rig.chunks = True
    rig.run(0.1)
    assert rig.ask(Event.ENGAGE).accepted
    assert_good(rig)


def test_home_goes_there_and_pauses():
    rig = Rig()
    rig.run(0.1)
    rig.ask(Event.ARM)
    assert rig.ask(Event.HOME).accepted
    rig.run(0.2)
    assert rig.decisions[-1].source == "operator:home"
    assert "home motion" in rig.ask(Event.HANDBACK).message
    rig.until(Mode.PAUSED)
    assert np.array_equal(rig.decisions[-1].command.position, OPTIONS.home)
    assert_good(rig)


def test_takeover_and_handback_without_a_step():
    rig = Rig().moving()
    assert not rig.ask(Event.TAKEOVER).accepted
    rig.target = rig.position + 0.1
    assert rig.ask(Event.TAKEOVER).accepted
    assert rig.mode is Mode.HUMAN
    for k in range(60):
        rig.target = rig.target + 0.005 * np.sin(k / 5.0)
        rig.tick()
    assert rig.decisions[-1].source == "operator:test"
    assert rig.ask(Event.HANDBACK).accepted
    rig.run(1.0)
    assert rig.mode is Mode.POLICY
    assert rig.decisions[-1].source.startswith("policy:")
    assert_good(rig)


def test_a_silent_operator_is_stopped_and_a_target_out_of_range_is_clipped():
    rig = Rig().moving()
    rig.target = np.array([0.3, 5.0, 0.7])
    assert rig.ask(Event.TAKEOVER).accepted
    rig.run(8.0)
    assert np.allclose(rig.decisions[-1].command.position, [0.3, 1.2, 0.7])
    rig.target = None
    assert rig.until(Mode.STOPPING) <= 100
    rig.until(Mode.PAUSED)
    assert_good(rig)


def test_pause_and_resume():
    rig = Rig().moving()
    assert rig.ask(Event.PAUSE).accepted
    assert not rig.ask(Event.RESUME).accepted
    rig.until(Mode.PAUSED)
    assert rig.ask(Event.RESUME).accepted
    rig.run(1.0)
    assert rig.mode is Mode.POLICY
    assert_good(rig)


@pytest.mark.parametrize("gap_ms", [55, 75, 95, 130, 400, 3000])
def test_a_late_tick_continues_from_the_brake_the_controller_was_left_with(gap_ms):
    rig = Rig().moving()
    rig.tick(after_ms=gap_ms)
    rig.run(1.0)
    assert rig.mode is (Mode.POLICY if gap_ms <= 100 else Mode.PAUSED)
    assert_good(rig)


@pytest.mark.parametrize(("windows", "gap_ms"), [(True, 75), (False, 25), (False, 75)])
def test_a_late_tick_asks_for_its_chunk_again_instead_of_following_it_itself(windows, gap_ms):
    rig = Rig(options=replace(OPTIONS, sends_windows=windows)).moving()
    rig.chunks, newest = False, wave(rig.now_ns)
    assert rig.tick(after_ms=gap_ms).unprepared
    rig.bad = [rig.prepared(newest)]
    assert not rig.tick().unprepared
    assert rig.mode is Mode.POLICY
    assert rig.state.plan.marks[-2][1] == "policy:wave@0#0"
    assert_good(rig)


@pytest.mark.parametrize("windows", [True, False])
def test_a_supervisor_that_saw_nothing_for_long_pauses_an_arm_that_stood(windows):
    """The arm has reached the operator's target; while nobody looked, the target went on."""
    rig = Rig(options=replace(OPTIONS, sends_windows=windows))
    rig.run(0.1)
    rig.ask(Event.ARM)
    rig.target = START.copy()
    rig.run(0.05)
    assert rig.ask(Event.TAKEOVER).accepted
    rig.run(0.5)
    rig.target = START + 0.4
    rig.tick(after_ms=1000)
    assert Fault.OVERRUN in rig.state.faults
    assert rig.state.mode.mode in {Mode.STOPPING, Mode.PAUSED}
    rig.run(0.3)
    assert rig.state.mode.mode is Mode.PAUSED
    np.testing.assert_allclose(rig.position, START, atol=1e-9)
    assert_good(rig)


def test_a_supervisor_that_dies_leaves_a_stop_behind():
    rig = Rig().moving()
    for decision in rig.decisions:
        if decision.window is not None:
            assert decision.window.duration_s <= 0.06 + 0.1 + 0.02 + 0.6
            assert np.all(decision.window.velocities[-1] == 0.0)


def test_a_stop_that_never_ends_is_a_fault():
    rig = Rig(options=replace(OPTIONS, stop_timeout_s=0.8)).moving()
    rig.creep = 0.2
    rig.ask(Event.PAUSE)
    rig.run(1.0)
    assert Fault.STOP_OVERDUE in rig.state.faults
    assert rig.mode is Mode.FAULT
    rig.run(0.1)
    assert rig.decisions[-1].command is None
    assert not rig.ask(Event.RESET).accepted
    rig.creep = 0.0
    rig.tick()
    assert rig.ask(Event.RESET).accepted
    assert_good(rig)


def test_single_positions_for_a_forward_command_controller():
    rig = Rig(options=replace(OPTIONS, sends_windows=False)).moving()
    assert all(d.window is None for d in rig.decisions)
    rig.away = 0.2
    rig.run(1.0)
    rig.ask(Event.PAUSE)
    rig.until(Mode.PAUSED)
    assert_smooth_ticks(rig)
    assert_rules(rig)
    rig.ask(Event.RESUME)
    rig.run(0.5)
    last = rig.decisions[-1].command.position
    held = rig.tick(after_ms=400)
    assert np.array_equal(held.command.position, last)
    assert held.mode.mode is Mode.STOPPING


# Anything at all.

ACTS = [
    Event.ARM, Event.DISARM, Event.ENGAGE, Event.PAUSE, Event.RESUME, Event.STOP,
    Event.RESET, Event.HOME, Event.TAKEOVER, Event.HANDBACK,
]  # fmt: skip


@st.composite
def episodes(draw):
    """A list of (what changes, acts, ticks, gap before the first tick in ms)."""
    changes = st.one_of(
        st.tuples(st.just("policy"), st.booleans()),
        st.tuples(st.just("chunks"), st.booleans()),
        st.tuples(st.just("arm_seen"), st.sampled_from([True, True, False])),
        st.tuples(st.just("estop"), st.sampled_from([False, False, False, True])),
        st.tuples(st.just("publishers"), st.sampled_from([1, 1, 1, 2])),
        st.tuples(st.just("seed"), st.integers(0, 50)),
        st.tuples(st.just("away"), st.floats(-0.6, 0.6)),
        st.tuples(st.just("size"), st.floats(0.0, 2.0)),
        st.tuples(st.just("prepared_ms"), st.sampled_from([None, 1.0, 9.0, 50.0])),
        st.tuples(st.just("target"), st.sampled_from(["none", "near", "far", "wild"])),
        st.tuples(st.just("bad"), st.sampled_from(["nan", "unread", "rough", "short", "old"])),
    )
    # Likely paths first, or hardly anything would ever move.
    act = st.one_of(
        st.just((Event.ARM, Event.ENGAGE)),
        st.just((Event.RESET,)),
        st.lists(st.sampled_from(ACTS), max_size=2).map(tuple),
    )
    count = draw(st.integers(3, 10))
    gaps = st.sampled_from([10.0, 10.0, 10.0, 3.0, 1.5, 33.0, 70.0, 150.0, 900.0])
    return [(draw(changes), draw(act), draw(st.integers(1, 25)), draw(gaps)) for _ in range(count)]


def apply(rig: Rig, name: str, value) -> None:
    if name == "target":
        rng = np.random.default_rng(rig.ticks)
        spread = {"none": None, "near": 0.05, "far": 1.0, "wild": 50.0}[value]
        rig.target = None if spread is None else rig.position + rng.uniform(-spread, spread, 3)
    elif name == "bad":
        chunk = wave(rig.now_ns, rig.seed)
        rng = np.random.default_rng(rig.ticks)
        rig.bad = [
            {
                "nan": replace(chunk, velocities=np.full_like(chunk.velocities, np.nan)),
                "unread": BadChunk("no points"),
                "rough": replace(
                    chunk, positions=chunk.positions + rng.normal(0, 0.05, chunk.positions.shape)
                ),
                "short": chunk.window(chunk.start_ns, StampNs(chunk.start_ns + 70 * MS)),
                "old": replace(chunk, start_ns=StampNs(chunk.start_ns - 800 * MS)),
            }[value]
        ]
    else:
        setattr(rig, name, value)


@settings(deadline=None, max_examples=25)
@given(episodes(), st.integers(0, 2**32 - 1))
def test_whatever_happens_only_safe_motion_is_sent(episode, seed):
    rng = np.random.default_rng(seed)
    rig = Rig()
    rig.run(0.1)
    rig.tick(Event.ARM, Event.ENGAGE)
    for change, acts, ticks, gap_ms in episode:
        apply(rig, *change)
        rig.tick(*acts, after_ms=gap_ms)
        for _ in range(ticks):
            rig.tick(after_ms=10.0 + rng.uniform(-1.0, 1.0))
    assert_good(rig)
    # And it always comes to an end: no policy, no operator, a working arm.
    rig.policy = rig.estop = False
    rig.target, rig.arm_seen, rig.publishers = None, True, 1
    rig.run(2.5)
    assert rig.mode not in MOVING
    if rig.mode in LATCHED:
        reply = rig.ask(Event.RESET)
        assert reply.accepted, reply.message
    assert rig.mode in {Mode.DISARMED, Mode.ARMED}
    assert_good(rig)


@settings(deadline=None, max_examples=25)
@given(episodes(), st.integers(0, 2**32 - 1))
def test_single_positions_are_safe_too(episode, seed):
    rng = np.random.default_rng(seed)
    rig = Rig(options=replace(OPTIONS, sends_windows=False))
    rig.run(0.1)
    rig.tick(Event.ARM, Event.ENGAGE)
    for change, acts, ticks, gap_ms in episode:
        apply(rig, *change)
        # After a longer gap nothing but the last position is left, and holding it is a stop
        # no limit applies to.
        rig.tick(*acts, after_ms=min(gap_ms, 90.0))
        for _ in range(ticks):
            rig.tick(after_ms=10.0 + rng.uniform(-1.0, 1.0))
    assert_smooth_ticks(rig)
    assert_rules(rig)
    assert rig.events("GATE_TRIPPED") == 0
