# SPDX-License-Identifier: Apache-2.0
"""Takeovers over real processes and DDS: the demo's graph and the node `operator`.

Judged from what is said and sent: the supervisor's commands with their source tags, the windows on
the controller's topic, and the simulated arm's own monitor.
"""

from __future__ import annotations

import itertools
import random
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.bench.machine_probe import MachineProbe
from levine_policy_node.bench.sil_world import SilWorld
from levine_policy_node.bench.takeover import TakeoverFigures
from levine_policy_node.bench.takeover_hand import DEVICE_OF, Hand, Kind
from levine_policy_node.bench.unsafe_oracle import Bounds, Motion, judge_seam, judge_windows
from levine_policy_node.graph import GraphOptions
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import stamp_from_msg
from levine_policy_node.ros.messages import timeline_from_bytes
from levine_policy_node.ros.rollout import RolloutError
from levine_policy_node.sros2 import command_topic

_LEAD_NS, _TICK_NS = 50_000_000, 10_000_000
_HELD_UP_S = 0.01
# A window reaches back 50 ms from its tick, moved by up to a millisecond away from knots.
_PAST_NS, _CUT_NS = 52_000_000, 2_000_000
_AWAY_RAD = 0.3
_AGAIN = 6
_HANDS_BACK = 0.7


