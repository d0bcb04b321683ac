# SPDX-License-Identifier: Apache-2.0
"""What the supervisor watches besides the arm and the policy, over real DDS."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from harness import ros_graph
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String, UInt64
from std_srvs.srv import Trigger
from supervisor_bench import COMMANDS, MIDDLE, PARAMETERS, ROBOT, Bench, in_free_space
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.core.timeline import JointPoint
from levine_policy_node.core.units import StampNs, nanoseconds
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import ros_now
from levine_policy_node.ros.messages import joint_state_to_msg


class Controller:
    """Says what it commands, in the script's thread; `off` is what somebody else adds to it."""

    def __init__(self, bench: Bench) -> None:
        self.talks = False
        self.off = 0.0
        self._script = script = bench.script
        topic = f"{ROBOT.controller.name}/reference"
        self._publisher = script.create_publisher(JointState, topic, qos.JOINT_STATE_OUT)
        script.create_timer(0.02, self._say)

    def _say(self) -> None:
        window = self._script.window
        if self.talks and window is not None:
            now = ros_now(self._script)
            position = window.sample(now).position + self.off
            point = JointPoint.at_rest(position)
            self._publisher.publish(joint_state_to_msg(ROBOT.joint_names, point, now))


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[tuple[Bench, Controller]]:
    with ros_graph() as graph:
        bench = Bench(graph, in_free_space(tmp_path_factory.mktemp("robot")))
        yield bench, Controller(bench)
        bench.script.close()


@pytest.fixture
def bench(shared) -> Bench:
    return shared[0].refresh()


def why(bench: Bench, fault: str) -> str:
    """The evidence of a fault; modes and events come on topics of their own."""
    bench.spin_until(lambda: bool(bench.said(fault)), f"the event {fault}")
    return bench.said(fault)[0][1]


def drain(receiver: socket.socket) -> None:
    while True:
        receiver.recv(64)


def test_parameters_are_fixed_while_it_runs(bench):
    on = ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=True)
    faster = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=0.9)
    for name, value in (("use_sim_time", on), ("policy_timeout_s", faster)):
        request = SetParameters.Request(parameters=[Parameter(name=name, value=value)])
        reply = bench.ros.call(SetParameters, "safety_supervisor/set_parameters", request)
        assert not reply.results[0].successful, name


def test_a_second_supervisor_of_the_same_robot_ends_with_one_line(bench):
    second = bench.ros.start(
        "safety_supervisor", params_file=PARAMETERS, parameters={"robot": bench.robot}
    )
    assert second.wait(30) == 2
    assert "safety_supervisor for sim_so101, domain" in second.output()
    assert f"is already running (process {bench.process.pid})" in second.output()
    assert bench.mode == "DISARMED"


def test_a_policy_that_cannot_see_is_paused_until_it_can(bench):
    bench.engage()
    bench.problem.publish(String(data="camera front: pixels do not change (3 frames)"))
    bench.until("PAUSED")
    assert "camera front: pixels do not change" in why(bench, "OBSERVATION_BAD")
    assert "camera front" in bench.ask("resume")[1]
    bench.problem.publish(String(data=""))
    bench.insist("resume")
    bench.until("POLICY")


def test_the_cell_takes_its_permission_back(bench):
    enable = bench.ros.publisher(Bool, "enable", qos.SWITCH)
    enable.publish(Bool(data=True))
    bench.insist("arm")
    enable.publish(Bool(data=False))
    bench.until("PSTOP")
    assert "enable is false" in why(bench, "ENABLE_LOST")
    assert "enable is false" in bench.ask("reset")[1]
    enable.publish(Bool(data=True))
    bench.insist("reset")
    bench.ros.node.destroy_publisher(enable)


@pytest.mark.parametrize(
    ("topic", "kind", "profile", "why_not"),
    [
        ("estop", Bool, qos.IMAGE_IN, "Best effort publisher and reliable subscription"),
        ("policy/problem", String, qos.COMMAND, "Volatile publisher and transient local"),
    ],
)
def test_what_cannot_be_heard_refuses_to_arm(bench, topic, kind, profile, why_not):
    deaf = bench.ros.node.create_publisher(kind, topic, profile)
    message = refusal_to_arm(bench, why_not)
    assert message.startswith(f"arm refused: /{topic}: nothing of what "), message
    bench.ros.node.destroy_publisher(deaf)
    bench.insist("arm")


def test_a_controller_that_cannot_hear_refuses_to_arm(bench):
    bench.script.hear(qos.MODE)
    try:
        # The listener that has just gone may be told of for a moment, too.
        said = refusal_to_arm(bench, "transient local")
        why = "cannot hear it: Volatile publisher and transient local subscription"
        assert said.endswith(why), said
    finally:
        bench.script.hear(qos.COMMAND)
    bench.insist("arm")


