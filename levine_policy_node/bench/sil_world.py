# SPDX-License-Identifier: Apache-2.0
"""Real processes over loopback for the fault campaign: engaged, broken on purpose, watched.

The watch is on the controller's topic itself. Times are when the middleware was handed a message,
so it does not matter how promptly this process reads.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.bench.rollouts import require_alive
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import StampNs
from levine_policy_node.graph import GraphOptions, build_graph
from levine_policy_node.processes import ProcessGroup
from levine_policy_node.robot import load_robot
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import ros_now, stamp_from_msg
from levine_policy_node.ros.messages import timeline_from_bytes
from levine_policy_node.ros.operator_client import LATCHED_MODES
from levine_policy_node.ros.rollout import Rollout, RolloutError
from levine_policy_node.sros2 import command_topic

REST_RAD_S = 0.05
"""Slower than this counts as rest: servos settle a little after the command stands."""

SUPERVISOR = "safety_supervisor"
POLICY = "policy_runtime"
STOPPED_MODES = frozenset({"STOPPING", "PAUSED", "DISARMED"}) | LATCHED_MODES

_MOVING_RAD_S = 0.3
_SWING_NS = 200_000_000
_MOVES_TIMEOUT_S = 10.0
_SCENE_EVERY = 4
_ATTEMPTS = 6
_PATIENCE = 4


class SilWorld:
    """A graph on the simulated arm; a context manager.

    Attributes:
        rollout: The operator.
        windows: (sent [ns], serialized message) on the controller's topic.
        modes: (sent [ns], mode) of the supervisor.
        joints: (stamp [ns], positions (J,) [rad], largest speed [rad/s]).
        complaints: When [ns] a node complained in /diagnostics, which and of what.
        recordings: Where episodes go.
    """

    def __init__(self, options: GraphOptions, folder: Path) -> None:
        self._options = options
        self._graph = build_graph(options)
        self._group = ProcessGroup(self._graph, options, log_directory=folder / "logs")
        self.robot = load_robot(options.robot)
        self.windows: deque[tuple[int, bytes]] = deque(maxlen=2000)
        self.modes: deque[tuple[int, str]] = deque(maxlen=200)
        self.joints: deque[tuple[int, np.ndarray, float]] = deque(maxlen=4000)
        self.complaints: deque[tuple[int, str, str]] = deque(maxlen=200)
        self.recordings = options.recordings
        self._scene = 0

    def __enter__(self) -> SilWorld:
        self._group.__enter__()
        try:
            self.rollout = Rollout(self._options.namespace, recorder=self._options.recorder)
            self._watch()
            self.ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        for process in self._graph:
            # A process that was stopped would not hear that it shall end.
            self._signal(process.executable, signal.SIGCONT)
        if hasattr(self, "rollout"):
            self.rollout.close()
        self._group.stop()

    def ready(self) -> None:
        """Wait until the graph is there, also on a machine that is slow to start it.

        Raises:
            RolloutError: If something is missing in the end.
        """
        for _ in range(_PATIENCE - 1):
            with contextlib.suppress(RolloutError):
                return self.rollout.wait_ready(self.alive)
            self.alive()
        return self.rollout.wait_ready(self.alive)

    def alive(self) -> None:
        """Check that no essential process has ended by itself.

        Raises:
            RolloutError: With its last words.
        """
        require_alive(self._group)

    # What a person would do.

    def engage(self, rng: random.Random) -> None:
        """Let the policy move the arm, until some moment of its motion.

        Raises:
            RolloutError: If it does not move.
        """
        rollout = self.rollout
        for attempt in range(_ATTEMPTS):
            if self._scene % _SCENE_EVERY == 0 or attempt:
                self.disarm()
                rollout.reset_scene(self._scene)
            self._scene += 1
            try:
                self._start_policy()
            except RolloutError:
                # From where a person left the arm there may be no way on; a scene has one.
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            rollout.spin_until(
                lambda: self.speed() > _MOVING_RAD_S or rollout.mode != "POLICY", _MOVES_TIMEOUT_S
            )
            left = lambda: rollout.mode != "POLICY"  # noqa: E731
            if not left() and not rollout.spin_until(left, rng.uniform(0.0, 1.0)):
                return
        raise RolloutError(
            f"the policy does not move the arm; mode {rollout.mode}, {rollout.cause or 'no cause'}"
        )

    def _start_policy(self) -> None:
        try:
            self.rollout.start_policy()
        except RolloutError as error:
            raise RolloutError(f"{error}; last event: {self.rollout.cause or 'none'}") from error

    def disarm(self) -> None:
        """Come to DISARMED from wherever the supervisor is."""
        rollout = self.rollout
        if rollout.mode != "DISARMED":
            rollout.finish(success=False)

    # What breaks.

    def now_ns(self) -> int:
        """Present time on the clock of the watch [ns]."""
        return int(ros_now(self.rollout.node))

    def send(self, number: signal.Signals, *names: str) -> int:
        """Send a signal to processes, at once; returns when [ns]."""
        pids = [self._group.pid(name) for name in names]
        now_ns = self.now_ns()
        for pid in pids:
            os.kill(pid, number)
        if number is signal.SIGKILL and SUPERVISOR in names:
            # What it said last is no longer true.
            self.rollout.mode = ""
        return now_ns

    def respawn(self, name: str) -> None:
        """Start a process that was killed again."""
        self._group.start(next(p for p in self._graph if p.executable == name))

    # What is seen.

    def spin_until(self, done: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Handle messages until `done()`.

        Raises:
            RolloutError: If that takes longer.
        """
        if not self.rollout.spin_until(done, timeout_s):
            mode = self.rollout.mode
            raise RolloutError(f"after {timeout_s:g} s still waiting for {what}; mode {mode}")

    def speed(self) -> float:
        """Latest measured speed of the fastest joint [rad/s]."""
        return self.joints[-1][2] if self.joints else 0.0

    def braked_ns(self, since_ns: int) -> int | None:
        """When the first brake after `since_ns` was sent; None while there is none.

        The tick that enters a stop sends its brake before it says its mode.
        """
        said_ns = next((t for t, m in self.modes if t > since_ns and m in STOPPED_MODES), None)
        if said_ns is None:
            return None
        sent = [t for t, _ in self.windows if since_ns < t <= said_ns]
        tick_ns = 15_000_000
        return sent[-1] if sent and said_ns - sent[-1] < tick_ns else said_ns

    def longest_gap_ms(self, since_ns: int) -> float:
        """Longest time between two messages to the controller since then [ms]."""
        sent = [t for t, _ in self.windows if t >= since_ns]
        return float(np.max(np.diff(sent), initial=0.0)) / 1e6

    def last_window(self) -> Timeline[StampNs]:
        """What the controller was sent last."""
        return timeline_from_bytes(self.windows[-1][1], self.robot.joint_names)

    def fastest_since(self, since_ns: int) -> float:
        """Largest measured speed since then [rad/s]."""
        return max((speed for stamp, _, speed in self.joints if stamp >= since_ns), default=0.0)

    def stood(self) -> bool:
        """Whether the arm has been at rest for long enough not to swing back."""
        since_ns = self.now_ns() - _SWING_NS
        heard = bool(self.joints) and self.joints[-1][0] > since_ns
        return heard and self.fastest_since(since_ns) < REST_RAD_S

    def stands_still(self, duration_s: float) -> str:
        """Watch for a while; say how fast the arm was if it moved, else ""."""
        begun_ns = self.now_ns()
        self.rollout.spin_for(duration_s)
        fastest = self.fastest_since(begun_ns)
        return f"moved again at {fastest:.2f} rad/s" if fastest >= REST_RAD_S else ""

    def publisher(self, kind: type[Any], topic: str) -> Any:
        """A publisher of the operator's, such as an emergency stop."""
        return self.rollout.node.create_publisher(kind, topic, qos.SWITCH)

    def _watch(self) -> None:
        node: Any = self.rollout.node
        topic = command_topic(self.robot)
        node.create_subscription(JointTrajectory, topic, self._on_window, qos.TICKS, raw=True)
        node.create_subscription(String, "supervisor/mode", self._on_mode, qos.MODE)
        node.create_subscription(JointState, "joint_states", self._on_joints, qos.JOINT_STATE_IN)
        node.create_subscription(
            DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.DIAGNOSTICS
        )
        self.estop = self.publisher(Bool, "estop")

    def _on_window(self, data: bytes, info: Mapping[str, int]) -> None:
        self.windows.append((info["source_timestamp"], data))

    def _on_mode(self, message: String, info: Mapping[str, int]) -> None:
        self.modes.append((info["source_timestamp"], message.data))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.level != DiagnosticStatus.OK:
                said_ns = int(stamp_from_msg(message.header.stamp))
                node = status.name.rsplit("/", 1)[-1]
                self.complaints.append((said_ns, node, status.message))

    def _on_joints(self, message: JointState) -> None:
        speed = float(np.max(np.abs(message.velocity)))
        stamp_ns = int(stamp_from_msg(message.header.stamp))
        self.joints.append((stamp_ns, np.array(message.position), speed))

    def _signal(self, name: str, number: signal.Signals) -> None:
        try:
            os.kill(self._group.pid(name), number)
        except (KeyError, ProcessLookupError):
            return
