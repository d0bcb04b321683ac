# SPDX-License-Identifier: Apache-2.0
"""What the supervisor says about itself: mode, ticks and events."""

from __future__ import annotations

from collections.abc import Sequence

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import String, UInt64

from levine_policy_node.core.faults import Severity
from levine_policy_node.core.modes import Mode, ModeState
from levine_policy_node.core.supervision import Decision, Occurrence
from levine_policy_node.core.units import StampNs, nanoseconds
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import stamp_to_msg
from levine_policy_node.ros.messages import joint_state_to_msg

_BEAT_NS = nanoseconds(0.05)

_LEVELS = {
    Severity.NOTICE: DiagnosticStatus.OK,
    Severity.PAUSE: DiagnosticStatus.WARN,
    Severity.PSTOP: DiagnosticStatus.ERROR,
    Severity.FAULT: DiagnosticStatus.ERROR,
    Severity.ESTOP: DiagnosticStatus.ERROR,
}


class SupervisorOutputs:
    """Publishers under `supervisor/`."""

    def __init__(self, node: Node, joint_names: Sequence[str]) -> None:
        self._node = node
        self._names = tuple(joint_names)
        self._mode = node.create_publisher(String, "supervisor/mode", qos.MODE)
        self._proposal = node.create_publisher(JointState, "supervisor/proposal", qos.TICKS)
        self._command = node.create_publisher(JointState, "supervisor/command", qos.TICKS)
        self._events = node.create_publisher(DiagnosticArray, "supervisor/events", qos.EVENTS)
        self._heart = node.create_publisher(UInt64, "supervisor/heartbeat", qos.HEARTBEAT)
        self._said: Mode | None = None
        self._ticks = 0
        self._beat_ns: StampNs | None = None

    def say(self, decision: Decision, stamp_ns: StampNs) -> None:
        """Publish what one tick decided.

        Args:
            decision: Of this tick.
            stamp_ns: Time of the tick on the ROS clock.
        """
        self._beat(stamp_ns)
        if decision.command is not None:
            self._command.publish(
                joint_state_to_msg(
                    self._names, decision.command, stamp_ns, decision.source, decision.efforts
                )
            )
        if decision.proposal is not None:
            self._proposal.publish(
                joint_state_to_msg(
                    self._names,
                    decision.proposal,
                    stamp_ns,
                    decision.proposal_source,
                    decision.asked_efforts,
                )
            )
        mode = decision.mode.mode
        if mode is not self._said:
            self._said = mode
            self._mode.publish(String(data=mode.value))
        for occurrence in decision.occurrences:
            self._log(occurrence)
        if decision.occurrences:
            told = [self._status(o, decision.mode, decision.source) for o in decision.occurrences]
            self._publish_events(told, stamp_ns)

    def tell(self, occurrences: Sequence[Occurrence], mode: ModeState, stamp_ns: StampNs) -> None:
        """Publish events that no tick brought about; they are not logged.

        Args:
            occurrences: What to tell.
            mode: Present mode.
            stamp_ns: Present time on the ROS clock.
        """
        self._publish_events([self._status(o, mode, "") for o in occurrences], stamp_ns)

    def _beat(self, stamp_ns: StampNs) -> None:
        """Count the ticks on `supervisor/heartbeat`, at the rate the policy's side waits for."""
        self._ticks += 1
        if self._beat_ns is None or abs(stamp_ns - self._beat_ns) >= _BEAT_NS:
            self._beat_ns = stamp_ns
            self._heart.publish(UInt64(data=self._ticks))

    def _log(self, occurrence: Occurrence) -> None:
        if occurrence.name == "MODE":
            self._node.get_logger().info(occurrence.text)
        elif occurrence.severity > Severity.NOTICE:
            self._node.get_logger().warning(occurrence.text)

    def _publish_events(self, told: list[DiagnosticStatus], stamp_ns: StampNs) -> None:
        message = DiagnosticArray()
        message.header.stamp = stamp_to_msg(stamp_ns)
        message.status = told
        self._events.publish(message)

    def _status(self, occurrence: Occurrence, mode: ModeState, source: str) -> DiagnosticStatus:
        return DiagnosticStatus(
            level=_LEVELS[occurrence.severity],
            name=occurrence.name,
            message=occurrence.text,
            hardware_id=self._node.get_name(),
            values=[
                KeyValue(key="mode", value=str(mode)),
                KeyValue(key="source", value=source),
                KeyValue(key="severity", value=occurrence.severity.name),
            ],
        )