def test_a_second_robot_on_the_domain_refuses_to_arm(bench):
    name = ROBOT.controller.name
    nodes = [Node(name, use_global_arguments=False) for _ in range(2)]
    try:
        for node in nodes:
            node.create_subscription(JointTrajectory, COMMANDS, lambda _: None, qos.COMMAND)
        message = refusal_to_arm(bench, "another robot on this domain")
        assert f"2 nodes called /{name} listen on /{COMMANDS}" in message
    finally:
        for node in nodes:
            node.destroy_node()
    bench.insist("arm")


def refusal_to_arm(bench: Bench, why: str) -> str:
    """What is said against arming, once the graph is known that far."""
    found: list[str] = []

    def refused() -> bool:
        accepted, message = bench.ask("arm")
        found.append(message)
        if accepted:
            bench.insist("disarm")
        return why in message

    bench.spin_until(refused, f"a refusal because of {why}")
    return found[-1]


def test_a_flood_stops_the_arm_and_the_supervisor_lives(bench):
    bench.engage()
    heart = bench.ros.publisher(UInt64, "policy/heartbeat", qos.HEARTBEAT)
    for _ in range(2000):
        heart.publish(UInt64(data=bench.script.inferences))
    bench.until("PSTOP")
    assert "policy/heartbeat: more than 600 messages" in why(bench, "MESSAGE_FLOOD")
    bench.ros.node.destroy_publisher(heart)
    bench.refresh()


def test_messages_that_are_none_are_counted_and_end_nothing(bench):
    status = bench.ros.collect(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
    chunks = bench.ros.publisher(JointTrajectory, "policy/action_chunk", qos.COMMAND)
    states = bench.ros.publisher(JointState, "joint_states", qos.JOINT_STATE_OUT)
    for data in (b"", b"\x00\x01\x00\x00" + b"\xff" * 40, b"\x00\x01\x00\x00" + bytes(300_000)):
        chunks.publish(data)
        bench.ros.spin_for(0.05)
    states.publish(JointState(name=["x"] * 2000, position=[0.0] * 2000))
    states.publish(JointState(name=list(ROBOT.joint_names), position=[0.0]))

    def refused() -> int:
        found = {v.key: v.value for m in status for s in m.status for v in s.values}
        return int(found.get("refused_messages", "0"))

    bench.spin_until(lambda: refused() >= 2, "the count of refused messages")
    assert bench.process.alive
    for publisher in (chunks, states):
        bench.ros.node.destroy_publisher(publisher)
    bench.engage()


def test_a_foreign_writer_is_seen_in_what_the_controller_commands(shared, bench):
    controller = shared[1]
    controller.talks, controller.off = True, 0.0
    bench.insist("arm")
    bench.ros.spin_for(0.5)
    assert not bench.said("FOREIGN_WRITER")
    controller.off = np.where(np.arange(len(MIDDLE)) == 1, 0.3, 0.0)
    bench.until("FAULT")
    assert "commands shoulder_lift 0." in why(bench, "FOREIGN_WRITER")
    controller.off = 0.0
    bench.refresh()
    bench.insist("arm")
    bench.until("ARMED")
    controller.talks = False
    bench.until("FAULT")
    assert "the controller has said nothing" in why(bench, "CONTROLLER_LOST")
    controller.talks = True
    bench.refresh()


def test_systemd_is_told_and_clocks_are_compared(bench, tmp_path):
    """A supervisor of another namespace, whose arm is on a host with a clock behind."""
    ros = bench.ros
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(90.0)
        process = ros.start(
            "safety_supervisor",
            params_file=PARAMETERS,
            parameters={"robot": bench.robot},
            namespace="/other",
            environment={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000"},
        )
        assert systemd.recv(64) == b"READY=1"
        assert {systemd.recv(64) for _ in range(3)} == {b"WATCHDOG=1"}
        ros.collect(JointTrajectory, f"other/{COMMANDS}", qos.COMMAND)
        states = ros.publisher(JointState, "other/joint_states", qos.JOINT_STATE_OUT)

        def say() -> None:
            behind = StampNs(ros_now(ros.node) - nanoseconds(0.5))
            point = JointPoint.at_rest(MIDDLE)
            states.publish(joint_state_to_msg(ROBOT.joint_names, point, behind))

        timer = ros.node.create_timer(0.01, say)
        refusals: list[str] = []

        def refused() -> bool:
            refusals.append(ros.call(Trigger, "other/supervisor/arm", Trigger.Request()).message)
            return "joint_states is 5" in refusals[-1]

        ros.spin_until(refused, 20.0, f"a refusal for the clock (heard {refusals[-3:]})")
        ros.node.destroy_timer(timer)
        # A stopped loop says nothing; systemd would kill it now.
        process.send(signal.SIGSTOP)
        systemd.settimeout(1.0)
        with pytest.raises(TimeoutError):
            drain(systemd)
        process.send(signal.SIGCONT)
        assert process.stop() == 0
