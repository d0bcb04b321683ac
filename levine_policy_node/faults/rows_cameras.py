# SPDX-License-Identifier: Apache-2.0
"""Cases of the hazards with cameras and the clocks of other hosts (16 to 23, 29)."""

from __future__ import annotations

from collections.abc import Callable

from levine_policy_node.core.modes import Event
from levine_policy_node.dst.cameras import Picture
from levine_policy_node.dst.world import World
from levine_policy_node.faults.case import Case
from levine_policy_node.faults.rows_people import refused_to_arm

_TICK_MS = 10.0


def _picture(kind: Picture) -> Callable[[World], None]:
    def inject(world: World) -> None:
        world.camera.picture = kind

    return inject


_backwards_stamps = _picture("reversed")


def _camera_dies(world: World) -> None:
    world.camera.kill()


def _skewed(which: str) -> Callable[[World], None]:
    """The clock of one host is off, and later the arm is to be armed."""

    def inject(world: World) -> None:
        clock = world.arm_clock if which == "arm" else world.policy_clock
        clock.step(world.rng.choice([-0.2, 0.2]))
        # An estimate is over the last 64 messages.
        world.later(2.2, lambda: world.operator.ask(Event.ARM))

    return inject


def _camera(
    row: int, name: str, injection: str, limit_ms: float, inject: Callable[[World], None]
) -> Case:
    return Case(
        row,
        name,
        injection,
        limit_ms=limit_ms,
        stop="PAUSED",
        fault="OBSERVATION_BAD",
        inject=inject,
    )


_FRAME_MS = 1e3 / 30.0
# Two hops through the network of the simulation.
_WAY_MS = 5.0
_THREE_FRAMES_MS = 3 * _FRAME_MS + _TICK_MS + _WAY_MS
# A frame may be 0.2 s old (camera_max_age_s), and what is merely late is told after two
# heartbeats, for it may come a moment later.
_SILENT_MS = 200.0 + _FRAME_MS + 40.0 + 2 * _TICK_MS

CASES: tuple[Case, ...] = (
    _camera(
        16,
        "frames_stop",
        "the camera's process stops (SIGSTOP)",
        _SILENT_MS,
        lambda world: world.camera.hang(),
    ),
    _camera(
        17,
        "camera_frozen",
        "the camera repeats its picture with fresh stamps",
        _THREE_FRAMES_MS,
        _picture("frozen"),
    ),
    _camera(18, "camera_dies", "the camera's process dies", _SILENT_MS, _camera_dies),
    _camera(19, "camera_black", "black pictures", _THREE_FRAMES_MS, _picture("black")),
    _camera(19, "camera_white", "white pictures", _THREE_FRAMES_MS, _picture("white")),
    _camera(
        21,
        "camera_resized",
        "pictures of half the size",
        _FRAME_MS + 2 * _TICK_MS,
        _picture("smaller"),
    ),
    _camera(
        22,
        "stamps_reversed",
        "the camera's stamps go back",
        _THREE_FRAMES_MS,
        _picture("reversed"),
    ),
    Case(
        23,
        "arm_clock_skewed",
        "the clock of the arm's host is off by 0.2 s, and the arm is to be armed",
        phases=("disarmed",),
        after_s=2.6,
        inject=_skewed("arm"),
        check=refused_to_arm,
    ),
    Case(
        23,
        "policy_clock_skewed",
        "the clock of the policy's host is off by 0.2 s, and the arm is to be armed",
        phases=("disarmed",),
        after_s=2.6,
        inject=_skewed("policy"),
        check=refused_to_arm,
    ),
    _camera(
        29,
        "camera_late",
        "pictures are 0.3 s older than before",
        _FRAME_MS + 40.0 + 3 * _TICK_MS,
        _picture("late"),
    ),
)
