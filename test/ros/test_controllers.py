# SPDX-License-Identifier: Apache-2.0
"""The exact messages the controllers get, and a motion of the supervisor through each of them."""

from __future__ import annotations

import itertools
import json
import struct
import time

import numpy as np
import pytest
import yaml
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String, UInt64
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.core.limits import first_excess
from levine_policy_node.core.plan import Plan
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import StampNs, SteadyNs, seconds
from levine_policy_node.nodes.sim_commands import trajectory_command_from_msg
from levine_policy_node.resources import share_directory
from levine_policy_node.robot import load_robot
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import ros_now, stamp_from_msg
from levine_policy_node.ros.controllers.forward_command import ForwardCommandOutput
from levine_policy_node.ros.controllers.joint_trajectory import JointTrajectoryOutput
from levine_policy_node.ros.messages import by_name, timeline_from_msg, timeline_to_msg
from levine_policy_node.sim.controller_semantics import SEMANTICS
from levine_policy_node.sim.joint_trajectory_controller import (
    TrajectoryControllerOptions,
    rejection,
)

ROBOT = load_robot("sim_so101")
NAMES = ROBOT.joint_names
HOME = ROBOT.home_position()
MOVE = np.array([0.4, 0.3, -0.2, -0.3, 0.1, -0.4])
MS = 1_000_000
OFFSET = 1_700_000_000_000_000_321
START = SteadyNs(123_456_789_012)
CONFIG = share_directory() / "config"


class Ear:
    """Gets the messages of a topic as they are on the wire."""

    def __init__(self, ros, kind, output):
        self.raw: list[bytes] = []
        self._ros, self._kind = ros, kind
        ros.node.create_subscription(kind, output.topic, self.raw.append, qos.COMMAND, raw=True)
        ros.spin_until(lambda: ros.node.count_subscribers(output.topic) == 1, what="the reader")

    def one(self):
        """The only message, as bytes and as fields."""
        self._ros.spin_until(lambda: bool(self.raw), what="the message")
        assert len(self.raw) == 1
        return self.raw[0], deserialize_message(self.raw[0], self._kind)


class Cdr:
    """A message written by hand, field by field, each aligned to its own size."""

    def __init__(self):
        self.body = b""

    def put(self, code, *values):
        for value in values:
            size = struct.calcsize(code)
            self.body += bytes(-len(self.body) % size) + struct.pack("<" + code, value)
        return self

    def text(self, value):
        data = value.encode() + b"\0"
        self.put("I", len(data)).body += data
        return self

    def message(self):
        return b"\x00\x01\x00\x00" + self.body


