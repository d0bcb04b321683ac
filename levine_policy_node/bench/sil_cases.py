# SPDX-License-Identifier: Apache-2.0
"""Faults brought about in real processes, and what must come of each.

Row numbers are those of the hazard table of docs/faults.md.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from std_msgs.msg import Bool

from levine_policy_node.bench.residual_motion import HORIZON_S, residual_ratios
from levine_policy_node.bench.sil_world import POLICY, REST_RAD_S, SUPERVISOR, SilWorld
from levine_policy_node.core.units import nanoseconds
from levine_policy_node.errors import LevineError
from levine_policy_node.graph import GraphOptions, ParameterValue
from levine_policy_node.ros.operator_client import LATCHED_MODES
from levine_policy_node.ros.rollout import RolloutError

_SLACK = 1.05
_SETTLE_S = 0.25
_IN_FLIGHT_NS = 20_000_000
_ENDED = frozenset({"DISARMED"}) | LATCHED_MODES
_ASKED = 5


class CannotRunHereError(LevineError, RuntimeError):
    """This machine does not permit what a case needs."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one injection.

    Attributes:
        reaction_ms: From the fault to the reaction on the wire; None where none is to come.
        problem: What was wrong beside the time, or "".
        figures: What else was measured.
    """

    reaction_ms: float | None
    problem: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SilCase:
    """One fault in real processes.

    Attributes:
        rows: Hazards it belongs to.
        injection: What is done, in words.
        limit_ms: Longest reaction [ms]; None where none is to come.
        percentile: Of the reactions that has to be within the limit; 100 for all.
        run: Does it once.
        options: What the graph needs for it, as fields of GraphOptions.
        overrides: Parameters it needs, per node.
        opened: Starts the graph; raises CannotRunHereError where that is impossible.
        apart: Whether its trials need a process that has been in no other graph.
        trials: How often it is done in a whole campaign.
    """

    rows: tuple[int, ...]
    injection: str
    limit_ms: float | None
    run: Callable[[SilWorld, random.Random], Trial]
    percentile: float = 100.0
    options: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Mapping[str, ParameterValue]] = field(default_factory=dict)
    opened: Callable[[GraphOptions, Path], AbstractContextManager[SilWorld]] = SilWorld
    apart: bool = False
    trials: int = 20


def policy_killed(world: SilWorld, rng: random.Random) -> Trial:
    """`kill -9` the policy; a new one moves nothing."""
    world.engage(rng)
    killed_ns = world.send(signal.SIGKILL, POLICY)
    reaction_ms = braked(world, killed_ns)
    problem = ends_at_rest(world)
    world.rollout.diagnostics.pop("policy_executor", None)
    world.respawn(POLICY)
    there = lambda: "policy_executor" in world.rollout.diagnostics  # noqa: E731
    world.spin_until(there, 30.0, "the new policy")
    return Trial(reaction_ms, problem or world.stands_still(0.3) or stayed_down(world))


def policy_stopped(world: SilWorld, rng: random.Random) -> Trial:
    """SIGSTOP the policy; when it goes on, nothing moves."""
    world.engage(rng)
    stopped_ns = world.send(signal.SIGSTOP, POLICY)
    try:
        reaction_ms = braked(world, stopped_ns)
        problem = ends_at_rest(world)
    finally:
        world.send(signal.SIGCONT, POLICY)
    return Trial(reaction_ms, problem or world.stands_still(0.3) or stayed_down(world))


def supervisor_killed(world: SilWorld, rng: random.Random) -> Trial:
    """`kill -9` the supervisor, every other time the policy with it."""
    names = (SUPERVISOR, POLICY) if rng.random() < 0.5 else (SUPERVISOR,)
    world.engage(rng)
    killed_ns = world.send(signal.SIGKILL, *names)
    trial = _left_alone(world, killed_ns)
    for name in names:
        world.respawn(name)
    world.ready()
    return Trial(trial.reaction_ms, trial.problem or world.stands_still(0.3), trial.figures)


def supervisor_stopped(world: SilWorld, rng: random.Random) -> Trial:
    """SIGSTOP the supervisor; when it goes on, the old motion does not."""
    world.engage(rng)
    stopped_ns = world.send(signal.SIGSTOP, SUPERVISOR)
    try:
        trial = _left_alone(world, stopped_ns)
    finally:
        world.send(signal.SIGCONT, SUPERVISOR)
    return Trial(trial.reaction_ms, trial.problem or world.stands_still(0.5), trial.figures)


def supervisor_respawned(world: SilWorld, rng: random.Random) -> Trial:
    """A supervisor that comes back beside a live policy is DISARMED."""
    world.engage(rng)
    killed_ns = world.send(signal.SIGKILL, SUPERVISOR)
    world.spin_until(world.stood, 5.0, "the arm to stand")
    world.respawn(SUPERVISOR)
    world.ready()
    problem = world.stands_still(1.0)
    said = {mode for sent_ns, mode in world.modes if sent_ns > killed_ns}
    if said - {"INIT", "DISARMED"}:
        problem = problem or f"was {', '.join(sorted(said))}"
    return Trial(None, problem)


def processor_taken(world: SilWorld, rng: random.Random) -> Trial:
    """The supervisor does not run for 0.2 s; the reaction counts from when it does again."""
    world.engage(rng)
    world.send(signal.SIGSTOP, SUPERVISOR)
    try:
        world.rollout.spin_for(0.2)
    finally:
        resumed_ns = world.send(signal.SIGCONT, SUPERVISOR)
    reaction_ms = braked(world, resumed_ns)
    return Trial(reaction_ms, ends_at_rest(world))


def emergency_stop(world: SilWorld, rng: random.Random) -> Trial:
    """Press the emergency stop in any mode: then there is silence on the controller's topic."""
    mode = rng.choice(tuple(WAYS))
    WAYS[mode](world, rng)
    if world.rollout.mode != mode:
        raise RolloutError(f"wanted {mode}, is {world.rollout.mode}")
    pressed_ns = world.now_ns()
    world.estop.publish(Bool(data=True))
    world.spin_until(lambda: world.rollout.mode == "ESTOP", 2.0, "ESTOP")
    world.rollout.spin_for(0.3)
    last_ns = max((sent for sent, _ in world.windows), default=0)
    problem = comes_to_rest(world)
    world.estop.publish(Bool(data=False))
    world.disarm()
    return Trial(max(0.0, (last_ns - pressed_ns) / 1e6), problem and f"in {mode}: {problem}")


