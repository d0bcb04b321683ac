# SPDX-License-Identifier: Apache-2.0
"""Cases of the hazards in what a policy asks for (1 to 15)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from levine_policy_node.core.units import FloatArray
from levine_policy_node.dst.policy import ROW_S
from levine_policy_node.dst.world import EXPECTED_MODE, World
from levine_policy_node.faults.case import Case
from levine_policy_node.faults.spoiled import (
    Change,
    enlarged,
    fewer_columns,
    hurried,
    moved,
    renamed,
    reordered,
    reversed_time,
    second_chunk,
    shifted,
    spoil,
    standing_time,
    with_value,
)
from levine_policy_node.faults.wall import beside_a_wall, into_the_wall, through_the_wall

# A chunk is refused as it arrives, and the tick that follows decides: two ticks and the way.
_NEXT_MS = 30.0
# From the first unusable chunk on, what is being played goes on to its end, at most 0.9 s, and
# half a second later the wait is over.
_STARVED_MS = 1600.0
# Half a second of such answers, counted from the first, and the next one has to come.
_LASTING_MS = 1000.0


def _refused_twice(row: int, name: str, injection: str, change: Change) -> Case:
    return Case(
        row,
        name,
        injection,
        limit_ms=_NEXT_MS,
        stop="PSTOP",
        fault="BAD_CHUNKS",
        inject=spoil(change),
        since=second_chunk,
    )


def _harmless(row: int, name: str, injection: str, change: Change) -> Case:
    """Whatever becomes of it, nothing unsafe is sent."""
    return Case(row, name, injection, inject=spoil(change), check=still_commanded, rests=False)


def _nothing_noted(world: World) -> str:
    """A stop that nothing calls for is a fault, too."""
    mode, wanted = world.supervisor.mode, EXPECTED_MODE[world.setup.phase]
    noted = [record.values[0] for record in world.trace.of("fault")]
    return f"{noted} was noted, and it ended in {mode.value}" if noted or mode != wanted else ""


def still_commanded(world: World) -> str:
    """The policy goes on or the arm was stopped; nothing else may come of a strange chunk."""
    mode = world.supervisor.mode.value
    fine = {"POLICY", "STOPPING", "PAUSED", "PSTOP"}
    return "" if mode in fine else f"ended in {mode}"


def _rows(change: str, size: float) -> Case:
    """The network itself asks for it, through placing and merging."""

    def inject(world: World) -> None:
        jump = np.array([world.rng.choice([-size, size]) for _ in world.arm.position])
        turn = [1.0]

        def changed(rows: FloatArray) -> FloatArray:
            turn[0] = -turn[0]
            if change == "flip":
                signs = np.where(np.arange(len(rows)) % 2 == 0, 1.0, -1.0)[:, None]
                return rows + signs * jump
            return rows + turn[0] * jump

        world.policy.rows = changed

    return Case(
        6 if change == "jump" else 3,
        f"network_{change}",
        f"the network's targets {change} by {size:g} rad",
        inject=inject,
        check=still_commanded,
        rests=False,
    )


def _always(answer: Callable[[World, FloatArray], FloatArray]) -> Callable[[World], None]:
    """From now on the network answers as `answer` makes of its rows."""

    def inject(world: World) -> None:
        world.policy.rows = lambda rows: answer(world, rows)

    return inject


def _chattering(world: World, rows: FloatArray) -> FloatArray:
    limits = world.setup.options.limits
    sizes = world.rng.uniform(1.0, 3.0) * limits.acceleration * ROW_S**2
    return rows + np.where(np.arange(len(rows)) % 2 == 0, 0.5, -0.5)[:, None] * sizes


def _stuck(world: World, rows: FloatArray) -> FloatArray:
    return np.repeat(world.setup.options.home[None], len(rows), axis=0)


def _beyond_range(world: World, rows: FloatArray) -> FloatArray:
    limits = world.setup.options.limits
    return rows + 2.0 * (limits.upper - limits.lower)


def _not_warned(world: World) -> str:
    return "" if world.trace.first("stuck") is not None else "nobody was warned"


CASES: tuple[Case, ...] = (
    Case(
        0,
        "nothing",
        "no fault at all, on a bad network",
        phases=("armed", "policy", "human", "paused"),
        after_s=3.0,
        inject=lambda world: None,
        check=_nothing_noted,
        rests=False,
    ),
    Case(
        1,
        "one_nan",
        "one chunk with NaN in a position",
        inject=spoil(with_value(np.nan, "positions"), times=1),
        rests=False,
    ),
    _refused_twice(1, "nan_again", "chunks with NaN", with_value(np.nan, "velocities")),
    _refused_twice(1, "infinity", "chunks with infinity", with_value(np.inf, "accelerations")),
    _harmless(2, "beyond_position", "every chunk lies 10 rad away", moved(10.0)),
    _harmless(2, "beyond_by_little", "every chunk lies 1 rad away", moved(1.0)),
    _harmless(3, "too_fast", "chunks of eight times the velocity", hurried(8.0)),
    _rows("flip", 0.4),
    _harmless(4, "too_abrupt", "chunks three times as fast", hurried(3.0)),
    _harmless(5, "jerky", "chunks ten times as large", enlarged(10.0)),
    _harmless(5, "jerk_spike", "one acceleration is off", with_value(500.0, "accelerations")),
    _harmless(6, "far_away", "every chunk begins 0.4 rad away", moved(0.4)),
    _rows("jump", 0.5),
    _refused_twice(7, "wrong_length", "chunks with a joint less", fewer_columns),
    _harmless(7, "degrees", "chunks in degrees", enlarged(57.3)),
    Case(
        8,
        "reordered_names",
        "chunks with the joints in another order",
        inject=spoil(reordered),
        rests=False,
    ),
    _refused_twice(8, "name_twice", "a joint is named twice", renamed(lambda n: (n[0], *n[:-1]))),
    _refused_twice(8, "unknown_name", "a joint nobody has", renamed(lambda n: (*n[:-1], "hip"))),
    _refused_twice(9, "time_stands", "two knots at one time", standing_time),
    _refused_twice(9, "time_reversed", "times that decrease", reversed_time),
    Case(
        10,
        "stamp_in_future",
        "chunks of the day after tomorrow",
        limit_ms=_STARVED_MS,
        stop="PAUSED",
        after_s=2.2,
        inject=spoil(shifted(172_800.0)),
    ),
    Case(
        10,
        "stamp_in_past",
        "chunks of ten seconds ago",
        limit_ms=_STARVED_MS,
        stop="PAUSED",
        after_s=2.2,
        inject=spoil(shifted(-10.0)),
    ),
    Case(
        11,
        "stuck",
        "the network answers the same, whatever it sees",
        after_s=2.5,
        inject=_always(_stuck),
        check=_not_warned,
        rests=False,
    ),
    Case(
        11,
        "out_of_range",
        "the network asks for what no joint can reach",
        limit_ms=_LASTING_MS,
        stop="PAUSED",
        after_s=2.5,
        inject=_always(_beyond_range),
    ),
    Case(
        12,
        "chatter",
        "the network turns back with every row, by more than the arm can follow",
        limit_ms=_LASTING_MS,
        stop="PAUSED",
        fault="OBSERVATION_BAD",
        after_s=2.5,
        inject=_always(_chattering),
    ),
    Case(
        13,
        "into_a_wall",
        "the network leads a joint into a wall",
        stop="PAUSED",
        after_s=3.0,
        inject=into_the_wall,
        adapt=beside_a_wall,
        check=through_the_wall,
    ),
)
