# SPDX-License-Identifier: Apache-2.0
"""The operator's own process between real devices and a real supervisor, over DDS."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped, TwistStamped
from harness import NodeProcess, ros_graph
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64
from supervisor_bench import MIDDLE, ROBOT, Bench

from levine_policy_node.resources import share_directory
from levine_policy_node.ros import qos
from levine_policy_node.runtime.hand_kinematics import HandKinematics

PARAMETERS = share_directory() / "config" / "operator.param.yaml"


@pytest.fixture(scope="module")
def shared() -> Iterator[Bench]:
    with ros_graph() as graph:
        bench = Bench(graph)
        yield bench
        bench.script.close()


@pytest.fixture
def bench(shared: Bench) -> Bench:
    return shared.refresh()


def operator(bench: Bench, device: str, **options: object) -> NodeProcess:
    parameters = {"robot": "sim_so101", "device": device, "joint_speed": 0.5}
    if device in {"leader", "topics"}:
        # This process also plays the arm and the policy.
        parameters["options"] = "[silent_s=0.4]"
    process = bench.ros.start("operator", params_file=PARAMETERS, parameters=parameters, **options)
    bench.spin_until(
        lambda: bench.ros.node.count_publishers("operator/target") >= 2, "the operator's process"
    )
    return process


class Repeated:
    """Publishes what a device of the test says, every 20 ms, for as long as the test spins."""

    def __init__(self, bench: Bench, say: Callable[[], None]) -> None:
        self._bench = bench
        self._timer = bench.ros.node.create_timer(0.02, say)

    def end(self) -> None:
        self._bench.ros.node.destroy_timer(self._timer)


def press(bench: Bench, held: Callable[[bool], None]) -> None:
    """Press until the arm is ours; a machine that is held up has let go for us."""
    for _ in range(10):
        held(False)
        bench.ros.spin_for(0.2)
        held(True)
        with contextlib.suppress(AssertionError):
            bench.spin_until(lambda: bench.mode == "HUMAN", "HUMAN", 2.0)
            return
    bench.until("HUMAN")


class LeaderArm:
    """A leader arm with a pedal, played by the test."""

    def __init__(self, bench: Bench) -> None:
        self.position = bench.script.position.copy()
        self.held = False
        self.names = list(ROBOT.joint_names)
        self._joints = bench.ros.publisher(JointState, "leader/joint_states", qos.JOINT_STATE_OUT)
        self._pedal = bench.ros.publisher(Bool, "leader/dead_man", qos.COMMAND)
        self.speaking = Repeated(bench, self._say)

    def hold(self, held: bool) -> None:
        self.held = held

    def _say(self) -> None:
        self._joints.publish(JointState(name=self.names, position=self.position.tolist()))
        self._pedal.publish(Bool(data=self.held))


def test_a_leader_arm_takes_over_while_its_pedal_is_held(bench):
    process = operator(bench, "leader")
    leader = LeaderArm(bench)
    bench.engage()
    # Away from where the policy is, and clear of the table and of the arm itself.
    leader.position = MIDDLE + np.array([0.6, 0.0, 0.0, 0.0, 0.3, 0.2])
    press(bench, leader.hold)
    # The offset fades, and the arm comes to where the leader is.
    bench.spin_until(
        lambda: np.allclose(bench.script.position, leader.position, atol=1e-3), "the leader"
    )
    assert bench.proposals[-1].header.frame_id == "operator:leader"
    leader.held = False
    bench.until("PAUSED")
    press(bench, leader.hold)
    # What is no number is no target, and the arm stands.
    leader.position = np.full(6, np.nan)
    bench.until("PAUSED")
    # A press is good for one takeover.
    leader.position = bench.script.position.copy()
    bench.ros.spin_for(0.3)
    assert bench.mode == "PAUSED"
    press(bench, leader.hold)
    process.send(signal.SIGKILL)
    bench.until("PAUSED")
    assert any("operator/target" in text for _, text in bench.said("OPERATOR_LOST"))
    leader.speaking.end()
    process.stop()
    bench.assert_all_windows_are_abandon_safe()


def test_a_takeover_is_asked_for_after_the_target_it_is_granted_for(bench):
    refused = [granted_at_once(bench) for _ in range(3)]
    assert "" in refused, refused


def granted_at_once(bench: Bench) -> str:
    """What an operator that has just begun was told before it had the arm; "" if nothing."""
    process = operator(bench.refresh(), "leader")
    leader = LeaderArm(bench)
    bench.engage()
    press(bench, leader.hold)
    leader.held = False
    bench.until("PAUSED")
    leader.speaking.end()
    process.stop()
    return "".join(line for line in process.output().splitlines() if "takeover: " in line)


def test_twists_and_poses_move_the_hand(bench):
    process = operator(bench, "topics")
    hand = HandKinematics(ROBOT)
    twist, pose = TwistStamped(), PoseStamped()
    pose.pose.orientation.w = 1.0
    dead_man = bench.ros.publisher(Bool, "operator/dead_man", qos.COMMAND)
    twists = bench.ros.publisher(TwistStamped, "operator/twist", qos.COMMAND)
    poses = bench.ros.publisher(PoseStamped, "operator/pose", qos.COMMAND)
    gripper = bench.ros.publisher(Float64, "operator/gripper", qos.COMMAND)
    pressed: list[bool] = []
    held = Repeated(bench, lambda: dead_man.publish(Bool(data=pressed[-1:] == [True])))
    said = Repeated(bench, lambda: twists.publish(twist))
    grips = Repeated(bench, lambda: gripper.publish(Float64(data=1.0)))
    bench.insist("arm")
    bench.ros.spin_for(0.2)
    assert bench.mode == "ARMED"
    press(bench, pressed.append)
    begin, opened = hand.pose(bench.script.position).positions, bench.script.position[5]
    twist.twist.linear.z = 0.05
    bench.spin_until(
        lambda: hand.pose(bench.script.position).positions[2] > begin[2] + 0.02, "the way up"
    )
    here = hand.pose(bench.script.position).positions
    np.testing.assert_allclose(here[:2], begin[:2], atol=0.01)
    assert bench.script.position[5] > opened + 0.05
    for part in (said, grips):
        part.end()
    bench.until("PAUSED")
    pressed.append(False)
    # A tracked controller, wherever its own frame is: the hand moves as it does.
    pose.pose.position.x = 7.0
    tracked = Repeated(bench, lambda: poses.publish(pose))
    press(bench, pressed.append)
    bench.ros.spin_for(0.1)
    begin = hand.pose(bench.script.position).positions
    pose.pose.position.z = -0.02
    bench.spin_until(
        lambda: hand.pose(bench.script.position).positions[2] < begin[2] - 0.015, "the way down"
    )
    for part in (held, tracked):
        part.end()
    bench.until("PAUSED")
    process.stop()


def test_a_keyboard_on_a_real_terminal_jogs_and_hands_back(bench):
    ours, theirs = pty.openpty()
    process = operator(bench, "keyboard", stdin=theirs)
    os.close(theirs)
    bench.engage()
    pan = bench.script.position[0]

    def hold(key: bytes) -> Repeated:
        """As a terminal repeats a key that is held."""
        return Repeated(bench, lambda: os.write(ours, key))

    held = hold(b" ")
    bench.until("HUMAN")
    held.end()
    os.write(ours, b"1")
    held = hold(b"=")
    bench.spin_until(lambda: bench.script.position[0] > pan + 0.05, "the jogged joint")
    os.write(ours, b"h")
    bench.until("POLICY")
    held.end()
    # The terminal is closed while a key is held.
    bench.ros.spin_for(1.0)
    held = hold(b" ")
    bench.until("HUMAN")
    held.end()
    os.close(ours)
    bench.until("PAUSED")
    assert process.alive
    process.stop()
    bench.assert_all_windows_are_abandon_safe()