def _armed(world: SilWorld, rng: random.Random) -> None:
    del rng
    world.disarm()
    _act(world, "arm", "ARMED")


def _homing(world: SilWorld, rng: random.Random) -> None:
    world.engage(rng)
    _act(world, "pause", "PAUSED")
    # Where it stands at home already it is there at once.
    world.rollout.call("supervisor/home")
    world.rollout.spin_until(lambda: world.rollout.mode == "HUMAN", 0.5)


def _stopping(world: SilWorld, rng: random.Random) -> None:
    world.engage(rng)
    world.rollout.call("supervisor/pause")
    world.rollout.spin_until(lambda: world.rollout.mode == "STOPPING", 0.2)


def _paused(world: SilWorld, rng: random.Random) -> None:
    world.engage(rng)
    _act(world, "pause", "PAUSED")


def _protective(world: SilWorld, rng: random.Random) -> None:
    world.engage(rng)
    _act(world, "stop", "PSTOP")


WAYS: Mapping[str, Callable[[SilWorld, random.Random], None]] = {
    "DISARMED": lambda world, _: world.disarm(),
    "ARMED": _armed,
    "POLICY": lambda world, rng: world.engage(rng),
    "HUMAN": _homing,
    "STOPPING": _stopping,
    "PAUSED": _paused,
    "PSTOP": _protective,
}
"""How a trial comes to be in each mode that an emergency stop is tried in."""


