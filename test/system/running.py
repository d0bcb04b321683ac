# SPDX-License-Identifier: Apache-2.0
"""The whole graph as real processes, with a client that watches it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from harness import isolated_domain
from sensor_msgs.msg import JointState

from levine_policy_node.graph import GraphOptions, Process, build_graph
from levine_policy_node.processes import ProcessGroup
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import stamp_from_msg
from levine_policy_node.ros.rollout import Rollout, RolloutError


@dataclass
class Running:
    """A running graph and what has been seen of it.

    Attributes:
        commands: (stamp [ns], source tag, largest |velocity|) of every commanded tick.
        joints: (stamp [ns], largest |velocity|) of every measured joint state.
    """

    group: ProcessGroup
    graph: tuple[Process, ...]
    rollout: Rollout
    commands: list[tuple[int, str, float]] = field(default_factory=list)
    joints: list[tuple[int, float]] = field(default_factory=list)

    def watch(self) -> None:
        node = self.rollout.node
        node.create_subscription(JointState, "supervisor/command", self._on_command, qos.TICKS)
        node.create_subscription(JointState, "joint_states", self._on_joints, qos.JOINT_STATE_IN)

    def alive(self) -> None:
        failure = self.group.failed()
        if failure is not None:
            raise RolloutError(f"{failure} {self.group.log_tail(failure[0], 20)}")

    def spin_until(self, done: Any, timeout_s: float, what: str) -> None:
        assert self.rollout.spin_until(done, timeout_s), (
            f"after {timeout_s} s still waiting for {what}; mode {self.rollout.mode}"
        )

    def call(self, name: str) -> str:
        success, message = self.rollout.call(name)
        assert success, f"{name}: {message}"
        return message

    def engage(self) -> None:
        """Arm and engage, and wait until the arm really moves."""

        def left() -> bool:
            return self.rollout.mode != "POLICY"

        for _ in range(5):
            self.rollout.start_policy()
            self.rollout.spin_until(lambda: self.speed() > 0.3 or left(), 10.0)
            if self.speed() > 0.3 and not left():
                return
        raise AssertionError(f"the arm does not move; mode {self.rollout.mode}")

    def speed(self) -> float:
        """Latest measured speed of the fastest joint [rad/s]."""
        return self.joints[-1][1] if self.joints else 0.0

    def kill(self, executable: str) -> int:
        """`kill -9` one process; returns the ROS time of the kill [ns]."""
        now = self.rollout.node.get_clock().now().nanoseconds
        os.kill(self.group.pid(executable), signal.SIGKILL)
        return int(now)

    def process(self, executable: str) -> Process:
        return next(p for p in self.graph if p.executable == executable)

    def _on_command(self, message: JointState) -> None:
        stamp = int(stamp_from_msg(message.header.stamp))
        speed = float(np.max(np.abs(message.velocity))) if message.velocity else 0.0
        self.commands.append((stamp, message.header.frame_id, speed))

    def _on_joints(self, message: JointState) -> None:
        speed = float(np.max(np.abs(message.velocity)))
        self.joints.append((int(stamp_from_msg(message.header.stamp)), speed))


@contextlib.contextmanager
def whole_graph(tmp_path: Path, **choice: Any) -> Iterator[Running]:
    """Start the demo's processes in a fresh domain; everything is ended afterwards."""
    options = GraphOptions(
        **{
            "robot": "sim_so101",
            "policy": "so101_pick_place",
            "recordings": tmp_path / "recordings",
            "simulate": True,
            "seed": 1,
            "log_level": "warn",
            **choice,
        }
    )
    with isolated_domain():
        graph = build_graph(options)
        with ProcessGroup(graph, options, log_directory=tmp_path / "logs") as group:
            rollout = Rollout(options.namespace, recorder=options.recorder)
            running = Running(group, graph, rollout)
            try:
                running.watch()
                rollout.wait_ready(running.alive)
                yield running
            finally:
                rollout.close()
