# SPDX-License-Identifier: Apache-2.0
"""Cases of the hazards in processes and the processor (30 to 39)."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from levine_policy_node.dst.world import World
from levine_policy_node.faults.case import WINDOWS, Case, injected_ns

_DEATH_MS = 150.0
_TICK_MS = 10.0
# The controller has 0.1 s of motion, and brakes from there; the slowest joint of the slowest
# robot needs this long.
_ABANDONED_MS = 800.0
_STILL_RAD = 1e-6


def _kill(*names: str) -> Callable[[World], None]:
    def inject(world: World) -> None:
        for process in world.processes:
            if process.name in names:
                process.kill()

    return inject


def _hang(name: str, for_s: float | None = None) -> Callable[[World], None]:
    def inject(world: World) -> None:
        for process in world.processes:
            if process.name == name:
                process.hang(for_s)

    return inject


def _inference_takes(seconds: float) -> Callable[[World], None]:
    def inject(world: World) -> None:
        world.policy.inference_s = seconds

    return inject


def _respawn(name: str) -> Callable[[World], None]:
    def inject(world: World) -> None:
        for process in world.processes:
            if process.name == name:
                process.kill()
                world.later(0.3, process.start)

    return inject


def _continued(world: World) -> int:
    """When the stopped process went on."""
    for record in world.trace.of("process"):
        if record.values[1] == "continued":
            return record.time_ns
    return 0


def stands_after(world: World) -> int | None:
    """How long after the fault the setpoint of the servos last changed [ns]."""
    began = injected_ns(world.trace)
    cycles = [c for c in world.trace.of("cycle") if c.time_ns >= began]
    last = began
    for before, after in pairwise(cycles):
        if np.max(np.abs(after.values[0] - before.values[0])) > _STILL_RAD:
            last = after.time_ns
    return last - began


def _abandoned(world: World) -> str:
    """The arm must come to rest within 0.1 s of motion and one brake, with nobody to help.

    What counts is the joint that needs longest to stop: the others stop together with it, on the
    path, and so more gently than they could.
    """
    limits = world.setup.options.limits
    began = injected_ns(world.trace)
    setpoints = [(c.time_ns, c.values[0]) for c in world.trace.of("cycle")]
    before = [s for t, s in setpoints if t <= began]
    after = [s for t, s in setpoints if t >= began]
    way = np.ptp(np.stack(after), axis=0)
    moves = np.abs(np.diff(np.stack([*before[-2:], *after]), axis=0)) / 0.01
    speed = np.max(moves, axis=0)
    # v t + v^2 / 2 a, and the ramps of the brake, in which a jerk-limited one goes v a / 2 j more.
    bound = 0.1 * speed + speed**2 / (2.0 * limits.acceleration)
    bound += speed * limits.acceleration / (2.0 * limits.jerk)
    i = int(np.argmax(speed / limits.acceleration + limits.acceleration / limits.jerk))
    if way[i] <= 1.05 * bound[i] + 1e-4:
        return ""
    return f"{limits.names[i]} went {way[i]:.4f} rad after the death (limit {bound[i]:.4f})"


def _publishes_until(world: World) -> int:
    """How long after the fault the policy published its last chunk [ns]."""
    return max(0, world.policy.published_ns - injected_ns(world.trace))


def _comes_back_disarmed(world: World) -> str:
    mode = world.supervisor.mode.value
    return "" if mode == "DISARMED" else f"came back into {mode}"


CASES: tuple[Case, ...] = (
    Case(
        30,
        "policy_killed",
        "SIGKILL of the policy",
        limit_ms=_DEATH_MS,
        stop="PAUSED",
        fault="POLICY_LOST",
        inject=_kill("policy"),
    ),
    Case(
        31,
        "policy_stopped",
        "SIGSTOP of the policy",
        limit_ms=_DEATH_MS,
        stop="PAUSED",
        fault="POLICY_LOST",
        inject=_hang("policy"),
    ),
    Case(
        31,
        "inference_blocked",
        "the inference never returns while the process lives",
        # An inference may take half a second, so nothing shorter tells a hang from a slow one.
        limit_ms=500.0 + 200.0 + 2 * _TICK_MS,
        stop="PAUSED",
        inject=_inference_takes(math.inf),
        after_s=1.6,
    ),
    Case(
        32,
        "inference_slow",
        "an inference takes 1.2 s",
        limit_ms=3 * 200.0 + 150.0,
        stop="PAUSED",
        inject=_inference_takes(1.2),
        after_s=1.9,
    ),
    Case(
        33,
        "policy_stalls",
        "the policy's interpreter stands still for 0.3 s and goes on",
        limit_ms=_DEATH_MS,
        stop="PAUSED",
        fault="POLICY_LOST",
        inject=_hang("policy", 0.3),
    ),
    Case(
        34,
        "supervisor_killed",
        "SIGKILL of the supervisor",
        limit_ms=_ABANDONED_MS,
        phases=("policy", "human"),
        controllers=WINDOWS,
        inject=_kill("supervisor"),
        check=_abandoned,
        reacts=stands_after,
    ),
    Case(
        34,
        "supervisor_killed_forward",
        "SIGKILL of the supervisor where the controller holds single positions",
        limit_ms=4 * _TICK_MS,
        phases=("policy", "human"),
        controllers=("forward_command",),
        inject=_kill("supervisor"),
        check=_abandoned,
        reacts=stands_after,
    ),
    Case(
        34,
        "policy_unsupervised",
        "SIGKILL of the supervisor; the policy must end, too",
        # It hears the supervisor every 50 ms and waits 0.2 s.
        limit_ms=200.0 + 150.0,
        inject=_kill("supervisor"),
        reacts=_publishes_until,
    ),
    Case(
        35,
        "supervisor_stopped",
        "SIGSTOP of the supervisor",
        limit_ms=_ABANDONED_MS,
        phases=("policy", "human"),
        inject=_hang("supervisor"),
        check=_abandoned,
        reacts=stands_after,
    ),
    Case(
        35,
        "supervisor_continued",
        "SIGSTOP of the supervisor for 1 s, then SIGCONT",
        limit_ms=_TICK_MS,
        stop="PAUSED",
        phases=("policy", "human"),
        inject=_hang("supervisor", 1.0),
        since=_continued,
        after_s=1.8,
    ),
    Case(
        36,
        "both_killed",
        "SIGKILL of policy and supervisor",
        limit_ms=_ABANDONED_MS,
        inject=_kill("policy", "supervisor"),
        check=_abandoned,
        reacts=stands_after,
    ),
    Case(
        38,
        "starved",
        "the supervisor gets no processor for 0.15 s",
        limit_ms=_TICK_MS,
        stop="PAUSED",
        fault="OVERRUN",
        phases=("policy", "human"),
        inject=_hang("supervisor", 0.15),
        since=_continued,
    ),
    Case(
        39,
        "supervisor_respawned",
        "the supervisor is killed and started again",
        phases=("armed", "policy", "human", "paused", "pstop"),
        inject=_respawn("supervisor"),
        check=_comes_back_disarmed,
    ),
    Case(
        39,
        "policy_respawned",
        "the policy is killed and started again",
        limit_ms=_DEATH_MS,
        stop="PAUSED",
        inject=_respawn("policy"),
    ),
)