def _act(world: SilWorld, act: str, mode: str) -> None:
    there = lambda: world.rollout.mode == mode  # noqa: E731
    answer = ""
    # It may refuse while something that the case before did is not over.
    for _ in range(_ASKED):
        _, answer = world.rollout.call(f"supervisor/{act}")
        if world.rollout.spin_until(there, 1.0):
            return
    raise RolloutError(f"wanted {mode}, is {world.rollout.mode}: {answer}")


def braked(world: SilWorld, since_ns: int) -> float:
    """Wait for the brake; return how long after `since_ns` it was sent [ms]."""
    world.spin_until(lambda: world.braked_ns(since_ns) is not None, 5.0, "a brake")
    return ((world.braked_ns(since_ns) or 0) - since_ns) / 1e6


def comes_to_rest(world: SilWorld) -> str:
    """Wait for rest; say how fast the arm still is if it does not come, else ""."""
    stands = world.rollout.spin_until(world.stood, 3.0)
    return "" if stands else f"still moves at {world.speed():.2f} rad/s"


def ends_at_rest(world: SilWorld) -> str:
    """Abandoned by its policy the supervisor disarms, or has latched."""
    problem = comes_to_rest(world)
    ended = world.rollout.spin_until(lambda: world.rollout.mode in _ENDED | {"PAUSED"}, 5.0)
    return problem or ("" if ended else f"ended in {world.rollout.mode}")


def stayed_down(world: SilWorld) -> str:
    """Say what mode the supervisor went to if the arm may move in it, else ""."""
    mode = world.rollout.mode
    return "" if mode in _ENDED | {"PAUSED"} else f"went to {mode} by itself"


def _left_alone(world: SilWorld, since_ns: int) -> Trial:
    """Judge the motion that goes on without a supervisor; the reaction is when it has ended."""
    world.rollout.spin_for(HORIZON_S)
    window = world.last_window()
    sent_ns = world.windows[-1][0]
    ratio, plain_ratio = residual_ratios(window, sent_ns, since_ns, world.robot.limits())
    rest_ns = window.end_ns
    settled_ns = max(since_ns, rest_ns) + nanoseconds(_SETTLE_S)
    world.spin_until(lambda: world.joints[-1][0] > settled_ns + 300_000_000, 5.0, "joint states")
    problem = ""
    if ratio > _SLACK:
        problem = f"went {ratio:.2f} times as far as it may"
    if world.fastest_since(settled_ns) >= REST_RAD_S:
        problem = f"still moved at {world.fastest_since(settled_ns):.2f} rad/s"
    if sent_ns > since_ns + _IN_FLIGHT_NS:
        problem = "somebody went on commanding"
    took_ms = max(0.0, (rest_ns - since_ns) / 1e6)
    figures = {"residual_ratio": ratio, "residual_ratio_without_jerk": plain_ratio}
    return Trial(took_ms, problem, figures)


# Of sim_so101, from its limits: the horizon, v / a, and a jerk ramp of a / j before and after.
_LONGEST_STOP_MS = 550.0

CASES: Mapping[str, SilCase] = {
    "policy_killed": SilCase((30, 33, 39), "kill -9 the policy", 150.0, policy_killed, trials=150),
    "policy_stopped": SilCase((31,), "SIGSTOP the policy", 150.0, policy_stopped, trials=150),
    "supervisor_killed": SilCase(
        (34, 36),
        "kill -9 the supervisor, or it and the policy",
        _LONGEST_STOP_MS,
        supervisor_killed,
        trials=200,
    ),
    "supervisor_stopped": SilCase(
        (35,), "SIGSTOP the supervisor", _LONGEST_STOP_MS, supervisor_stopped
    ),
    "supervisor_respawned": SilCase(
        (39,), "kill -9 the supervisor and start it again", None, supervisor_respawned, trials=40
    ),
    "processor_taken": SilCase(
        (38,), "the supervisor does not run for 0.2 s", 20.0, processor_taken
    ),
    "emergency_stop": SilCase(
        (52,), "estop in every mode", 20.0, emergency_stop, percentile=99.0, trials=140
    ),
}