def run_real_takeovers(
    trials: int, seed: int, on_news: Callable[[str], object] = lambda _: None
) -> TakeoverFigures:
    """Make takeovers: the first half with a leader arm, the rest with twists and poses.

    A trial in which the machine was held up for a tick, or the simulated arm for longer than
    commands are ahead of it, is made again, up to six times as often as there are trials.

    Raises:
        RolloutError: If the graph does not do what a trial needs.
    """
    figures = TakeoverFigures()
    halves: list[tuple[tuple[Kind, ...], int]] = [
        (("leader",), (trials + 1) // 2),
        (("twist", "pose"), trials // 2),
    ]
    for kinds, count in halves:
        if count == 0:
            continue
        with tempfile.TemporaryDirectory(prefix="levine_takeover_") as folder:
            options = GraphOptions(
                robot="sim_so101",
                policy="so101_pick_place",
                recorder=False,
                simulate=True,
                log_level="warn",
                operator=DEVICE_OF[kinds[0]],
            )
            with MachineProbe() as probe, SilWorld(options, Path(folder)) as world:
                rng = np.random.default_rng([seed, count])
                bench = _Bench(world, probe, figures, rng, options.operator)
                try:
                    bench.run(kinds, count, random.Random(seed), on_news)
                finally:
                    bench.hand.close()
    return figures


@dataclass(frozen=True, slots=True)
class _Trial:
    """What came of one.

    Attributes:
        problem: Why it was not made, or "".
        cut: After how many ticks the policy was cut.
        active_ms: After how long the person commanded.
        handed: Whether they handed back.
        stale: Whether the policy went on then with what it had inferred before.
        blocked: Whether it had no way on from there, and the supervisor let it have none.
    """

    problem: str = ""
    cut: int = 0
    active_ms: float = 0.0
    handed: bool = False
    stale: bool = False
    blocked: bool = False


class _Bench:
    """One graph, its ears and its person."""

    def __init__(
        self,
        world: SilWorld,
        probe: MachineProbe,
        figures: TakeoverFigures,
        rng: np.random.Generator,
        device: str,
    ) -> None:
        self._world, self._probe, self._figures, self._rng = world, probe, figures, rng
        self._windows: list[tuple[int | None, bytes]] = []
        self._commands: list[tuple[int, str]] = []
        self._taken_ns = 0
        self._armed_ns: list[int] = []
        self._again = 0
        node: Any = world.rollout.node
        topic = command_topic(world.robot)
        node.create_subscription(JointTrajectory, topic, self._on_window, qos.TICKS, raw=True)
        node.create_subscription(JointState, "supervisor/command", self._on_command, qos.TICKS)
        node.create_subscription(DiagnosticArray, "supervisor/events", self._on_event, qos.EVENTS)
        self._takeover = node.create_client(SetBool, "supervisor/takeover")
        self.hand = Hand(node, device, world.robot.joint_names)

    def run(
        self,
        kinds: tuple[Kind, ...],
        count: int,
        rng: random.Random,
        on_news: Callable[[str], object],
    ) -> None:
        """Make `count` takeovers, and judge what was sent meanwhile."""
        world, figures = self._world, self._figures
        world.spin_until(self.hand.ready, 30.0, "the operator's process")
        for number in range(count):
            figures.trials += 1
            self._keep(kinds[number % len(kinds)], *self._undisturbed(number, kinds, rng, count))
            if number % 5 == 4:
                on_news(f"{figures.trials} takeovers over real processes, again {self._again}")
        self._judge()

    def _undisturbed(
        self, number: int, kinds: tuple[Kind, ...], rng: random.Random, count: int
    ) -> tuple[_Trial, list[str]]:
        """A trial that nothing held up, if one comes about, and what the arm's monitor saw."""
        while True:
            began_s, before = time.monotonic(), self._world.rollout.report()
            trial = self._trial(kinds[number % len(kinds)], rng)
            after = self._world.rollout.report()
            machine_late = self._probe.late_s(began_s) > _HELD_UP_S
            disturbed = machine_late or after["late"] != before["late"]
            if not disturbed or self._again >= _AGAIN * count:
                return trial, _new_violations(before, after)
            self._again += 1

    def _trial(self, kind: Kind, rng: random.Random) -> _Trial:
        world, hand = self._world, self.hand
        try:
            world.engage(rng)
            before = next((tag for _, tag in reversed(self._commands) if _is_policy(tag)), "")
            self._taken_ns = 0
            self._commands.clear()
            away = _AWAY_RAD * self._rng.uniform(-1.0, 1.0, len(world.robot.joint_names))
            hand.press(kind, world.joints[-1][1] + away, self._rng)
            world.spin_until(lambda: self._active_ns() is not None, 3.0, f"a takeover by {kind}")
            world.rollout.spin_for(rng.uniform(0.3, 0.9))
            if world.rollout.mode != "HUMAN":
                return _Trial(f"{kind} lost the arm: {world.rollout.cause}")
            cut, active_ms = self._measured()
            return replace(self._back(rng, before), cut=cut, active_ms=active_ms)
        except RolloutError as error:
            return _Trial(f"{kind}: {error}")
        finally:
            hand.held = False
            world.rollout.spin_until(lambda: world.rollout.mode != "HUMAN", 2.0)

    def _measured(self) -> tuple[int, float]:
        """After how many ticks the policy was cut, and after how many ms the person commanded."""
        active_ns = self._active_ns() or 0
        last_ns = max((t for t, tag in self._commands if _is_policy(tag)), default=0)
        late_ns = max(0, last_ns - self._taken_ns - _LEAD_NS)
        cut, active_ms = -(-late_ns // _TICK_NS), (active_ns - self.hand.pressed_ns) / 1e6
        return int(cut), active_ms

    def _keep(self, kind: Kind, trial: _Trial, violations: list[str]) -> None:
        figures = self._figures
        figures.setpoints += [f"the arm's own monitor: {violation}" for violation in violations]
        if trial.problem:
            figures.failed.append(trial.problem)
            return
        figures.made[kind] += 1
        figures.cut_ticks.append(trial.cut)
        figures.active_ms.append(trial.active_ms)
        figures.handbacks += trial.handed
        figures.stale += trial.stale
        figures.blocked += trial.blocked

    def _back(self, rng: random.Random, before: str) -> _Trial:
        world = self._world
        if rng.random() >= _HANDS_BACK:
            self.hand.held = False
            world.spin_until(lambda: world.rollout.mode == "PAUSED", 5.0, "a pause")
            return _Trial()
        self._commands.clear()
        future = self._takeover.call_async(SetBool.Request(data=False))
        world.spin_until(future.done, 5.0, "the reply to a handback")
        reply = future.result()
        if reply is None or not reply.success:
            return _Trial(f"handback refused: {'' if reply is None else reply.message}")
        again = lambda: any(_is_policy(tag) for _, tag in self._commands)  # noqa: E731
        world.spin_until(
            lambda: again() or world.rollout.mode == "PAUSED", 5.0, "the policy after a handback"
        )
        if not again():
            # A person may lead the arm to where the policy's way is blocked.
            blocked = "BLOCKED" in world.rollout.cause
            return _Trial(blocked=True) if blocked else _Trial(f"paused: {world.rollout.cause}")
        stale = any(tag == before for _, tag in self._commands)
        return _Trial(handed=True, stale=stale)

    # What is heard.

    def _active_ns(self) -> int | None:
        """When the first command of the person's was, if there has been one."""
        taken_ns = self._taken_ns
        if not taken_ns:
            return None
        theirs = (t for t, tag in self._commands if tag.startswith("operator:") and t >= taken_ns)
        return next(theirs, None)

    def _on_window(self, data: bytes, info: Mapping[str, int]) -> None:
        self._windows.append((info.get("publication_sequence_number"), data))

    def _on_command(self, message: JointState) -> None:
        tag = str(message.header.frame_id)
        self._commands.append((int(stamp_from_msg(message.header.stamp)), tag))

    def _on_event(self, message: DiagnosticArray) -> None:
        for status in message.status:
            stamp_ns = int(stamp_from_msg(message.header.stamp))
            if status.name == "MODE" and "-> HUMAN" in status.message:
                self._taken_ns = stamp_ns
            elif status.name == "MODE" and "-> ARMED" in status.message:
                self._armed_ns.append(stamp_ns)

    def _judge(self) -> None:
        """Every window, and every change from one to the next."""
        limits = self._world.robot.limits()
        bounds = Bounds(
            limits.lower, limits.upper, limits.velocity, limits.acceleration, limits.jerk
        )
        verdict = self._figures.verdict
        motions = [(number, self._motion(data)) for number, data in self._windows]
        judge_windows([motion for _, motion in motions], bounds, verdict, "real processes")
        for (before, old), (number, new) in itertools.pairwise(motions):
            # A window that this process missed lies between two that need not agree.
            if number is None or before is None or number != before + 1:
                continue
            # Nor does one take over from what was before arming: the scene has begun anew.
            if not self._armed_between(old.start_ns, new.start_ns + _PAST_NS):
                now_ns = new.start_ns + _PAST_NS
                times = [now_ns, now_ns + _LEAD_NS // 2, now_ns + _LEAD_NS - 2 * _CUT_NS]
                judge_seam(old, new, times, verdict, "real processes")

    def _armed_between(self, begin_ns: int, end_ns: int) -> bool:
        return any(begin_ns < armed_ns <= end_ns for armed_ns in self._armed_ns)

    def _motion(self, data: bytes) -> Motion:
        window = timeline_from_bytes(data, self._world.robot.joint_names)
        knots_ns = np.rint(window.times_s * 1e9).astype(np.int64)
        return Motion(
            int(window.start_ns),
            knots_ns,
            window.positions,
            window.velocities,
            window.accelerations,
        )


def _new_violations(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What the arm's monitor has seen since; it keeps the first in words."""
    new = int(after["total_violations"]) - int(before["total_violations"])
    told = after["first_violations"][len(before["first_violations"]) :]
    return [str(violation) for violation in told] + ["more"] * (new - len(told))


def _is_policy(tag: str) -> bool:
    return tag.startswith("policy:")
