# SPDX-License-Identifier: Apache-2.0
"""The black box: what it keeps, when a stop begins and ends, and that nothing it keeps changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stop_ticks import MS, Scene, silenced

from levine_policy_node.core.black_box import (
    DIED,
    Begun,
    BlackBox,
    BlackBoxOptions,
    More,
    Over,
    stop_begun,
)
from levine_policy_node.core.modes import LATCHED, MOVING, STOP_ORDER, Event, Mode, ModeState
from levine_policy_node.core.tick_record import Tick, unpack_tick

MODES = [ModeState(m) for m in Mode if m is not Mode.STOPPING]
MODES += [ModeState(Mode.STOPPING, target) for target in STOP_ORDER]


@pytest.fixture(scope="module")
def ticks() -> list[Tick]:
    return [unpack_tick(data) for data in silenced()]


def plain(number: int, state: ModeState, *, fault: bool = True) -> Tick:
    """A tick in a mode, with a fault that came up in it."""
    return Tick(
        number=number,
        due_ns=number * 10 * MS,
        sent_ns=number * 10 * MS,
        ros_offset_ns=0,
        held_offset_ns=0,
        mode=state.mode.value,
        target=state.target.value if state.target else "",
        measured=None,
        heartbeat=None,
        operator=None,
        estop=(False, None),
        publishers=1,
        chunks=(),
        chunks_left_out=0,
        acts=(),
        command=None,
        proposal=None,
        window=None,
        occurrences=(("TRACKING", 2, "the arm does not follow: far"),) if fault else (),
        faults={"TRACKING": (2, "far")} if fault else {},
    )


def written(steps) -> list[int]:
    """Numbers of the ticks that a list of steps writes, checked to be one incident or none."""
    numbers: list[int] = []
    for step in steps:
        if isinstance(step, Begun):
            numbers += [tick.number for tick in step.ticks]
        elif isinstance(step, More):
            numbers.append(step.tick.number)
    return numbers


def test_a_tick_comes_back_as_it_was():
    scene = Scene()
    data = [*scene.run(0.1), *scene.run(0.1, Event.ARM), *scene.run(0.5, Event.ENGAGE)][-1]
    while not scene.inputs.chunks or scene.decision.window is None:
        data = scene.tick()
    tick, taken, decided = unpack_tick(data), scene.inputs, scene.decision
    assert tick.mode == "POLICY"
    assert tick.due_ns == scene.now_ns
    assert np.array_equal(tick.measured.position, taken.measured.position)
    assert np.array_equal(tick.measured.velocity, taken.measured.velocity)
    assert tick.heartbeat == (taken.heartbeat.count, taken.heartbeat.received_ns)
    assert np.array_equal(tick.chunks[0].rows[1], taken.chunks[0].velocities)
    assert tick.chunks[0].start_ns == taken.chunks[0].start_ns
    assert np.array_equal(tick.command.position, decided.command.position)
    assert tick.command.source == decided.source
    assert np.array_equal(tick.proposal.velocity, decided.proposal.velocity)
    assert np.array_equal(tick.window.rows[2], decided.window.accelerations)


def test_what_is_kept_does_not_change_with_what_it_was_made_of():
    scene = Scene()
    data = [*scene.run(0.1), *scene.run(0.1, Event.ARM)][-1]
    tick, copy = unpack_tick(data), unpack_tick(data)
    scene.inputs.measured.position[:] = np.nan
    assert np.array_equal(tick.measured.position, copy.measured.position)
    with pytest.raises(ValueError, match="read-only"):
        tick.measured.position[0] = 1.0


def test_a_silent_policy_makes_an_incident_with_its_braking(ticks):
    box = BlackBox(BlackBoxOptions(before_s=0.5, after_s=1.0))
    steps = [step for tick in ticks for step in box.add(tick, 100)]
    begun, over = steps[0], steps[-1]
    assert isinstance(begun, Begun)
    assert isinstance(over, Over)
    assert begun.stop.cause == "POLICY_LOST"
    assert "policy/heartbeat: nothing for" in begun.stop.evidence
    assert (begun.stop.before, begun.stop.mode) == ("POLICY", "STOPPING(PAUSED)")
    assert over.stops == (begun.stop,)
    numbers = written(steps)
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    last = ticks[numbers[-1] - ticks[0].number]
    assert last.mode == "PAUSED"
    assert last.due_ns - begun.stop.time_ns == pytest.approx(1.0e9)
    assert begun.stop.time_ns - begun.ticks[0].due_ns == pytest.approx(0.5e9)


@pytest.mark.parametrize(
    ("act", "cause"),
    [
        (Event.PAUSE, "OPERATOR_PAUSE"),
        (Event.STOP, "OPERATOR_STOP"),
        (Event.DISARM, "OPERATOR_DISARM"),
    ],
)
def test_an_operators_stop_says_so(act, cause):
    scene, box, steps = Scene(), BlackBox(), []
    for data in (
        *scene.run(0.1), *scene.run(0.1, Event.ARM), *scene.run(0.3, Event.ENGAGE),
        *scene.run(0.2, act),
    ):  # fmt: skip
        steps += box.add(unpack_tick(data), len(data))
    assert steps[0].stop.cause == cause
    assert steps[0].stop.by_operator


def test_the_end_of_the_home_motion_is_no_stop():
    scene, box, steps = Scene(), BlackBox(), []
    ticks = [*scene.run(0.1), *scene.run(0.1, Event.ARM), *scene.run(2.5, Event.HOME)]
    for data in ticks:
        steps += box.add(unpack_tick(data), len(data))
    modes = [unpack_tick(data).mode for data in ticks]
    assert {"HUMAN", "STOPPING", "PAUSED"} <= set(modes)
    assert not steps


def test_a_second_stop_belongs_to_the_first():
    states = [ModeState(Mode.POLICY)] * 5 + [ModeState(Mode.STOPPING, Mode.PAUSED)] * 5
    states += [ModeState(Mode.STOPPING, Mode.FAULT)] * 5 + [ModeState(Mode.FAULT)] * 150
    states += [ModeState(Mode.DISARMED)]
    box = BlackBox()
    steps = [s for i, state in enumerate(states) for s in box.add(plain(i, state), 100)]
    assert sum(isinstance(step, Begun) for step in steps) == 1
    (over,) = (step for step in steps if isinstance(step, Over))
    assert [stop.mode for stop in over.stops] == ["STOPPING(PAUSED)", "STOPPING(FAULT)"]
    # A second after the last of them.
    assert written(steps)[-1] == 110


def test_an_arm_that_never_comes_to_rest_does_not_keep_the_file_open():
    box = BlackBox(BlackBoxOptions(longest_s=3.0))
    stopping = ModeState(Mode.STOPPING, Mode.PSTOP)
    steps = [s for i in range(1000) for s in box.add(plain(i, stopping), 100)]
    assert isinstance(steps[-1], Over)
    assert written(steps)[-1] == 300


def test_a_supervisor_that_dies_leaves_what_it_did(ticks):
    box = BlackBox()
    for tick in ticks[:60]:
        assert not box.add(tick, 100)
    begun, over = box.finish(DIED, "the process ended")
    assert begun.stop.cause == DIED
    assert begun.stop.before == "POLICY"
    assert len(begun.ticks) == 60
    assert over.stops == (begun.stop,)
    assert not box.finish("", "")


def test_one_that_dies_while_stopping_adds_to_the_incident(ticks):
    box, steps = BlackBox(), []
    began = next(i for i, tick in enumerate(ticks) if tick.mode == "STOPPING")
    for tick in ticks[: began + 5]:
        steps += box.add(tick, 100)
    (over,) = box.finish(DIED, "the process ended")
    assert [stop.cause for stop in over.stops] == ["POLICY_LOST", DIED]


def test_before_the_first_tick_there_is_nothing_to_write():
    assert not BlackBox().finish(DIED, "the process ended")


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from(MODES), st.integers(1, 5)), min_size=1, max_size=80),
    st.floats(0.05, 0.5),
    st.integers(300, 3000),
)
def test_it_is_bounded_and_in_order_whatever_happens(history, before_s, capacity):
    options = BlackBoxOptions(before_s=before_s, after_s=0.1, longest_s=0.4, capacity=capacity)
    box, steps, number = BlackBox(options), [], 0
    before: Tick | None = None
    for state, repeats in history:
        for _ in range(repeats):
            tick = plain(number, state)
            made = box.add(tick, 100)
            began = stop_begun(before, tick)
            if began is not None:
                # Whatever enters a stop from outside of one is written.
                assert made
            assert box.kept <= max(1, capacity // 100)
            assert box.kept <= before_s / 0.01 + 2
            assert box.last is tick
            steps += made
            before, number = tick, number + 1
    steps += box.finish("", "")
    open_, last, length = False, -1, 0
    for step in steps:
        if isinstance(step, Begun):
            assert not open_
            open_, length = True, 0
        else:
            assert open_
        numbers = written([step])
        assert numbers == sorted(numbers)
        if isinstance(step, More):
            assert numbers[0] == last + 1
            length += 1
        last = numbers[-1] if numbers else last
        assert length <= 41
        open_ = open_ and not isinstance(step, Over)
    assert not open_


@settings(max_examples=60)
@given(st.sampled_from(MODES), st.sampled_from(MODES))
def test_entering_a_stop_or_a_latch_is_a_stop(before, after):
    found = stop_begun(plain(0, before), plain(1, after))
    stops = {Mode.STOPPING, *LATCHED}
    if after.mode in stops and before.mode not in stops:
        assert found is not None
    if after.mode not in stops or before == after:
        assert found is None
    if before.mode is Mode.STOPPING and after.mode is before.target:
        assert found is None
    if before.mode in MOVING and found is not None:
        assert found.before == str(before)


def test_a_stop_without_a_fault_or_an_act_is_told_in_the_modes_words():
    tick = replace(
        plain(1, ModeState(Mode.STOPPING, Mode.PSTOP), fault=False),
        occurrences=(("MODE", 0, "POLICY -> STOPPING(PSTOP): something new"),),
    )
    found = stop_begun(plain(0, ModeState(Mode.POLICY), fault=False), tick)
    assert found is not None
    assert (found.cause, found.evidence) == (
        "STOPPED", "POLICY -> STOPPING(PSTOP): something new",
    )  # fmt: skip
