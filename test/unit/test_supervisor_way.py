# SPDX-License-Identifier: Apache-2.0
"""The supervisor before a wall: chunks, targets and the home motion stop in front of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from test_supervisor import OPTIONS, START, Rig

from levine_policy_node.core.faults import RESPONSES, Fault, Severity
from levine_policy_node.core.modes import Event, Mode

WALL = 0.25
MARGIN = 0.01


@dataclass(frozen=True)
class Wall:
    """The first joint slides towards a wall; the second carries a hand 0.4 m long."""

    tool_speed: float = np.inf
    margins = np.array([MARGIN])
    reach = np.array([[1.0, 0.0, 0.0]])
    hand_reach = np.array([0.0, 0.4, 0.0])

    def distances(self, position: np.ndarray) -> np.ndarray:
        return np.array([WALL - position[0]])

    def hand_speed(self, position: np.ndarray, velocity: np.ndarray) -> float:
        return 0.4 * abs(float(velocity[1]))

    def say(self, pair: int, distance: float) -> str:
        return f"the arm and the wall would be {distance * 1e3:.1f} mm apart"


WALLED = replace(OPTIONS, obstacles=Wall())


def commanded(rig: Rig) -> np.ndarray:
    """Every position commanded and every one that the controller was left with, (N, 3)."""
    sent = [d.command.position for d in rig.decisions if d.command is not None]
    ends = [d.window.positions for d in rig.decisions if d.window is not None]
    return np.concatenate([np.array(sent), *ends])


def path_end(rig: Rig) -> np.ndarray:
    """Where the arm was commanded last."""
    return next(d.command.position for d in reversed(rig.decisions) if d.command is not None)


def engaged(options=WALLED, **how) -> Rig:
    rig = Rig(options=options, **how)
    for _ in range(12):
        rig.tick()
    rig.tick(Event.ARM)
    for _ in range(6):
        rig.tick()
    return rig


def notes(rig: Rig, name: str) -> list[str]:
    return [o.text for d in rig.decisions for o in d.occurrences if o.name == name]


@pytest.mark.parametrize("seed", [0, 2])
def test_a_policy_that_goes_into_the_wall_stands_before_it_and_is_paused(seed):
    rig = engaged(seed=seed, size=0.5, prepared_ms=4.0)
    rig.tick(Event.ENGAGE)
    for _ in range(250):
        rig.tick()
        if rig.decisions[-1].mode.mode is Mode.PAUSED:
            break
    assert commanded(rig)[:, 0].max() <= WALL - MARGIN + 1e-9
    blocked = notes(rig, "BLOCKED")
    if rig.decisions[-1].mode.mode is Mode.PAUSED:
        assert "the arm and the wall would be" in blocked[0]
        assert RESPONSES[Fault.BLOCKED].severity is Severity.PAUSE


def test_what_a_tick_has_no_time_for_is_asked_for_and_not_followed():
    rig = engaged(seed=0, size=0.5)
    rig.tick(Event.ENGAGE)
    asked = []
    for _ in range(250):
        before = rig.state.plan
        decision = rig.tick()
        if decision.mode.mode is not Mode.POLICY:
            break
        if decision.unprepared:
            asked.append(rig.state.plan is before)
    assert asked
    assert all(asked)
    sent = [d.command.position[0] for d in rig.decisions if d.command is not None]
    assert max(sent) <= WALL - MARGIN + 1e-9
    # The brake of a window that nothing follows may reach into the margin, and not through it.
    assert commanded(rig)[:, 0].max() < WALL


def test_a_target_behind_the_wall_is_approached_and_said_once():
    rig = engaged(policy=False)
    rig.target = START + np.array([1.0, 0.2, 0.0])
    rig.tick()
    rig.tick(Event.TAKEOVER)
    for n in range(120):
        rig.target = rig.target + np.array([0.0, 0.0, 1e-3 * (n % 2)])
        rig.tick()
    path = commanded(rig)
    assert path[:, 0].max() <= WALL - MARGIN + 1e-9
    assert path[-1, 0] > WALL - MARGIN - 0.03
    assert len(notes(rig, "TARGET_CUT")) >= 1
    assert "the wall" in notes(rig, "TARGET_CUT")[0]
    rig.target = START - np.array([0.2, 0.0, 0.0])
    # Until what was between the device and the arm at the takeover has faded.
    for _ in range(300):
        rig.tick()
    assert np.allclose(path_end(rig), rig.target, atol=1e-6)


def test_home_behind_the_wall_is_refused_whole():
    rig = engaged(replace(WALLED, home=START + np.array([0.5, 0.0, 0.0])), policy=False)
    reply = rig.tick(Event.HOME).replies[0]
    assert not reply.accepted
    assert "the wall" in reply.message
    assert rig.decisions[-1].mode.mode is Mode.ARMED


def test_home_leads_out_of_the_margin():
    start = np.array([WALL - 0.5 * MARGIN, -0.2, 0.7])
    rig = engaged(replace(WALLED, home=START), policy=False, position=start)
    assert rig.tick(Event.HOME).replies[0].accepted
    for _ in range(100):
        rig.tick()
    assert np.allclose(path_end(rig), START, atol=1e-6)


@pytest.mark.parametrize("human", [False, True])
def test_the_hand_is_never_too_fast(human):
    slow = replace(WALLED, obstacles=Wall(tool_speed=0.2), home=START + np.array([-0.4, 1.2, 0.0]))
    rig = engaged(slow, policy=False)
    if human:
        rig.target = START.copy()
        rig.tick()
    assert rig.tick(Event.TAKEOVER if human else Event.HOME).replies[0].accepted
    rig.target = slow.home if human else None
    for _ in range(350):
        rig.tick()
    speeds = [abs(d.command.velocity[1]) * 0.4 for d in rig.decisions if d.command is not None]
    assert max(speeds) <= 0.2 * 1.01 + 1e-9
    assert max(speeds) > 0.15
    assert np.allclose(path_end(rig), slow.home, atol=1e-6)


def test_engaging_where_nothing_is_clear_is_refused():
    start = np.array([WALL - 0.5 * MARGIN, -0.2, 0.7])
    rig = engaged(position=start)
    reply = rig.tick(Event.ENGAGE).replies[0]
    assert not reply.accepted
    assert "the wall" in reply.message
