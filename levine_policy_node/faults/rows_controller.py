# SPDX-License-Identifier: Apache-2.0
"""Cases of the hazards with the controller, and with those who write where they should not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from levine_policy_node.core.units import StampNs, nanoseconds
from levine_policy_node.dst.arm import JointStates
from levine_policy_node.dst.process import Process
from levine_policy_node.dst.world import World
from levine_policy_node.faults.case import WINDOWS, Case, injected_ns
from levine_policy_node.sim.controller_semantics import Distribution
from levine_policy_node.sim.controller_trajectory import TrajectoryCommand, TrajectoryPoint

_TICK_MS = 10.0


class _Rogue(Process):
    """Sends the controller elsewhere, and the graph does not show it yet."""

    def __init__(self, world: World, period_s: float) -> None:
        super().__init__("rogue", world.scheduler, world.trace, host="elsewhere")
        self._world, self._period_s = world, period_s
        self._begins = world.arm.position.copy()
        self._share = 0.0

    def boot(self) -> None:
        """Begin to send."""
        self.every(self._period_s, self._command)
        # What the arm does after that is the supervisor's.
        self.later(0.6, self.kill)

    def _command(self) -> None:
        """A slow way of its own, which a controller has no reason to refuse."""
        world, limits = self._world, self._world.setup.options.limits
        self._share = min(1.0, self._share + 0.02)
        middle = 0.5 * (limits.lower + limits.upper)
        target = self._begins + 0.2 + self._share * (middle - self._begins)
        # It has begun already, so that the controller goes there at once.
        begin_ns = StampNs(world.clock.now() - 20_000_000)
        points = tuple(TrajectoryPoint(after_ns, target) for after_ns in (0, 40_000_000))
        command = TrajectoryCommand(limits.names, begin_ns, points)
        world.bus.publish(self, "controller/command", command)


def _rogue(period_s: float) -> Callable[[World], None]:
    return lambda world: _Rogue(world, period_s).start()


class _Flooder(Process):
    """Sends ten thousand joint states per second."""

    def __init__(self, world: World) -> None:
        super().__init__("flooder", world.scheduler, world.trace)
        self._world = world

    def boot(self) -> None:
        """Begin to send."""
        self.every(0.0001, self._send)
        self.later(0.3, self.kill)

    def _send(self) -> None:
        world, names = self._world, self._world.setup.options.limits.names
        still = np.zeros(len(names))
        states = JointStates(names, world.arm.position, still, world.clock.now())
        world.bus.publish(self, "joint_states", states)


def _flood(world: World) -> None:
    _Flooder(world).start()


def _deactivate(world: World) -> None:
    world.arm.manager.deactivate()


def _deactivate_and_back(world: World) -> None:
    world.arm.manager.deactivate()
    world.later(0.3, lambda: world.arm.manager.activate(world.arm.position))


def _hardware_error(world: World) -> None:
    world.arm.manager.fail()


def _reject(world: World) -> None:
    world.arm.manager.rejects = True


def _astray(world: World) -> int:
    """When the controller first did something else than it was sent at about that time."""
    trace = world.trace
    from_ns = injected_ns(trace)
    commands = trace.of("command")
    for cycle in trace.of("cycle"):
        if cycle.time_ns <= from_ns:
            continue
        around = [c.values[1] for c in commands if abs(c.time_ns - cycle.time_ns) <= _ABOUT_NS]
        if not around:
            break
        band, setpoint = np.stack(around), cycle.values[0]
        off = np.maximum(band.min(axis=0) - setpoint, setpoint - band.max(axis=0))
        if np.max(off) > _ASTRAY_RAD:
            return cycle.time_ns
    return from_ns


_ABOUT_NS, _ASTRAY_RAD = nanoseconds(0.04), 0.01
# Two samples at 50 Hz, the first of which may be a period away; then the tick.
_REFERENCE_MS = 3 * 20.0 + _TICK_MS
_MANAGER: tuple[Distribution, ...] = ("jazzy", "kilted", "master")

CASES: tuple[Case, ...] = (
    Case(
        57,
        "rogue_writer",
        "somebody else sends trajectories, and the graph does not show it",
        # Whether it is told as a foreign writer or as refused commands depends on where to.
        limit_ms=_REFERENCE_MS,
        stop="FAULT",
        phases=("policy", "human"),
        controllers=WINDOWS,
        releases=_MANAGER,
        inject=_rogue(0.005),
        since=_astray,
        rests=False,
        smooth=False,
    ),
    Case(
        57,
        "rogue_writer_humble",
        "the same on Humble, whose 50 Hz may show our half of what is played only",
        # Then the arm's distance from its command is what shows it.
        limit_ms=1000.0,
        stop="PSTOP",
        phases=("policy", "human"),
        controllers=WINDOWS,
        releases=("humble",),
        after_s=1.6,
        inject=_rogue(0.005),
        since=_astray,
        rests=False,
        smooth=False,
    ),
    Case(
        57,
        "rogue_now_and_then",
        "somebody else sends trajectories that our own mostly replace before they are played; "
        "not on Humble, whose 50 Hz may show none of them",
        # Two of five samples must show it.
        limit_ms=500.0,
        stop="FAULT",
        phases=("policy", "human"),
        controllers=WINDOWS,
        releases=("jazzy", "kilted", "master"),
        inject=_rogue(0.013),
        since=_astray,
        rests=False,
        smooth=False,
    ),
    Case(
        59,
        "deactivated",
        "the controller is deactivated, and its manager says so",
        limit_ms=100.0,
        stop="FAULT",
        fault="CONTROLLER_LOST",
        phases=("armed", "policy", "human", "paused"),
        releases=_MANAGER,
        inject=_deactivate,
        smooth=False,
    ),
    Case(
        59,
        "deactivated_humble",
        "the controller is deactivated, which Humble's manager does not say",
        limit_ms=100.0 + 3 * _TICK_MS,
        stop="FAULT",
        fault="CONTROLLER_LOST",
        phases=("armed", "policy", "human", "paused"),
        controllers=WINDOWS,
        releases=("humble",),
        inject=_deactivate,
        smooth=False,
    ),
    Case(
        59,
        "deactivated_and_back",
        "the controller is deactivated and comes back",
        limit_ms=100.0 + 3 * _TICK_MS,
        stop="FAULT",
        phases=("policy", "human"),
        controllers=WINDOWS,
        inject=_deactivate_and_back,
        smooth=False,
    ),
    Case(
        60,
        "trajectories_rejected",
        "the controller refuses every trajectory",
        limit_ms=_REFERENCE_MS,
        stop="PAUSED",
        fault="COMMANDS_REFUSED",
        phases=("policy", "human"),
        controllers=WINDOWS,
        after_s=2.0,
        inject=_reject,
        since=_astray,
        smooth=False,
    ),
    Case(
        61,
        "hardware_error",
        "the hardware reports an error, and the manager ends its controllers",
        limit_ms=100.0,
        stop="FAULT",
        fault="CONTROLLER_LOST",
        phases=("armed", "policy", "human", "paused"),
        releases=_MANAGER,
        inject=_hardware_error,
        smooth=False,
    ),
    Case(
        64,
        "flood",
        "ten thousand joint_states per second",
        limit_ms=200.0,
        stop="PSTOP",
        fault="MESSAGE_FLOOD",
        phases=("armed", "policy", "human", "paused"),
        inject=_flood,
    ),
)
