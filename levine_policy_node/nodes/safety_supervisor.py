# SPDX-License-Identifier: Apache-2.0
"""The only writer to the controller: arbitrates, limits, watches and stops.

Run-time assurance, not a safety-rated function: it sits above the limits and stops of the
controller and the hardware, which must exist. The decisions are `core.supervisor.step`; this
node brings the inputs there and the outputs away. It is a plain node, since a gate has no
inactive state.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node

from levine_policy_node.core.effort_supervisor import step_efforts
from levine_policy_node.core.effort_timeline import EffortTimeline
from levine_policy_node.core.faults import Severity
from levine_policy_node.core.modes import MOVING, Event, Mode
from levine_policy_node.core.statistics import RollingPercentiles
from levine_policy_node.core.supervision import (
    Chunk,
    Decision,
    Inputs,
    Occurrence,
    Reply,
    SupervisorState,
)
from levine_policy_node.core.supervisor import step
from levine_policy_node.core.units import StampNs, SteadyNs, seconds
from levine_policy_node.errors import said
from levine_policy_node.nodes.black_box_link import BlackBoxLink
from levine_policy_node.nodes.chunk_preparation import ChunkPreparation
from levine_policy_node.nodes.supervisor_services import SupervisorServices
from levine_policy_node.nodes.supervisor_setup import (
    SafetySupervisorParameters,
    make_options,
    make_output,
    refuse_parameters,
)
from levine_policy_node.robot import load_robot
from levine_policy_node.ros import qos
from levine_policy_node.ros.callers import Callers
from levine_policy_node.ros.clocks import ros_now, steady_now
from levine_policy_node.ros.controllers.forward_command import ForwardEffortOutput
from levine_policy_node.ros.controllers.joint_trajectory import JointTrajectoryOutput
from levine_policy_node.ros.deadline_loop import DeadlineLoop, GapStatistics
from levine_policy_node.ros.diagnostics import diagnostics_to_msg
from levine_policy_node.ros.domain import domain_id, open_graph_warning
from levine_policy_node.ros.edge_log import EdgeLog
from levine_policy_node.ros.effort_messages import efforts_from_bytes
from levine_policy_node.ros.entrypoint import run
from levine_policy_node.ros.messages import timeline_from_bytes
from levine_policy_node.ros.operator_requests import OperatorRequests
from levine_policy_node.ros.parameters import load_parameters
from levine_policy_node.ros.scheduling import (
    URGENT,
    runs_in_real_time,
    set_urgency,
    switch_threads_often,
    use_realtime,
)
from levine_policy_node.ros.shared_memory import shared_memory_warning
from levine_policy_node.ros.supervisor_inputs import Expected, SupervisorInputs
from levine_policy_node.ros.supervisor_outputs import SupervisorOutputs
from levine_policy_node.runtime.memory import collect_garbage
from levine_policy_node.runtime.service_manager import ServiceManager
from levine_policy_node.runtime.single_instance import SingleInstance

EXIT_LOOP_FAILED = 1


@dataclass(frozen=True, slots=True)
class _Decided:
    """A tick that was decided for `due_ns` from what was taken."""

    due_ns: SteadyNs
    taken: Inputs
    state: SupervisorState
    decision: Decision


class SafetySupervisor(Node):
    """Runs the supervisor at `control_rate_hz` and puts ROS around it."""

    def __init__(self) -> None:
        super().__init__("safety_supervisor")
        p = load_parameters(self, SafetySupervisorParameters)
        self._robot = load_robot(p.robot)
        where = (self._robot.name, f"domain {domain_id(os.environ)}", self.get_namespace()[1:])
        self._lock = SingleInstance("safety_supervisor", where)
        self._service_manager = ServiceManager()
        self._controller = make_output(self, self._robot)
        self._options = make_options(p, self._robot, self._controller)
        self._step = step if self._options.efforts is None else step_efforts
        self._state = SupervisorState()
        self._faults = ""
        self._resting = threading.Event()
        self._requests = OperatorRequests()
        self._outputs = SupervisorOutputs(self, self._robot.joint_names)
        name = self._robot.controller.name
        expected = Expected(name, p.joint_state_rate_hz, p.clock_skew_s)
        self._black_box = BlackBoxLink(p.black_box_head(self, self._robot, self._options))
        self._inputs = SupervisorInputs(
            self, self._robot.joint_names, self._controller, self._read, expected
        )
        self._preparation = ChunkPreparation(
            self, self._options, lambda: self._state, self._inputs.hand_in
        )
        self._clocks = EdgeLog(self, "the clocks agree again")
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self._acts = SupervisorServices(
            self, Callers(self, p.operators), self._ask, lambda news: self._tell([news])
        )
        self._chunk_to_command_s = RollingPercentiles()
        self._gaps = GapStatistics(1.0 / p.control_rate_hz)
        self.failed, self._failure = False, ""
        self._loop = DeadlineLoop(1.0 / p.control_rate_hz, self, self._on_loop_failure)
        self.create_timer(1.0, self._diagnose, clock=Clock(clock_type=ClockType.STEADY_TIME))
        refused = use_realtime(
            "parameters of safety_supervisor",
            p.realtime_priority,
            p.cpus,
            lock_memory=p.lock_memory,
        )
        for warning in (refused, open_graph_warning(os.environ), shared_memory_warning()):
            if warning:
                self.get_logger().warning(warning)
        # rclpy's own parameters, such as use_sim_time, can be set while the arm moves.
        self.add_on_set_parameters_callback(refuse_parameters)
        self._loop.start()

    def close(self) -> None:
        """Bring a moving arm to rest, then end the loop; called once by the entry point.

        Nothing spins any more, so the joint states seem late and the stop ends in PSTOP: that
        is where an abandoned arm belongs.
        """
        if self._loop.alive and not self._resting.is_set():
            self._requests.ask(Event.DISARM)
            self._resting.wait(self._options.stop_timeout_s)
        self._loop.stop()
        news = self._black_box.close(self._failure)
        if self.context.ok():
            self._tell(news)
        self._service_manager.close()
        self._lock.close()

    # In the loop's thread.

    def take(self) -> Inputs:
        """Everything that arrived since the last tick."""
        return self._inputs.take(self._requests.take())

    def decide(self, taken: Inputs, due_ns: SteadyNs) -> _Decided:
        """Decide a tick; nothing is sent, said or remembered yet."""
        return _Decided(due_ns, taken, *self._step(self._state, due_ns, taken, self._options))

    def renew(self, taken: Inputs) -> Inputs | None:
        """With the chunks that have arrived since; None if none has."""
        return self._inputs.renew(taken)

    def send(self, decided: _Decided) -> None:
        """Send what was decided, then answer and say it."""
        decision = decided.decision
        known, self._state = self._state.newest, decided.state
        self._command(decision)
        if decision.unprepared:
            self._preparation.ask_again()
        self._service_manager.ticked(steady_now())
        chunk = decided.state.newest
        if decision.mode.mode is Mode.POLICY and chunk is not None and chunk is not known:
            now_ns = steady_now() + decided.taken.ros_offset_ns
            self._chunk_to_command_s.add(seconds(now_ns - self._inputs.chunk_sent_ns))
        for reply in decision.replies:
            self._requests.reply(reply)
        if decision.mode.mode in MOVING:
            self._resting.clear()
        else:
            self._resting.set()
        self._faults = ", ".join(fault.name for fault in decision.faults)
        stamp_ns = StampNs(decided.due_ns + decided.taken.ros_offset_ns)
        self._outputs.say(decision, stamp_ns)
        self._black_box.remember(decided.due_ns, decided.taken, decision)

    def _command(self, decision: Decision) -> None:
        # When it is handed over; what the middleware does then is not ours to time.
        sent_ns = steady_now()
        if isinstance(self._controller, JointTrajectoryOutput):
            if decision.window is not None:
                self._controller.send_window(decision.window, decision.offset_ns, decision.source)
            if decision.rest is not None:
                names = self._options.limits.names
                self._controller.send_rest(decision.rest, names, decision.source)
        elif isinstance(self._controller, ForwardEffortOutput):
            if decision.efforts is not None:
                self._controller.send_efforts(decision.efforts)
        elif decision.command is not None:
            self._controller.send_position(decision.command.position)
        if decision.command is None:
            self._gaps.pause()
        else:
            self._gaps.sent(sent_ns)

    def _on_loop_failure(self) -> None:
        # What was sent ends at rest by itself; a supervisor that cannot decide must not go on.
        self.failed = True
        # In a `finally`, so the exception is still there.
        self._failure = said(sys.exc_info()[1] or RuntimeError("unknown"))
        self.get_logger().fatal("the control loop failed; the supervisor ends")
        rclpy.try_shutdown()

    # In the executor's thread.

    def _read(self, data: bytes) -> Chunk | EffortTimeline[StampNs]:
        if self._options.efforts is not None:
            return efforts_from_bytes(data, self._robot.joint_names)
        return self._preparation.prepare(timeline_from_bytes(data, self._robot.joint_names))

    def _ask(self, act: Event) -> Reply:
        if act is Event.ARM:
            self._inputs.before_arming()
        reply = self._requests.ask(act)
        if act is Event.ARM and reply.accepted:
            self._say_placeholders()
        return reply

    def _say_placeholders(self) -> None:
        if placeholders := self._robot.placeholders():
            text = (
                f"limits of {self._robot.name} that nobody published, chosen with caution: "
                f"{', '.join(placeholders)}"
            )
            self.get_logger().warning(text)
            event = Occurrence("PLACEHOLDERS", Severity.NOTICE, text)
            self._outputs.tell([event], self._state.mode, ros_now(self))

    def _diagnose(self) -> None:
        # The only collections there are; what start-up made is frozen, so they are short.
        collect_garbage()
        self._inputs.ask_switches()
        report, state = self._loop.report(), self._state
        skew = self._inputs.clock_skew()
        self._clocks.tell(("skew", skew) if skew else None)
        values = {
            "mode": state.mode.mode.value,
            "active_faults": self._faults,
            "ticks": str(report.ticks),
            "missed_ticks": str(report.missed),
            "tick_lateness_ms_p50": f"{report.lateness_p50_ms:.3f}",
            "tick_lateness_ms_p99": f"{report.lateness_p99_ms:.3f}",
            "tick_lateness_ms_max": f"{report.lateness_max_ms:.3f}",
            "scheduler": "SCHED_FIFO" if runs_in_real_time() else "SCHED_OTHER",
            "chunk_to_command_ms_p50": f"{self._chunk_to_command_s.percentile(50) * 1e3:.3f}",
            "command_gap_ms_max": f"{self._gaps.max_ms():.3f}",
            "command_gaps_over_3_periods": str(self._gaps.over_three_periods()),
            "command_jitter_ms_p99": f"{self._gaps.jitter_p99_ms():.3f}",
            "refused_messages": str(self._inputs.guard.refused.total()),
            **self._black_box.status,
        }
        self._tell(self._black_box.news())
        mode, arm = state.mode.mode.value, self._robot.name
        message = diagnostics_to_msg(self, values, self._faults, summary=mode, hardware_id=arm)
        self._diagnostics.publish(message)

    def _tell(self, news: Sequence[Occurrence]) -> None:
        for occurrence in news:
            self.get_logger().info(occurrence.text)
        if news:
            self._outputs.tell(news, self._state.mode, ros_now(self))


def main(argv: list[str] | None = None) -> int:
    """Run the supervisor as its own process."""
    made: list[SafetySupervisor] = []

    set_urgency(URGENT)
    switch_threads_often()

    def factory() -> Sequence[Node]:
        made.append(SafetySupervisor())
        # Collections are made in `_diagnose`, where they disturb least.
        gc.disable()
        return made

    code = run(factory, argv)
    return EXIT_LOOP_FAILED if any(node.failed for node in made) else code


if __name__ == "__main__":
    raise SystemExit(main())
