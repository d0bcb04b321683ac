# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest
import yaml
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PointStamped
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from levine_policy_node.nodes.sim_setup import SimArmParameters
from levine_policy_node.resources import share_directory
from levine_policy_node.robot import load_robot
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import ros_now, stamp_from_msg
from levine_policy_node.ros.messages import (
    by_name,
    duration_to_msg,
    goal_from_msg,
    image_from_msg,
)
from levine_policy_node.sim.arm import SimArm
from levine_policy_node.sim.tasks import ReachTask

ROBOT = load_robot("sim_so101")
SHIPPED = share_directory() / "config" / "robots" / "sim_so101.yaml"
MS = 1_000_000
# Away from the table and from the ends of the joints.
UP = np.array([{"shoulder_lift": -0.3, "wrist_flex": -0.3}.get(n, 0.3) for n in ROBOT.joint_names])


@pytest.fixture
def robot(tmp_path):
    """The shipped robot file, with small cameras and a URDF of its own."""
    (tmp_path / "arm.urdf").write_text("<robot name='tested'/>")
    document = yaml.safe_load(SHIPPED.read_text())
    document["urdf"] = str(tmp_path / "arm.urdf")
    for camera in document["cameras"].values():
        camera["width"] = camera["height"] = 48
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def trajectory(target, duration_s=0.8, names=ROBOT.joint_names):
    """A move from where the controller is to `target`, at rest at both ends."""
    still = [0.0] * len(names)
    end = JointTrajectoryPoint(
        positions=list(target),
        velocities=still,
        accelerations=still,
        time_from_start=duration_to_msg(duration_s),
    )
    return JointTrajectory(joint_names=list(names), points=[end])


def position(message):
    return by_name(ROBOT.joint_names, message.name, message.position)


def stamps(messages):
    return np.array([stamp_from_msg(m.header.stamp) for m in messages])


def report(ros):
    return json.loads(ros.call(Trigger, "sim/report", Trigger.Request()).message)


def reset(ros, seed):
    value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=seed)
    request = SetParameters.Request(parameters=[Parameter(name="seed", value=value)])
    assert ros.call(SetParameters, "sim_arm/set_parameters", request).results[0].successful
    return json.loads(ros.call(Trigger, "sim/reset", Trigger.Request()).message)["stamp_ns"]


def test_a_trajectory_moves_the_arm_there_and_a_foreign_one_does_not(ros, robot):
    ros.start("sim_arm", parameters={"robot": robot})
    states = ros.collect(JointState, "joint_states", qos.JOINT_STATE_IN)
    descriptions = ros.collect(String, "robot_description", qos.DESCRIPTION)
    ros.spin_until(lambda: len(states) > 20, 30, "joint states")
    assert tuple(states[0].name) == ROBOT.joint_names
    steps = np.diff(stamps(states))
    assert np.all(steps % (10 * MS) == 0)
    assert abs(ros_now(ros.node) - stamps(states)[-1]) < 1000 * MS

    sender = ros.publisher(JointTrajectory, "arm_controller/joint_trajectory", qos.COMMAND)
    target = position(states[-1]) + UP
    order = [3, 1, 0, 2, 5, 4]
    sender.publish(trajectory(target[order], names=[ROBOT.joint_names[i] for i in order]))
    ros.spin_until(lambda: np.allclose(position(states[-1]), target, atol=0.01), 10, "the target")

    foreign = [*ROBOT.joint_names[:-1], "thumb"]
    sender.publish(trajectory(target - 0.5, names=foreign))
    sender.publish(trajectory((target - 0.5)[:4], names=ROBOT.joint_names[:4]))
    past = trajectory(target - 0.5)
    past.header.stamp = Time(sec=1)
    sender.publish(past)
    ros.spin_until(lambda: report(ros)["rejected"] == 3, 10, "three rejections")
    count = len(states)
    ros.spin_until(lambda: len(states) > count + 30, 10, "joint states")
    np.testing.assert_allclose(position(states[-1]), target, atol=0.01)
    seen = report(ros)
    assert (seen["commands"], seen["total_violations"]) == (4, 0)
    assert [m.data for m in descriptions] == ["<robot name='tested'/>"]


def test_frames_carry_their_capture_time_and_change_when_the_arm_moves(ros, robot):
    ros.start("sim_arm", parameters={"robot": robot, "camera_width": 64, "view_fps": 5.0})
    states = ros.collect(JointState, "joint_states", qos.JOINT_STATE_IN)
    frames = {
        name: ros.collect(Image, f"camera/{name}/image", qos.IMAGE_IN)
        for name in ("front", "wrist", "view")
    }
    ros.spin_until(lambda: all(len(f) > 3 for f in frames.values()), 30, "three cameras")
    taken = stamps(frames["front"])
    known = set(stamps(states).tolist())
    assert known & set(taken.tolist()), "captures happen at control cycles"
    assert np.all(np.diff(taken) >= 30 * MS)
    assert np.all(taken < ros_now(ros.node))
    assert image_from_msg(frames["front"][0]).shape == (48, 64, 3)
    assert image_from_msg(frames["view"][0]).shape == (480, 640, 3)

    before = image_from_msg(frames["wrist"][-1])
    assert before.std() > 5
    sender = ros.publisher(JointTrajectory, "arm_controller/joint_trajectory", qos.COMMAND)
    target = position(states[-1]) + UP
    sender.publish(trajectory(target))
    ros.spin_until(lambda: np.allclose(position(states[-1]), target, atol=0.01), 10, "the target")
    count = len(frames["wrist"])
    ros.spin_until(lambda: len(frames["wrist"]) > count + 1, 10, "a newer frame")
    after = image_from_msg(frames["wrist"][-1])
    assert np.mean(np.abs(after.astype(float) - before)) > 2


