# SPDX-License-Identifier: Apache-2.0
"""The supervisor and the simulated arm: what the controller commands is what it was sent."""

from __future__ import annotations

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from harness import Graph
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.core.timeline import Timeline
from levine_policy_node.resources import share_directory
from levine_policy_node.robot import load_robot
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import ros_now
from levine_policy_node.ros.messages import timeline_to_msg

ROBOT = load_robot("sim_so101")
CONTROLLER = ROBOT.controller.name
CONFIG = share_directory() / "config"


def test_a_motion_is_followed_and_a_stranger_is_found_by_what_is_commanded(ros: Graph):
    modes = ros.collect(String, "supervisor/mode", qos.MODE)
    events = ros.collect(DiagnosticArray, "supervisor/events", qos.EVENTS)
    said = ros.collect(JointState, f"{CONTROLLER}/reference", qos.JOINT_STATE_OUT)
    robot = {"robot": "sim_so101"}
    cameras = {"camera_width": 16, "camera_height": 16}
    ros.start(
        "sim_arm", params_file=CONFIG / "sim_arm.param.yaml", parameters={**robot, **cameras}
    )
    # Everything here shares a processor; how late it may be is not what is tried.
    patient = {"joint_state_timeout_s": 1.0, "reference_timeout_s": 1.0, "overrun_s": 0.5}
    ros.start(
        "safety_supervisor",
        params_file=CONFIG / "safety_supervisor.param.yaml",
        parameters={**robot, **patient},
    )

    def names() -> set[str]:
        return {status.name for array in events for status in array.status}

    def ask(name: str) -> bool:
        return ros.call(Trigger, f"supervisor/{name}", Trigger.Request()).success

    ros.spin_until(lambda: len(said) > 5 and bool(modes), 30.0, "the simulated controller")
    ros.spin_until(lambda: ask("arm"), 20.0, "the arm")
    before = np.array(said[-1].position)
    ros.spin_until(lambda: ask("home"), 10.0, "the home motion")
    home = ROBOT.home_position()
    ros.spin_until(lambda: np.allclose(said[-1].position, home, atol=1e-6), 20.0, "home")
    assert np.max(np.abs(home - before)) > 0.01
    ros.spin_until(lambda: modes[-1].data == "PAUSED", 10.0, "the end of the motion")
    assert not names() & {"FOREIGN_WRITER", "COMMANDS_REFUSED", "CONTROLLER_LOST"}

    rogue = ros.publisher(JointTrajectory, f"{CONTROLLER}/joint_trajectory", qos.COMMAND)
    still = np.zeros((1, len(home)))
    elsewhere = home + np.where(np.arange(len(home)) == 0, 0.3, 0.0)

    def intrude() -> bool:
        point = Timeline(
            ROBOT.joint_names, ros_now(ros.node), np.zeros(1), elsewhere[None], still, still, "x"
        )
        rogue.publish(timeline_to_msg(point))
        return modes[-1].data == "FAULT"

    ros.spin_until(intrude, 20.0, "the fault")
    strangers = {"FOREIGN_WRITER", "FOREIGN_PUBLISHER"}
    ros.spin_until(lambda: bool(names() & strangers), 10.0, "the event")
