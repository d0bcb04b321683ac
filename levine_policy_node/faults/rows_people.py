# SPDX-License-Identifier: Apache-2.0
"""Cases of the hazards with people and stop functions (48 to 55)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from levine_policy_node.core.modes import Event
from levine_policy_node.core.supervision import SupervisorOptions
from levine_policy_node.dst.world import PHASES, World
from levine_policy_node.faults.case import Case, injected_ns

_TICK_MS = 10.0
_TARGET_MS = 100.0 + 2 * _TICK_MS


def _take_over(world: World) -> None:
    """The leader arm is wherever it is; what matters is that the arm makes no step."""
    world.operator.leading = True
    world.later(0.05, lambda: world.operator.ask(Event.TAKEOVER))


def _in_human(world: World) -> int | None:
    """How long after the act a person had the arm [ns]."""
    for record in world.trace.of("mode"):
        if record.time_ns >= injected_ns(world.trace) and record.values[0] == "HUMAN":
            return record.time_ns - injected_ns(world.trace) - 50_000_000
    return None


def _has_taken_over(world: World) -> str:
    mode = world.supervisor.mode.value
    return "" if mode == "HUMAN" else f"ended in {mode}"


def _let_go(world: World) -> None:
    world.operator.leading = False


def _device_dies(world: World) -> None:
    world.operator.kill()


def _device_nan(world: World) -> None:
    world.operator.nan = True


def _press(world: World) -> None:
    world.estop.switch(on=True)


def _press_and_release(world: World) -> None:
    world.estop.switch(on=True)
    world.later(0.2, lambda: world.estop.switch(on=False))


def _tap(world: World) -> None:
    """The line is on for less than a tick."""
    world.estop.switch(on=True)
    world.estop.switch(on=False)


def _press_and_reset(world: World) -> None:
    world.estop.switch(on=True)
    for k in range(1, 8):
        world.later(0.1 * k, lambda: world.operator.ask(Event.RESET))


def _stuck_reset(world: World) -> None:
    """A reset that never stops asking, also after the cause is gone."""
    world.estop.switch(on=True)
    world.later(0.3, lambda: world.estop.switch(on=False))
    for k in range(1, 20):
        world.later(0.05 * k, lambda: world.operator.ask(Event.RESET))


def _silence_after(world: World) -> str:
    """Once the emergency stop is latched, nothing may be sent but one last brake."""
    began = next((r.time_ns for r in world.trace.of("mode") if r.values[0] == "ESTOP"), None)
    if began is None:
        return "ESTOP was never entered"
    later = [r for r in world.trace.of("window", "command") if r.time_ns > began]
    return f"{len(later)} commands after the emergency stop" if later else ""


def _no_motion_after(world: World) -> str:
    bad = [r for r in world.trace.of("mode") if r.time_ns > injected_ns(world.trace)]
    moving = [r.values[0] for r in bad if r.values[0] in {"POLICY", "HUMAN", "ARMED"}]
    return f"a reset alone led to {moving[0]}" if moving else ""


def _line_falls_silent(world: World) -> None:
    world.estop.kill()


def _not_permitted(world: World) -> None:
    world.enable.switch(on=False)


def _not_permitted_for_long(world: World) -> None:
    """As a robot does that stops by itself and recovers by itself."""
    world.enable.switch(on=False)
    world.later(0.3, lambda: world.enable.switch(on=True))


def _enable_falls_silent(world: World) -> None:
    world.enable.kill()


def _with_enable(options: SupervisorOptions) -> SupervisorOptions:
    return replace(options, enable_timeout_s=0.1)


def _with_heartbeat(options: SupervisorOptions) -> SupervisorOptions:
    return replace(options, estop_heartbeat_s=0.1)


def _ask_to_arm(before: Callable[[World], None]) -> Callable[[World], None]:
    def inject(world: World) -> None:
        before(world)
        world.later(0.3, lambda: world.operator.ask(Event.ARM))

    return inject


def refused_to_arm(world: World) -> str:
    """The last act was refused."""
    replies = world.trace.of("reply")
    return "" if replies and not replies[-1].values[0] else "arming was not refused"


CASES: tuple[Case, ...] = (
    Case(
        48,
        "takeover",
        "a person takes over at any moment of a chunk",
        limit_ms=2 * _TICK_MS,
        inject=_take_over,
        check=_has_taken_over,
        reacts=_in_human,
        rests=False,
    ),
    Case(
        49,
        "let_go",
        "the person in control lets go without a word",
        limit_ms=_TARGET_MS,
        stop="PAUSED",
        fault="OPERATOR_LOST",
        phases=("human",),
        inject=_let_go,
    ),
    Case(
        50,
        "enable_released",
        "the switch that permits motion is released",
        limit_ms=2 * _TICK_MS,
        stop="PSTOP",
        fault="ENABLE_LOST",
        phases=("armed", "policy", "human", "paused"),
        inject=_not_permitted,
    ),
    Case(
        51,
        "device_dies",
        "the process of the operator's device dies",
        limit_ms=_TARGET_MS,
        stop="PAUSED",
        fault="OPERATOR_LOST",
        phases=("human",),
        inject=_device_dies,
    ),
    Case(
        51,
        "device_nan",
        "the operator's device sends what is not a number",
        limit_ms=_TARGET_MS,
        stop="PAUSED",
        fault="OPERATOR_LOST",
        phases=("human",),
        inject=_device_nan,
    ),
    Case(
        52,
        "estop",
        "the emergency stop is pressed",
        limit_ms=2 * _TICK_MS,
        stop="ESTOP",
        fault="ESTOP_PRESSED",
        phases=PHASES,
        inject=_press,
        check=_silence_after,
    ),
    Case(
        52,
        "estop_released",
        "the emergency stop is pressed and released again",
        limit_ms=2 * _TICK_MS,
        stop="ESTOP",
        fault="ESTOP_PRESSED",
        phases=PHASES,
        inject=_press_and_release,
        check=_silence_after,
    ),
    Case(
        52,
        "estop_tapped",
        "the emergency stop is on for less than a tick",
        limit_ms=2 * _TICK_MS,
        stop="ESTOP",
        fault="ESTOP_PRESSED",
        phases=PHASES,
        inject=_tap,
        check=_silence_after,
    ),
    Case(
        53,
        "reset_too_early",
        "reset is asked for while the emergency stop is pressed",
        limit_ms=2 * _TICK_MS,
        stop="ESTOP",
        phases=PHASES,
        inject=_press_and_reset,
        check=_silence_after,
    ),
    Case(
        53,
        "reset_stuck",
        "the reset button is stuck, and the emergency stop is released",
        phases=("policy", "human", "armed"),
        inject=_stuck_reset,
        check=_no_motion_after,
    ),
    Case(
        54,
        "robot_recovers",
        "the robot says that it has stopped, and then that it has not",
        limit_ms=2 * _TICK_MS,
        stop="PSTOP",
        fault="ENABLE_LOST",
        phases=("armed", "policy", "human", "paused"),
        inject=_not_permitted_for_long,
    ),
    Case(
        55,
        "enable_silent",
        "what permits motion falls silent",
        limit_ms=_TARGET_MS,
        stop="PSTOP",
        fault="ENABLE_LOST",
        phases=("armed", "policy", "human", "paused"),
        inject=_enable_falls_silent,
        adapt=_with_enable,
    ),
    Case(
        55,
        "arming_not_permitted",
        "the arm is to be armed where motion is not permitted",
        phases=("disarmed",),
        inject=_ask_to_arm(_not_permitted),
        check=refused_to_arm,
    ),
    Case(
        55,
        "estop_line_silent",
        "the emergency stop's line falls silent",
        limit_ms=_TARGET_MS,
        stop="ESTOP",
        fault="ESTOP_SILENT",
        phases=("armed", "policy", "human", "paused"),
        inject=_line_falls_silent,
        adapt=_with_heartbeat,
    ),
    Case(
        55,
        "arming_without_line",
        "the emergency stop's line is silent, and the arm is to be armed",
        phases=("disarmed",),
        inject=_ask_to_arm(_line_falls_silent),
        adapt=_with_heartbeat,
        check=refused_to_arm,
    ),
)
