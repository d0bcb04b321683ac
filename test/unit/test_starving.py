# SPDX-License-Identifier: Apache-2.0
"""No chunk comes any more: the arm is braked to rest and stays, whatever the last action was."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.integration import anchored, integrated
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.merge import MergeOptions
from levine_policy_node.core.modes import Event, Mode
from levine_policy_node.core.placement import ChunkPlacer
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
from levine_policy_node.core.units import StampNs, SteadyNs, nanoseconds, seconds

TICK = 10_000_000
START = 1_000 * TICK
NAMES = ("pan", "lift")
LIMITS = JointLimits(
    NAMES,
    np.array([-1.5, -1.0]),
    np.array([1.5, 1.2]),
    np.array([2.0, 1.5]),
    np.array([8.0, 6.0]),
    np.array([80.0, 60.0]),
)
# From full speed and full acceleration: v/a + 2a/j, and a little.
LONGEST_BRAKE_S = 0.55


class Cell:
    """Executor and supervisor on one clock, with an arm that does as it is told."""

    def __init__(self, rule="blend", lead_s=0.06, sends_windows=True):
        self.options = SupervisorOptions(
            limits=LIMITS,
            home=np.zeros(2),
            exempt=np.zeros(2, dtype=bool),
            sends_windows=sends_windows,
            lead_s=0.05,
            starved_timeout_s=10.0,
        )
        self.placer = ChunkPlacer(LIMITS, MergeOptions(rule=rule, lead_s=lead_s))
        self.state = SupervisorState()
        self.now = START
        self.commands: list[np.ndarray] = []
        self.velocities: list[np.ndarray] = []
        self.starved_ns: int | None = None
        self.begun_ns = 0
        self.notes: list[str] = []
        acts = [Event.ARM, Event.ENGAGE]
        still = ramp(np.zeros(2))
        while acts and self.now < START + 50 * TICK:
            if self.tick(acts[0], still(StampNs(self.now), self.position)).replies[0].accepted:
                acts.pop(0)
        assert not acts
        self.placer.reset()
        self.commands, self.velocities = self.commands[-1:], self.velocities[-1:]

    @property
    def position(self):
        return self.commands[-1] if self.commands else np.zeros(2)

    def tick(self, act=None, chunk=None):
        self.now += TICK
        now = SteadyNs(self.now)
        arrived = ()
        if chunk is not None:
            playing = self.state.mode.mode is Mode.POLICY
            merged = self.placer.place(chunk, StampNs(self.now), playing=playing)
            arrived = () if merged is None else (merged.timeline,)
        if self.placer.starves(StampNs(self.now)):
            self.starved_ns = self.now
        velocity = self.velocities[-1] if self.velocities else np.zeros(2)
        self.state, decision = step(
            self.state,
            now,
            Inputs(
                ros_offset_ns=0,
                measured=Measured(self.position, velocity, now),
                heartbeat=Heartbeat(self.now // TICK, now),
                chunks=arrived,
                requests=() if act is None else (Request(act),),
            ),
            self.options,
        )
        if decision.command is not None:
            self.commands.append(decision.command.position)
            self.velocities.append(decision.command.velocity)
        self.notes += [o.name for o in decision.occurrences]
        return decision

    def play(self, chunk_at, chunks, every=20):
        """Give `chunks` chunks, one every `every` ticks, then none; return when the last ends."""
        end_ns = 0
        self.begun_ns = self.now
        for k in range(chunks * every):
            chunk = chunk_at(StampNs(self.now), self.position) if k % every == 0 else None
            self.tick(chunk=chunk)
            if chunk is not None:
                end_ns = self.placer.ends_ns or end_ns
        return end_ns


def ramp(speed, rows=8, dt_s=0.1):
    """A chunk that is still moving in its last row: its repetition would be no motion at all."""

    def chunk_at(now_ns, position):
        steps = dt_s * (1.0 + np.arange(rows))[:, None] * speed
        return ActionChunk(NAMES, now_ns, dt_s, position + steps, "policy:x@0#0")

    return chunk_at


def velocities(speed, rows=8, dt_s=0.1):
    """The same motion, given as velocities [rad/s]."""

    def chunk_at(now_ns, position):
        values = np.repeat(np.asarray(speed)[None], rows, axis=0)
        rows_at = integrated(values, position, np.ones(2, dtype=bool), dt_s)
        return ActionChunk(
            NAMES, now_ns, dt_s, rows_at, "policy:v@0#0", integrated_from=position.copy()
        )

    return chunk_at


speeds = st.tuples(st.floats(-0.5, 0.5), st.floats(-0.4, 0.4)).map(np.array)


@settings(max_examples=25)
@given(
    speeds,
    st.sampled_from((ramp, velocities)),
    st.sampled_from(("replace", "blend", "ensemble")),
    st.integers(1, 3),
    st.booleans(),
)
def test_after_the_last_row_the_arm_brakes_to_rest_and_stays(speed, kind, rule, chunks, windows):
    cell = Cell(rule, sends_windows=windows)
    end_ns = cell.play(kind(speed), chunks)
    while cell.now < end_ns + nanoseconds(LONGEST_BRAKE_S):
        cell.tick()
    assert cell.state.mode.mode is Mode.POLICY
    resting = cell.position
    for _ in range(200):
        cell.tick()
        np.testing.assert_array_equal(cell.position, resting)
        assert not np.any(cell.velocities[-1])
    commands = np.array(cell.commands)
    assert np.max(np.abs(np.diff(commands, axis=0) / 0.01) / LIMITS.velocity) <= 1.001
    if np.max(np.abs(speed)) > 0.05:
        assert "STARVED" in cell.notes
        assert cell.starved_ns is not None
        assert abs(seconds(cell.starved_ns - end_ns)) <= 0.02
        # It was moving when the rows ended; it goes on only as far as braking takes.
        beyond = np.abs(resting - commands[0]) - np.abs(speed) * seconds(end_ns - cell.begun_ns)
        assert np.all(beyond <= np.abs(speed) * LONGEST_BRAKE_S + 1e-6)


@settings(max_examples=25)
@given(speeds, st.integers(1, 4))
def test_velocities_continue_from_where_the_arm_is_told_to_be(speed, chunks):
    """Each chunk begins at the commanded state, so sums do not drift or jump at a seam."""
    cell = Cell()
    cell.play(velocities(speed), chunks)
    commands = np.array(cell.commands)
    jerk = np.diff(commands, n=3, axis=0) / 1e-6
    assert np.max(np.abs(jerk) / LIMITS.jerk) <= 1.01


def test_velocities_reach_their_speed_and_keep_it_over_seams():
    cell = Cell()
    speed = np.array([0.4, -0.2])
    # From rest the arm first catches up with the chunk.
    cell.play(velocities(speed), 7)
    np.testing.assert_allclose(cell.velocities[-60:], np.tile(speed, (60, 1)), atol=1e-6)


def chunk_of(values, base, joints, observed_ns=0, dt_s=0.1):
    rows = integrated(np.asarray(values, dtype=float), base, joints, dt_s)
    return ActionChunk(
        NAMES, StampNs(observed_ns), dt_s, rows, integrated_from=np.where(joints, base, np.nan)
    )


PAN = np.array([True, False])


def test_velocities_are_summed_up_from_the_measured_position_and_targets_are_kept():
    made = chunk_of([[0.5, 0.9], [-0.5, 0.8], [1.0, 0.7]], np.array([0.2, 0.3]), PAN)
    np.testing.assert_allclose(made.positions, [[0.25, 0.9], [0.2, 0.8], [0.3, 0.7]])


def test_without_a_timeline_a_late_chunk_begins_where_the_arm_stands():
    made = chunk_of(np.full((8, 2), 0.5), np.array([0.2, 0.3]), PAN)
    now = nanoseconds(0.25)
    placed = anchored(made, None, StampNs(now), 0.05, 0.0)
    # 0.3 s after the observation the sum was 0.15 rad farther; that was never played.
    np.testing.assert_allclose(placed.positions[2], [0.2, 0.5])
    np.testing.assert_allclose(np.diff(placed.positions[:, 0]), 0.05)
    early = anchored(made, None, StampNs(now), 0.05, 0.1)
    np.testing.assert_allclose(early.positions[3], [0.2, 0.5])


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=2, max_size=12),
    st.integers(0, 1200),
    st.floats(-1, 1),
)
def test_an_anchored_chunk_keeps_its_differences_and_its_targets(values, now_ms, held):
    made = chunk_of(values, np.array([0.2, 0.3]), PAN)
    still = np.zeros((2, 2))
    previous = Timeline(
        NAMES, StampNs(0), np.array([0.0, 9.0]), np.full((2, 2), held), still, still
    )
    placed = anchored(made, previous, StampNs(now_ms * 1_000_000), 0.0, 0.0)
    moved, asked = (np.diff(c.positions, axis=0) for c in (placed, made))
    np.testing.assert_allclose(moved, asked, atol=1e-12)
    np.testing.assert_array_equal(placed.positions[:, 1], made.positions[:, 1])
    if now_ms % 100 == 0 and 100 <= now_ms <= 100 * len(values):
        assert abs(placed.positions[now_ms // 100 - 1, 0] - held) < 1e-9


def test_a_chunk_of_targets_is_left_alone():
    made = ActionChunk(NAMES, StampNs(0), 0.1, np.ones((3, 2)))
    assert anchored(made, None, StampNs(5), 0.1, 0.0) is made


def test_a_gripper_that_is_given_as_a_velocity_does_not_switch():
    options = MergeOptions(discrete=("pan", "lift"), lead_s=0.0)
    placer = ChunkPlacer(LIMITS, options)
    moving = chunk_of(np.full((8, 2), [0.3, 0.0]), np.zeros(2), PAN)
    merged = placer.place(moving, StampNs(0), playing=True)
    assert merged is not None
    np.testing.assert_allclose(merged.timeline.sample_s(0.35).velocity[0], 0.3, atol=1e-6)
