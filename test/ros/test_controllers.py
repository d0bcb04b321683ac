# SPDX-License-Identifier: Apache-2.0
"""What the controllers get over DDS is what was meant, and foreign writers are seen."""

from __future__ import annotations

import numpy as np
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.core.plan import Plan
from levine_policy_node.core.shaper import move_to
from levine_policy_node.core.timeline import JointPoint
from levine_policy_node.core.units import StampNs, SteadyNs
from levine_policy_node.robot import load_robot
from levine_policy_node.ros import qos
from levine_policy_node.ros.controllers.forward_command import ForwardCommandOutput
from levine_policy_node.ros.controllers.joint_trajectory import JointTrajectoryOutput
from levine_policy_node.ros.messages import timeline_from_msg
from levine_policy_node.sim.joint_trajectory_controller import (
    TrajectoryCommand,
    TrajectoryControllerOptions,
    TrajectoryPoint,
    rejection,
)

OFFSET = 1_700_000_000_000_000_321
START = SteadyNs(123_456_789_012)


def test_a_window_arrives_to_the_last_bit_and_the_stock_controller_takes_it(ros):
    robot = load_robot("sim_so101")
    limits = robot.limits()
    begin = JointPoint.at_rest(robot.home_position())
    motion = move_to(begin, robot.home_position() * 0.5, limits, START)
    plan = Plan(motion, ((int(START), "policy:x"),))
    window, _ = plan.window(SteadyNs(START + 150_000_000), SteadyNs(START + 250_000_000), limits)
    output = JointTrajectoryOutput(ros.node, "arm_controller")
    assert output.sends_windows
    received = ros.collect(JointTrajectory, "arm_controller/joint_trajectory", qos.COMMAND)
    ros.spin_until(lambda: ros.node.count_subscribers(output.topic) == 1, what="the reader")
    output.send_window(window, OFFSET, "policy:x")
    ros.spin_until(lambda: bool(received), what="the window")
    message = received[0]
    assert message.header.frame_id == "policy:x"
    back = timeline_from_msg(message, robot.joint_names)
    assert back.start_ns == window.start_ns + OFFSET
    assert np.array_equal(back.positions, window.positions)
    assert np.array_equal(back.velocities, window.velocities)
    assert np.array_equal(back.accelerations, window.accelerations)
    assert np.allclose(back.times_s, window.times_s, rtol=0.0, atol=1e-15)
    command = TrajectoryCommand(
        robot.joint_names,
        back.start_ns,
        tuple(
            TrajectoryPoint(round(t * 1e9), p, v, a)
            for t, p, v, a in zip(
                back.times_s, back.positions, back.velocities, back.accelerations, strict=True
            )
        ),
    )
    options = TrajectoryControllerOptions()
    assert rejection(command, robot.joint_names, StampNs(back.start_ns), options) is None


def test_positions_arrive_in_the_order_of_the_robot_file(ros):
    output = ForwardCommandOutput(ros.node, "arm_controller")
    assert not output.sends_windows
    received = ros.collect(Float64MultiArray, "arm_controller/commands", qos.COMMAND)
    ros.spin_until(lambda: ros.node.count_subscribers(output.topic) == 1, what="the reader")
    output.send_position(np.array([0.1, -0.2, 0.3]))
    ros.spin_until(lambda: bool(received), what="the command")
    assert list(received[0].data) == [0.1, -0.2, 0.3]


def test_a_foreign_publisher_is_counted(ros):
    output = JointTrajectoryOutput(ros.node, "arm_controller")
    ros.spin_until(lambda: output.publishers() == 1, what="our own publisher")
    ros.node.create_publisher(JointTrajectory, "arm_controller/joint_trajectory", qos.COMMAND)
    ros.spin_until(lambda: output.publishers() == 2, what="the other publisher")
