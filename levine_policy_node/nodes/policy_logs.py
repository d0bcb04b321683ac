# SPDX-License-Identifier: Apache-2.0
"""What `policy_executor` says of what goes wrong: when it begins and when it ends."""

from __future__ import annotations

from rclpy.node import Node

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.alignment import StreamFault
from levine_policy_node.core.output_watch import OutputWatch
from levine_policy_node.core.units import nanoseconds
from levine_policy_node.ros.clocks import steady_now
from levine_policy_node.ros.edge_log import EdgeLog

# Publishers are found one after the other, and a joint state may come a moment after the frame
# of its instant: no news until it lasts.
_START_PATIENCE_S = 1.0
_PATIENCE_S = 0.1


class PolicyLogs:
    """One log per thing that can go wrong.

    Attributes:
        inference: Whether inferences give chunks.
        joints: Whether joint states can be used.
        rtc: Whether real-time chunking does what it should.
        supervisor: Whether there is somebody to infer for.
    """

    def __init__(self, node: Node, *, stops_bad_output: bool) -> None:
        """Begin with nothing wrong.

        Args:
            node: Says it.
            stops_bad_output: Whether a fault of the policy's output is to stop the arm.
        """
        self._stops_bad_output = stops_bad_output
        self.inference = EdgeLog(node, "inference works again")
        self.joints = EdgeLog(node, "joint states are good again")
        self.rtc = EdgeLog(node, "the delay is one for real-time chunking again")
        self.supervisor = EdgeLog(node, "the supervisor is there again")
        self._output = EdgeLog(node, "the policy's answers make sense again")
        self._observation = EdgeLog(node, "observations are complete again")
        self._patient_until_ns = 0

    @property
    def problem(self) -> str:
        """The most important of what is wrong now, or ""."""
        logs = (
            self.supervisor,
            self._observation,
            self.inference,
            self._output,
            self.joints,
            self.rtc,
        )
        return next((log.text for log in logs if log.text), "")

    def starting(self) -> None:
        """Streams are only being found."""
        self._patient_until_ns = steady_now() + nanoseconds(_START_PATIENCE_S)

    def observed(self) -> None:
        """An observation was complete."""
        self._observation.fine()
        self._patient_until_ns = steady_now() + nanoseconds(_PATIENCE_S)

    def unobserved(self, fault: StreamFault) -> None:
        """An observation was not complete."""
        if steady_now() >= self._patient_until_ns:
            kind = (fault.stream, fault.problem)
            self._observation.problem(kind, f"no inference: {fault}")

    def judged(self, chunk: ActionChunk, output: OutputWatch) -> StreamFault | None:
        """Look at a chunk; returns why it is to stop the arm, or None."""
        fault = output.add(chunk)
        self._output.tell(output.stuck() if fault is None else (fault.problem, str(fault)))
        return fault if self._stops_bad_output else None
