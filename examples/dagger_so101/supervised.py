# SPDX-License-Identifier: Apache-2.0
"""Episodes of a policy under the eyes of the scripted person, through ROS 2.

The person is a client like any other: it sends `operator/target` all the time, as a leader arm
does, takes over and hands back with `supervisor/takeover`, and the recorder writes everything.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from scripted_person import ScriptedPerson
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool

from levine_policy_node.core.timeline import JointPoint
from levine_policy_node.core.units import FloatArray
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import ros_now, stamp_to_msg
from levine_policy_node.ros.operator_client import CALL_TIMEOUT_S, LATCHED_MODES
from levine_policy_node.ros.rollout import RESTING_MODES, Rollout, RolloutError
from levine_policy_node.sim.arm import SceneState
from levine_policy_node.sim.scene import JOINT_NAMES

SOURCE = "operator:scripted_person"

_TARGET_PERIOD_S = 0.02
_PATIENCE_S, _SILENCE_S = 25.0, 10.0
_MAX_STOPS = 8


@dataclass(frozen=True, slots=True)
class Supervised:
    """How an episode went.

    Attributes:
        seed: Of the scene.
        success: The cube is in the bin, with help or without.
        reasons: Why the person took over, in order; empty if it never did.
        stops: How often a watchdog stopped the arm, and it was resumed.
    """

    seed: int
    success: bool
    reasons: tuple[str, ...]
    stops: int


class SupervisedRollout(Rollout):
    """A rollout that a scripted person watches and corrects."""

    def __init__(self, namespace: str = "") -> None:
        super().__init__(namespace)
        self._person = ScriptedPerson()
        self._looked_at = -1.0
        self._looked_s = 0.0
        self._commanded: JointPoint | None = None
        self._takeover = self.node.create_client(SetBool, "supervisor/takeover")
        self._targets = self.node.create_publisher(JointState, "operator/target", qos.COMMAND)
        self.node.create_subscription(
            JointState, "supervisor/command", self._on_command, qos.COMMAND
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.node.create_timer(_TARGET_PERIOD_S, self._send_target, clock=steady)

    def run_supervised(self, seed: int) -> Supervised:
        """One episode: the policy drives, the person helps, until it is done or hopeless.

        Raises:
            RolloutError: If it cannot begin or end; the message says why.
        """
        self.reset_scene(seed)
        self._person.begin_episode()
        self.start_policy()
        begin_s, stops = self._scene().time_s, 0
        while not self._decided() and self._scene().time_s - begin_s < _PATIENCE_S:
            if not self.spin_until(self._is_news, _SILENCE_S):
                raise RolloutError(f"sim/episode says nothing for {_SILENCE_S:.0f} s")
            if self.mode in {"POLICY", "HUMAN"}:
                self._attend()
                continue
            self.spin_until(lambda: self.mode in RESTING_MODES | LATCHED_MODES, 5.0)
            stops += 1
            if stops > _MAX_STOPS:
                break
            self._person.lose(self._scene())
            try:
                self.start_policy()
            except RolloutError:
                # Jaws that closed on nothing may hang just outside of their range, and an arm
                # that was disarmed there is not armed again: the episode is over.
                break
        success = bool(self.episode["success"])
        if self.mode == "HUMAN":
            self.call("supervisor/pause")
        self.finish(success=success)
        return Supervised(seed, success, tuple(self._person.reasons), stops)

    def _attend(self) -> None:
        """Look at the newest scene, and do what it asks for."""
        scene = self._scene()
        self._looked_at = scene.time_s
        if self.mode == "POLICY":
            reason = self._person.watch(scene)
            if reason and self._commanded is not None and self._ask(take=True):
                self._person.take(self._commanded, scene.time_s, reason)
                self._person.drive(scene)
        elif not self._person.drive(scene):
            self._ask(take=False)
        self._looked_s = time.monotonic()

    def _ask(self, *, take: bool) -> bool:
        """Take over or hand back; whether it was granted. A refusal is asked again at 10 Hz."""
        wanted = "HUMAN" if take else "POLICY"
        future = self._takeover.call_async(SetBool.Request(data=take))
        if not self.spin_until(future.done, CALL_TIMEOUT_S):
            raise RolloutError(f"supervisor/takeover did not reply within {CALL_TIMEOUT_S:.0f} s")
        reply = future.result()
        granted = reply is not None and bool(reply.success)
        return granted and self.spin_until(lambda: self.mode == wanted, 1.0)

    def _is_news(self) -> bool:
        moving = self.mode in {"POLICY", "HUMAN"}
        return not moving or self._scene().time_s != self._looked_at

    def _decided(self) -> bool:
        return bool(self.episode["success"] or self.episode["failed"])

    def _scene(self) -> SceneState:
        return SceneState(np.array(self.episode["qpos"]), float(self.episode["time_s"]))

    def _send_target(self) -> None:
        wanted = self._wanted()
        if wanted is None:
            return
        message = JointState()
        message.header.stamp = stamp_to_msg(ros_now(self.node))
        message.header.frame_id = SOURCE
        message.name = list(JOINT_NAMES)
        message.position = wanted.tolist()
        self._targets.publish(message)

    def _wanted(self) -> FloatArray | None:
        """Where the person's hand is: along with the arm, or ahead of it where it has the arm."""
        if self.mode == "HUMAN":
            ahead = self._person.wanted(time.monotonic() - self._looked_s)
            if ahead is not None:
                return ahead
        return None if self._commanded is None else self._commanded.position

    def _on_command(self, message: JointState) -> None:
        order = [message.name.index(name) for name in JOINT_NAMES]
        position = np.array(message.position)[order]
        velocity = np.array(message.velocity)[order] if message.velocity else 0.0 * position
        self._commanded = JointPoint(position, velocity, np.zeros_like(position))
