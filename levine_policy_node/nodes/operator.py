# SPDX-License-Identifier: Apache-2.0
"""Turns one input device into joint targets with a dead-man.

While the dead-man is held, the node asks the supervisor for the takeover and streams
`operator/target`; when it is let go, the stream ends and the arm is made to stand. Whatever else
happens to the device, to this process or to the network ends the stream, too, and with it the
motion: the supervisor waits no longer than its `target_timeout_s`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.client import Client
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from levine_policy_node.core.dead_man import HUMAN, Act, DeadMan
from levine_policy_node.core.takeover import RELATIVE
from levine_policy_node.core.units import FloatArray, SteadyNs, nanoseconds, seconds
from levine_policy_node.devices.device import (
    Device,
    DeviceContext,
    DeviceLostError,
    HandMotion,
    HandRates,
    JointPositions,
    JointRates,
    Motion,
    Reading,
)
from levine_policy_node.devices.registry import make_device
from levine_policy_node.errors import LevineError
from levine_policy_node.nodes.operator_setup import OperatorParameters, hand_of
from levine_policy_node.robot import load_robot
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import ros_now, stamp_to_msg, steady_now
from levine_policy_node.ros.diagnostics import diagnostics_to_msg
from levine_policy_node.ros.edge_log import EdgeLog
from levine_policy_node.ros.entrypoint import run
from levine_policy_node.ros.messages import MessageError, by_name
from levine_policy_node.ros.parameters import load_parameters
from levine_policy_node.ros.scheduling import PROMPT, set_urgency, switch_threads_often
from levine_policy_node.runtime.hand_jog import HandJog

_REOPEN_NS = nanoseconds(1.0)
# A refused takeover is asked for again after this long: the arm may still be stopping.
_ASK_AGAIN_NS = nanoseconds(0.1)
_COMMAND_AGE_NS = nanoseconds(0.2)


class Operator(Node):
    """Reads the device in a thread of its own, at `rate_hz`."""

    def __init__(
        self, device: Device | None = None, parameter_overrides: list[Parameter] | None = None
    ) -> None:
        """Open the device.

        Args:
            device: One that a program made; None for the one of the parameters.
            parameter_overrides: For a node that is made in a program.

        Raises:
            LevineError: If there is none.
        """
        super().__init__("operator", parameter_overrides=parameter_overrides)
        self._settings = load_parameters(self, OperatorParameters)
        robot = load_robot(self._settings.robot)
        self._names = robot.joint_names
        self._grippers = {
            self._names.index(name): ends for name, ends in robot.gripper_ends().items()
        }
        hand, self._lacking = hand_of(robot)
        self._jog = HandJog(robot.limits(), hand)
        self._dead_man = DeadMan()
        self._mode = ""
        self._command: tuple[SteadyNs, FloatArray] | None = None
        self._said_ns = self._stepped_ns = self._tried_ns = SteadyNs(0)
        self._asked_ns = SteadyNs(0)
        self._targets = self.create_publisher(JointState, "operator/target", qos.COMMAND)
        self.create_subscription(String, "supervisor/mode", self._on_mode, qos.MODE)
        self.create_subscription(JointState, "supervisor/command", self._on_command, qos.TICKS)
        self._takeover = self.create_client(SetBool, "supervisor/takeover")
        self._triggers = {
            act: self.create_client(Trigger, f"supervisor/{act.value}")
            for act in (Act.PAUSE, Act.STOP)
        }
        self._trouble = EdgeLog(self, "the device is fine again")
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self.create_timer(1.0, self._diagnose, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._own = device is None
        self._device = device or self._opened()
        self._called = self._device.name
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="operator")
        self._thread.start()

    def close(self) -> None:
        """End the stream, which makes the arm stand, and close the device."""
        self._ended.set()
        self._thread.join()
        if self._device is not None:
            self._device.close()

    # In the device's thread.

    def _loop(self) -> None:
        period_s = 1.0 / self._settings.rate_hz
        while not self._ended.wait(period_s):
            self._look(steady_now())

    def _look(self, now_ns: SteadyNs) -> None:
        """Read the device once, and do what it says."""
        reading = self._read(now_ns)
        held = reading is not None and reading.held
        acts = frozenset[Act]() if reading is None else reading.acts
        mode = self._mode
        self._dead_man, act = self._dead_man.next(held=held, mode=mode, acts=acts)
        if reading is not None and held:
            self._pass_on(reading, now_ns, mode)
        # After the target: a takeover that is heard before one is refused.
        if act is not None:
            self._ask(act, now_ns)

    def _pass_on(self, reading: Reading, now_ns: SteadyNs, mode: str) -> None:
        """Publish what a held device wants."""
        if mode != HUMAN and not self._follow_the_arm(now_ns):
            return
        # Only what is new is passed on: a device that says nothing more must not seem alive.
        if reading.said_ns > self._said_ns:
            self._said_ns = reading.said_ns
            self._lead(reading.motion, now_ns, moving=mode == HUMAN)

    def _read(self, now_ns: SteadyNs) -> Reading | None:
        if self._device is None:
            self._reopen(now_ns)
            return None
        try:
            reading = self._device.read(now_ns)
        except DeviceLostError as error:
            self._trouble.problem("lost", str(error))
            self._device.close()
            self._device, self._tried_ns = None, now_ns
            return None
        if reading is None:
            self._trouble.problem("silent", f"{self._called} has said nothing that can be used")
        elif isinstance(reading.motion, HandRates | HandMotion) and self._lacking:
            self._trouble.problem("hand", self._lacking)
        elif self._jog.problem:
            self._trouble.problem("reach", self._jog.problem)
        else:
            self._trouble.fine()
        return reading

    def _follow_the_arm(self, now_ns: SteadyNs) -> bool:
        """Until the takeover is granted, what is led goes along with what the arm is told."""
        if self._command is None or now_ns - self._command[0] > _COMMAND_AGE_NS:
            return False
        self._jog.begin(self._command[1])
        self._stepped_ns = now_ns
        return True

    def _lead(self, motion: Motion, now_ns: SteadyNs, *, moving: bool) -> None:
        dt_s, self._stepped_ns = seconds(now_ns - self._stepped_ns), now_ns
        if isinstance(motion, JointPositions):
            self._publish(motion.positions, "")
            return
        if moving:
            self._jogged(motion, dt_s)
        if np.all(np.isfinite(self._jog.joints)):
            led = dict(zip(self._names, self._jog.joints.tolist(), strict=True))
            self._publish(led, RELATIVE)

    def _jogged(self, motion: JointRates | HandRates | HandMotion, dt_s: float) -> None:
        if isinstance(motion, JointRates):
            self._jog.by_rates(np.array([motion.rates.get(n, 0.0) for n in self._names]), dt_s)
            return
        if isinstance(motion, HandRates):
            self._jog.by_twist(motion.twist, dt_s)
        else:
            self._jog.by_pose(motion.pose, dt_s)
        rates = np.zeros(len(self._names))
        for joint, (closed, opened) in self._grippers.items():
            rates[joint] = motion.gripper * np.sign(opened - closed) * self._settings.joint_speed
        self._jog.by_rates(rates, dt_s)

    def _publish(self, positions: Mapping[str, float], kind: str) -> None:
        message = JointState()
        message.header.stamp = stamp_to_msg(ros_now(self))
        message.header.frame_id = f"operator:{self._called}{kind}"
        message.name = list(positions)
        message.position = list(positions.values())
        self._targets.publish(message)

    def _ask(self, act: Act, now_ns: SteadyNs) -> None:
        """Call the supervisor; nothing waits for the reply."""
        if act is Act.TAKEOVER and now_ns - self._asked_ns < _ASK_AGAIN_NS:
            return
        self._asked_ns = now_ns
        if act in self._triggers:
            client: Client = self._triggers[act]
            future = client.call_async(Trigger.Request())
        else:
            request = SetBool.Request(data=act is Act.TAKEOVER)
            future = self._takeover.call_async(request)
        future.add_done_callback(lambda done: self._on_reply(act, done))

    def _opened(self) -> Device:
        p = self._settings
        context = DeviceContext(self, self._names, p.speeds(), p.device_options())
        return make_device(p.device, context)

    def _reopen(self, now_ns: SteadyNs) -> None:
        if not self._own or now_ns - self._tried_ns < _REOPEN_NS:
            return
        self._tried_ns = now_ns
        try:
            self._device = self._opened()
        except LevineError as error:
            self._trouble.problem("lost", str(error))

    # In the executor's thread.

    def _on_reply(self, act: Act, future: Future) -> None:
        reply = future.result()
        if reply is not None and not reply.success:
            self.get_logger().warning(f"{act.value}: {reply.message}", throttle_duration_sec=1.0)

    def _on_mode(self, message: String) -> None:
        self._mode = message.data

    def _on_command(self, message: JointState) -> None:
        try:
            position = by_name(self._names, cast("Sequence[str]", message.name), message.position)
        except MessageError as error:
            self.get_logger().warning(f"supervisor/command: {error}", throttle_duration_sec=5.0)
            return
        self._command = (steady_now(), position)

    def _diagnose(self) -> None:
        dead_man = self._dead_man
        values = {
            "device": self._called,
            "connected": str(self._device is not None).lower(),
            "held": str(dead_man.held).lower(),
            "leading": str(dead_man.leading).lower(),
            "mode": self._mode,
        }
        summary = "leads the arm" if dead_man.leading else "ok"
        message = diagnostics_to_msg(self, values, self._trouble.text, summary=summary)
        self._diagnostics.publish(message)


def main(argv: list[str] | None = None) -> int:
    """Run the node as its own process."""
    # A person's hand is no less urgent than the policy.
    set_urgency(PROMPT)
    switch_threads_often()
    return run(lambda: [Operator()], argv)


if __name__ == "__main__":
    raise SystemExit(main())
