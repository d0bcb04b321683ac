# SPDX-License-Identifier: Apache-2.0
"""Cases of the hazards in joint states and clocks (22 to 28)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from levine_policy_node.core.units import FloatArray, nanoseconds
from levine_policy_node.dst.arm import Encoder, JointStates
from levine_policy_node.dst.world import World
from levine_policy_node.faults.case import Case, injected_ns

_TICK_MS = 10.0
# Joint states are 10 ms apart and age 100 ms; then the next tick decides.
_LATE_MS = 100.0 + 2 * _TICK_MS
_LAG_S, _TOLERANCE_RAD, _BEYOND_MS, _LED_RAD = 0.2, 0.35, 100.0, 0.05


def _encoder(kind: Encoder) -> Callable[[World], None]:
    def inject(world: World) -> None:
        world.arm.encoder = kind

    return inject


def _garbled(change: Callable[[JointStates], JointStates]) -> Callable[[World], None]:
    def inject(world: World) -> None:
        world.arm.garble = change

    return inject


def _without_last(message: JointStates) -> JointStates:
    return replace(
        message,
        names=message.names[:-1],
        positions=message.positions[:-1],
        velocities=message.velocities[:-1],
    )


def _backwards(message: JointStates) -> JointStates:
    return replace(
        message,
        names=(*message.names[::-1], "rail"),
        positions=np.append(message.positions[::-1], 9.0),
        velocities=np.append(message.velocities[::-1], 9.0),
    )


def _twice(message: JointStates) -> JointStates:
    return replace(message, names=(*message.names[:-1], message.names[0]))


def _go_far(world: World) -> None:
    """Let whoever commands ask for a way on which a fault of the arm shows."""
    limits = world.setup.options.limits
    far = np.where(world.arm.position > 0.5 * (limits.lower + limits.upper), -0.9, 0.9)
    share = [0.0]

    def farther(rows: FloatArray) -> FloatArray:
        share[0] = min(1.0, share[0] + 0.15)
        return np.clip(rows + share[0] * far, limits.lower, limits.upper)

    world.policy.rows = farther
    world.operator.hold(
        np.clip(world.arm.position + far, limits.lower, limits.upper), str(world.setup.seed)
    )


def _blocked(world: World) -> None:
    _go_far(world)
    world.arm.blocked[:] = True


def _frozen(world: World) -> None:
    _go_far(world)
    world.arm.freeze_encoders()


def _led_on(world: World) -> int:
    """When the arm had been led so far since the fault that its encoders must show it."""
    trace, exempt = world.trace, world.setup.options.exempt
    from_ns = injected_ns(trace)
    commands = [c for c in trace.of("command") if c.time_ns >= from_ns]
    for k in range(1, len(commands)):
        led = np.ptp(np.stack([c.values[1] for c in commands[: k + 1]]), axis=0)
        if np.max(led[np.logical_not(exempt)]) > _LED_RAD:
            return commands[k].time_ns
    return from_ns


def _beyond(world: World) -> int:
    """When the arm, or what is heard of it, lay beyond the tolerance from all it was led through.

    Told from the setpoints and where the arm was at the injection, which is where it stays.
    """
    trace, exempt = world.trace, world.setup.options.exempt
    from_ns = injected_ns(trace)
    cycles = trace.of("cycle")
    before = [c for c in cycles if c.time_ns <= from_ns]
    stood = before[-1].values[1]
    for cycle in cycles:
        if cycle.time_ns <= from_ns:
            continue
        oldest_ns = cycle.time_ns - nanoseconds(_LAG_S)
        band = np.stack([c.values[0] for c in cycles if oldest_ns <= c.time_ns <= cycle.time_ns])
        away = np.maximum(band.min(axis=0) - stood, stood - band.max(axis=0))
        if np.max(away[np.logical_not(exempt)]) > _TOLERANCE_RAD:
            return cycle.time_ns
    return from_ns


# A controller plays by its own clock: when that is set, it skips or repeats what it has, and
# nobody can send anything that it would not.
def _step(seconds: float) -> Callable[[World], None]:
    def inject(world: World) -> None:
        world.step_clocks(seconds)

    return inject


def _stop_clock(world: World) -> None:
    for clock in (world.clock, world.arm_clock, world.policy_clock):
        clock.stop()


_ENERGISED = ("armed", "policy", "human", "paused")

CASES: tuple[Case, ...] = (
    Case(
        22,
        "clock_back",
        "the ROS clock is set back by 10 s",
        limit_ms=_TICK_MS,
        stop="PSTOP",
        fault="CLOCK_STEPPED",
        phases=("policy", "human"),
        smooth=False,
        inject=_step(-10.0),
    ),
    Case(
        22,
        "clock_forward",
        "the ROS clock is set forward by 10 s",
        limit_ms=_TICK_MS,
        stop="PSTOP",
        fault="CLOCK_STEPPED",
        phases=("policy", "human"),
        smooth=False,
        inject=_step(10.0),
    ),
    Case(
        24,
        "clock_stops",
        "/clock falls silent",
        # Seen once it is 50 ms behind.
        limit_ms=50.0 + 2 * _TICK_MS,
        stop="PSTOP",
        fault="CLOCK_STEPPED",
        phases=("policy", "human"),
        smooth=False,
        inject=_stop_clock,
    ),
    Case(
        25,
        "joint_order",
        "joint_states in another order with one joint more",
        inject=_garbled(_backwards),
        phases=("human", "armed", "paused"),
        rests=False,
    ),
    Case(
        25,
        "joint_missing",
        "joint_states lack a joint",
        limit_ms=_LATE_MS,
        stop="PSTOP",
        fault="JOINT_STATES_LOST",
        phases=_ENERGISED,
        inject=_garbled(_without_last),
    ),
    Case(
        25,
        "joint_twice",
        "joint_states name a joint twice",
        limit_ms=_LATE_MS,
        stop="PSTOP",
        fault="JOINT_STATES_LOST",
        phases=_ENERGISED,
        inject=_garbled(_twice),
    ),
    Case(
        26,
        "joint_nan",
        "joint_states are not numbers",
        limit_ms=_LATE_MS,
        stop="PSTOP",
        fault="JOINT_STATES_LOST",
        phases=_ENERGISED,
        inject=_encoder("nan"),
    ),
    Case(
        26,
        "joints_silent",
        "joint_states fall silent",
        limit_ms=_LATE_MS,
        stop="PSTOP",
        fault="JOINT_STATES_LOST",
        phases=_ENERGISED,
        inject=_encoder("silent"),
    ),
    Case(
        27,
        "encoders_frozen",
        "encoders repeat one position while the arm moves",
        # What was commanded within the lag that is allowed does not count.
        limit_ms=1e3 * _LAG_S + _BEYOND_MS,
        stop="PSTOP",
        fault="JOINT_STATES_FROZEN",
        phases=("policy", "human"),
        after_s=2.6,
        inject=_frozen,
        since=_led_on,
    ),
    Case(
        28,
        "arm_blocked",
        "every joint is blocked",
        limit_ms=_BEYOND_MS + 3 * _TICK_MS,
        stop="PSTOP",
        fault="TRACKING",
        phases=("policy", "human"),
        after_s=2.6,
        inject=_blocked,
        since=_beyond,
    ),
)