def test_a_seed_gives_the_same_first_frames_every_time(ros, robot):
    ros.start("sim_arm", parameters={"robot": robot, "image_noise": 2.0})
    episodes = ros.collect(String, "sim/episode", qos.TICKS)
    frames = {
        name: ros.collect(Image, f"camera/{name}/image", qos.IMAGE_IN)
        for name in ("front", "wrist")
    }
    ros.spin_until(lambda: episodes and all(frames.values()), 30, "frames")

    def first_after_reset(seed):
        at = reset(ros, seed)

        def new(name):
            return [m for m in frames[name] if stamp_from_msg(m.header.stamp) > at]

        ros.spin_until(lambda: all(new(name) for name in frames), 10, "new frames")
        ros.spin_until(lambda: json.loads(episodes[-1].data)["seed"] == seed, 10, "the episode")
        assert json.loads(episodes[-1].data)["time_s"] < 5.0
        return [image_from_msg(new(name)[0]) for name in frames]

    first = first_after_reset(3)
    other = first_after_reset(4)
    again = first_after_reset(3)
    for one, two, three in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one, two)
        assert np.any(one != three)
    assert report(ros)["total_violations"] == 0


def test_forward_commands_move_the_arm_and_late_cameras_are_late(ros, robot):
    parameters = {"robot": robot, "controller_type": "forward_command", "camera_delay_s": 0.2}
    ros.start("sim_arm", parameters=parameters)
    states = ros.collect(JointState, "joint_states", qos.JOINT_STATE_IN)
    ages: list[int] = []

    def on_frame(message):
        ages.append(ros_now(ros.node) - stamp_from_msg(message.header.stamp))

    ros.node.create_subscription(Image, "camera/front/image", on_frame, qos.IMAGE_IN)
    sender = ros.publisher(Float64MultiArray, "arm_controller/commands", qos.COMMAND)
    ros.spin_until(lambda: states and len(ages) > 5, 30, "joint states and frames")
    assert min(ages) > 200 * MS
    target = position(states[-1]) + UP
    sender.publish(Float64MultiArray(data=(target * np.nan).tolist()))
    sender.publish(Float64MultiArray(data=target.tolist()))
    ros.spin_until(lambda: np.allclose(position(states[-1]), target, atol=0.01), 10, "the target")
    seen = report(ros)
    # One jump of 0.2 rad in one cycle is told as what it is.
    assert seen["rejected"] == 1
    assert seen["limit_violations"]["velocity"] == len(ROBOT.joint_names)


def test_sigterm_ends_it_cleanly(ros, robot):
    process = ros.start("sim_arm", parameters={"robot": robot})
    frames = ros.collect(Image, "camera/front/image", qos.IMAGE_IN)
    ros.spin_until(lambda: frames, 30, "a frame")
    assert process.stop() == 0
    assert "Traceback" not in process.output()


def edit(path, change):
    document = yaml.safe_load(path.read_text())
    change(document)
    path.write_text(yaml.safe_dump(document, sort_keys=False))


BAD = {
    "no such robot": (lambda d: None, {"robot": "nobody"}, "nobody"),
    "another arm": (lambda d: d["joints"].update(x=d["joints"].pop("gripper")), {}, "joints"),
    "a foreign camera": (
        lambda d: d["cameras"].update(left=d["cameras"].pop("wrist")),
        {},
        "cameras.left",
    ),
    "no such urdf": (lambda d: d.update(urdf="none.urdf"), {}, "none.urdf"),
    "an unknown controller": (lambda d: None, {"controller_type": "velocity"}, "controller_type"),
    "an unknown release": (lambda d: None, {"semantics": "foxy"}, "semantics"),
    "a rate out of range": (lambda d: None, {"update_rate_hz": 1.0}, "update_rate_hz"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_ends_it_with_one_line(ros, robot, name):
    change, parameters, expected = BAD[name]
    edit(robot, change)
    if name == "another arm":
        edit(robot, lambda d: d["home"].update(x=d["home"].pop("gripper")))
    process = ros.start("sim_arm", parameters={"robot": robot, **parameters})
    assert process.wait(30) == 2
    lines = process.output().strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert expected in lines[0]


def test_the_parameter_file_has_exactly_the_parameters():
    path = share_directory() / "config" / "sim_arm.param.yaml"
    document = yaml.safe_load(path.read_text())
    given = document["/**/sim_arm"]["ros__parameters"]
    declared = {f.name: f.default for f in fields(SimArmParameters) if f.name != "robot"}
    assert given == declared


def test_the_goal_of_each_episode_is_told_even_to_who_comes_later(ros, robot):
    ros.start("sim_arm", parameters={"robot": robot, "task": "reach"})
    reset(ros, 3)
    told = ros.collect(PointStamped, "goal", qos.TASK)
    expected = ReachTask()
    for seed in (3, 4):
        expected.reset(SimArm(), seed)
        if seed != 3:
            reset(ros, seed)
        wanted = expected.goal
        ros.spin_until(
            lambda wanted=wanted: (
                bool(told)
                and goal_from_msg(told[-1]).position.tolist() == wanted.position.tolist()
            )
        )
        assert told[-1].header.frame_id == wanted.frame