def by_hand(stamp_ns, frame_id, points):
    """A JointTrajectory of NAMES; each point is its time [ns] and three rows of numbers."""
    made = Cdr().put("i", stamp_ns // 10**9).put("I", stamp_ns % 10**9).text(frame_id)
    made.put("I", len(NAMES))
    for name in NAMES:
        made.text(name)
    made.put("I", len(points))
    for time_ns, *rows in points:
        for row in rows:
            made.put("I", len(row)).put("d", *row)
        made.put("I", 0).put("i", time_ns // 10**9).put("I", time_ns % 10**9)
    return made.message()


def min_jerk(time_s):
    """Position, velocity and acceleration of a move from HOME by MOVE in one second."""
    u = time_s
    p = 10 * u**3 - 15 * u**4 + 6 * u**5
    v = 30 * u**2 - 60 * u**3 + 30 * u**4
    a = 60 * u - 180 * u**2 + 120 * u**3
    return HOME + p * MOVE, v * MOVE, a * MOVE


def moving_plan():
    """That move; a quintic between two knots is the minimum-jerk polynomial."""
    still = np.zeros((2, 6))
    ends = np.stack([HOME, HOME + MOVE])
    timeline = Timeline(NAMES, START, np.array([0.0, 1.0]), ends, still, still)
    return Plan(timeline, ((int(START), "policy:x"),))


def times_ns(message):
    return [p.time_from_start.sec * 10**9 + p.time_from_start.nanosec for p in message.points]


def test_a_standing_arm_is_told_to_stand_in_these_bytes(ros):
    plan = Plan.holding(NAMES, HOME, START)
    now = SteadyNs(START + 300 * MS)
    window, _ = plan.window(now, SteadyNs(now + 100 * MS), ROBOT.limits())
    output = JointTrajectoryOutput(ros.node, "arm_controller")
    ear = Ear(ros, JointTrajectory, output)
    output.send_window(window, OFFSET, "hold")
    raw, message = ear.one()

    still = np.zeros(6)
    points = [(0, HOME, still, still), (150 * MS, HOME, still, still)]
    assert raw == by_hand(START + 250 * MS + OFFSET, "hold", points)
    assert times_ns(message) == [0, 150 * MS]


def test_a_moving_arm_gets_50_ms_of_past_100_ms_of_motion_and_a_brake(ros):
    limits = ROBOT.limits()
    now = SteadyNs(START + 300 * MS)
    window, until = moving_plan().window(now, SteadyNs(now + 100 * MS), limits)
    output = JointTrajectoryOutput(ros.node, "arm_controller")
    ear = Ear(ros, JointTrajectory, output)
    output.send_window(window, OFFSET, "policy:x")
    raw, message = ear.one()

    assert until == now + 100 * MS
    stamp = message.header.stamp
    assert stamp.sec * 10**9 + stamp.nanosec == START + 250 * MS + OFFSET
    assert message.header.frame_id == "policy:x"
    assert tuple(message.joint_names) == NAMES
    assert times_ns(message)[:2] == [0, 150 * MS]
    for point, time_s in zip(message.points, (0.25, 0.4), strict=False):
        p, v, a = min_jerk(time_s)
        np.testing.assert_allclose(point.positions, p, atol=1e-12)
        np.testing.assert_allclose(point.velocities, v, atol=1e-12)
        np.testing.assert_allclose(point.accelerations, a, atol=1e-11)
    assert all(list(point.effort) == [] for point in message.points)
    # The brake: monotone times, exactly at rest, within the limits all the way.
    assert np.all(np.diff(times_ns(message)) > 0)
    assert list(message.points[-1].velocities) == [0.0] * 6
    assert list(message.points[-1].accelerations) == [0.0] * 6
    assert np.all(
        np.sign(np.array(message.points[-1].positions) - min_jerk(0.4)[0]) == np.sign(MOVE)
    )
    back = timeline_from_msg(message, NAMES)
    assert first_excess(back, limits) is None
    assert 0.3 < seconds(back.end_ns - back.start_ns) < 0.4
    # Nothing is lost on the way, and it is what rclpy would have written.
    np.testing.assert_array_equal(back.positions, window.positions)
    np.testing.assert_array_equal(back.velocities, window.velocities)
    np.testing.assert_array_equal(back.accelerations, window.accelerations)
    assert message == timeline_to_msg(back)
    rows = [window.positions, window.velocities, window.accelerations]
    points = list(zip(times_ns(message), *rows, strict=True))
    assert raw == by_hand(START + 250 * MS + OFFSET, "policy:x", points)


@pytest.mark.parametrize("after_ms", [0, 10, 300, 970, 1500])
def test_every_release_takes_the_windows_and_reads_them_alike(ros, after_ms):
    now = SteadyNs(START + after_ms * MS)
    window, _ = moving_plan().window(now, SteadyNs(now + 100 * MS), ROBOT.limits())
    command = trajectory_command_from_msg(
        timeline_to_msg(
            Timeline(
                NAMES,
                StampNs(window.start_ns + OFFSET),
                window.times_s,
                window.positions,
                window.velocities,
                window.accelerations,
            )
        )
    )
    assert command.points[0].time_from_start_ns == 0
    assert command.stamp_ns <= now + OFFSET
    for semantics in SEMANTICS:
        options = TrajectoryControllerOptions(
            semantics, allow_nonzero_velocity_at_trajectory_end=False
        )
        assert rejection(command, NAMES, StampNs(now + OFFSET), options) is None


def test_positions_are_sent_in_the_order_of_the_robot_file_in_these_bytes(ros):
    output = ForwardCommandOutput(ros.node, "arm_controller")
    assert not output.sends_windows
    ear = Ear(ros, Float64MultiArray, output)
    values = np.array([0.1, -0.2, 0.3, -0.0, 5e-324, 1.75])
    output.send_position(values)
    raw, message = ear.one()
    # layout.dim is empty and layout.data_offset 0, as forward_command_controller expects.
    assert raw == Cdr().put("I", 0, 0, 6).put("d", *values).message()
    assert list(message.data) == values.tolist()
    assert list(message.layout.dim) == []
    assert message.layout.data_offset == 0


def test_a_foreign_publisher_is_counted(ros):
    for kind, output in (
        (JointTrajectory, JointTrajectoryOutput(ros.node, "arm_controller")),
        (Float64MultiArray, ForwardCommandOutput(ros.node, "arm_controller")),
    ):
        ros.spin_until(lambda made=output: made.publishers() == 1, what="our own publisher")
        ros.node.create_publisher(kind, output.topic, qos.COMMAND)
        ros.spin_until(lambda made=output: made.publishers() == 2, what="the other publisher")


class Swing:
    """A policy that swings the arm around where it began, and what comes of it."""

    def __init__(self, ros):
        self.ros = ros
        self.on = True
        self.modes: list[str] = []
        self.states = ros.collect(JointState, "joint_states", qos.JOINT_STATE_IN)
        ros.node.create_subscription(
            String, "supervisor/mode", lambda m: self.modes.append(m.data), qos.MODE
        )
        self._chunks = ros.node.create_publisher(
            JointTrajectory, "policy/action_chunk", qos.COMMAND
        )
        self._heart = ros.node.create_publisher(UInt64, "policy/heartbeat", qos.HEARTBEAT)
        self._count = 0
        self._begin: np.ndarray | None = None
        ros.node.create_timer(0.02, self._beat)

    def _beat(self):
        self._count += 1
        self._heart.publish(UInt64(data=self._count))
        if self.on and self.states and self._count % 4 == 0:
            self._chunks.publish(timeline_to_msg(self._chunk()))

    def _chunk(self):
        if self._begin is None:
            self._begin = self.position()
        now = ros_now(self.ros.node)
        times = np.arange(13) * 0.05
        turn = (seconds(now) % 1000 + times)[:, None] * 3.0
        size = np.array([0.3, 0.05, -0.05, 0.1, 0.3, -0.2])
        return Timeline(
            NAMES,
            StampNs(now),
            times,
            self._begin + size * np.sin(turn),
            3.0 * size * np.cos(turn),
            -9.0 * size * np.sin(turn),
            "policy:swing@0badcafe#0",
        )

    def position(self):
        state = self.states[-1]
        return by_name(NAMES, state.name, state.position)

    def ask(self, name):
        """Ask for an act; returns why it was refused, "" if it was not."""
        reply = self.ros.call(Trigger, f"supervisor/{name}", Trigger.Request())
        return "" if reply.success else reply.message

    def until_moved(self):
        """Arm, engage, and ask again where a busy machine made the supervisor pause."""
        acts = {"DISARMED": "arm", "ARMED": "engage", "PAUSED": "resume", "PSTOP": "reset"}
        begin = self.position()

        def moved():
            return abs(self.position() - begin)[0] > 0.15

        refused, deadline = "", time.monotonic() + 40.0
        while time.monotonic() < deadline:
            self.ros.spin_until(lambda: moved() or self.modes[-1] in acts, 20, "motion")
            if moved():
                return
            refused = self.ask(acts[self.modes[-1]]) or refused
            self.ros.spin_for(0.05)
        raise AssertionError(f"the arm did not move: {refused}; modes {self.modes}")

    def at_rest(self):
        recent = [s.velocity for s in self.states[-20:]]
        return float(np.max(np.abs(recent))) < 0.02


@pytest.fixture
def cell(ros, tmp_path):
    """Start arm and supervisor with one type of controller and one release of it."""

    def start(controller, semantics):
        document = yaml.safe_load((CONFIG / "robots" / "sim_so101.yaml").read_text())
        document["controller"]["type"] = controller
        document["cameras"] = {}
        robot = tmp_path / "robot.yaml"
        robot.write_text(yaml.safe_dump(document, sort_keys=False))
        ros.start("sim_arm", parameters={"robot": robot, "semantics": semantics})
        ros.start(
            "safety_supervisor",
            params_file=CONFIG / "safety_supervisor.param.yaml",
            parameters={"robot": robot},
        )
        swing = Swing(ros)
        ros.spin_until(lambda: len(swing.states) > 20 and bool(swing.modes), 30, "both nodes")
        return swing

    return start


def swing_and_stop(ros, swing):
    """Move the arm; then the policy has nothing more to say, and the plan brakes."""
    swing.until_moved()
    swing.on = False
    ros.spin_until(swing.at_rest, 15, "a standing arm")
    return json.loads(ros.call(Trigger, "sim/report", Trigger.Request()).message)


@pytest.mark.parametrize("semantics", ["humble", "kilted"])
def test_windows_move_the_arm_through_dds_without_a_violation(ros, cell, semantics):
    report = swing_and_stop(ros, cell("joint_trajectory", semantics))
    assert report["commands"] > 30
    # What the controller has for 50 ms is never changed; a machine that is held up for longer
    # may deliver a change after it was due, or a window that is over.
    if report["command_gap_ms"]["max"] < 45.0:
        assert report["rejected"] == 0
        assert report["total_violations"] == 0, report


@pytest.mark.parametrize("semantics", ["humble", "kilted"])
def test_positions_move_the_arm_through_dds_and_each_is_the_plan_at_its_time(ros, cell, semantics):
    """The arm's monitor takes commands to be one period apart, which no busy machine keeps to.

    So they are judged by the times the supervisor stamped them with.
    """
    sent = ros.collect(Float64MultiArray, "arm_controller/commands", qos.TICKS)
    said = ros.collect(JointState, "supervisor/command", qos.TICKS)
    report = swing_and_stop(ros, cell("forward_command", semantics))
    assert report["commands"] > 60
    assert report["rejected"] == 0
    assert report["limit_violations"]["position"] == 0
    positions = {tuple(by_name(NAMES, m.name, m.position)) for m in said}
    assert all(tuple(m.data) in positions for m in sent)
    limits = ROBOT.limits()
    for one, two in itertools.pairwise(said):
        dt = seconds(stamp_from_msg(two.header.stamp) - stamp_from_msg(one.header.stamp))
        if dt > 0.3:
            continue  # A pause, after which it begins anew.
        (p, v), (q, w) = (
            (by_name(NAMES, m.name, m.position), by_name(NAMES, m.name, m.velocity))
            for m in (one, two)
        )
        if dt > 0.015:
            # After a tick that came late the plan goes on where it was: no step, a delay.
            assert np.all(np.abs(q - p) <= limits.velocity * dt)
            continue
        # The error of the trapezoidal rule; the ROS clock is read anew for each stamp.
        slack = limits.jerk * dt**3 / 12 + 2e-5 * limits.velocity
        assert np.all(np.abs(q - p - 0.5 * dt * (v + w)) <= slack)
        assert np.all(np.abs(w - v) <= limits.acceleration * (dt + 2e-5))
        assert np.all(np.abs(w) <= limits.velocity)
