# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from levine_policy_node.errors import SystemDependencyError, UnknownNameError
from levine_policy_node.resources import share_directory
from levine_policy_node.robot import load_robot
from levine_policy_node.sim import scene
from levine_policy_node.sim.arm import SimArm
from levine_policy_node.sim.scene import (
    CAMERA_NAMES,
    JOINT_NAMES,
    VIEW_CAMERA,
    CameraRenderer,
    import_mujoco,
    load_model,
)
from levine_policy_node.sim.tasks import PickPlaceTask


@pytest.fixture(scope="module")
def states():
    arm, task = SimArm(), PickPlaceTask()
    found = []
    for seed in (1, 2):
        task.reset(arm, seed)
        found.append(arm.scene_state())
    return found


@pytest.mark.parametrize(("height", "width"), [(96, 96), (48, 64), (128, 160)])
def test_frames_have_the_size_asked_for_and_show_something(states, height, width):
    renderer = CameraRenderer(height=height, width=width)
    frames = {name: renderer.render(name, states[0]) for name in (*CAMERA_NAMES, VIEW_CAMERA)}
    renderer.close()
    for frame in frames.values():
        assert frame.shape == (height, width, 3)
        assert frame.dtype == np.uint8
        assert frame.std() > 10


def test_a_camera_shows_the_state_it_is_given(states):
    renderer = CameraRenderer(height=96, width=96)
    first = renderer.render("front", states[0])
    moved = renderer.render("front", states[1])
    again = renderer.render("front", states[0])
    renderer.close()
    np.testing.assert_array_equal(first, again)
    assert np.count_nonzero(first != moved) > 200


def test_colours_are_rgb(states):
    renderer = CameraRenderer(height=96, width=96)
    frame = renderer.render("front", states[0]).astype(int)
    renderer.close()
    red = (frame[..., 0] > 120) & (frame[..., 1] < 60) & (frame[..., 2] < 60)
    assert 10 < np.count_nonzero(red) < 1000  # the cube


def test_an_unknown_camera_is_named_with_the_known_ones(states):
    renderer = CameraRenderer(height=8, width=8)
    with pytest.raises(UnknownNameError, match=r"'side' is not known.*front.*wrist"):
        renderer.render("side", states[0])
    renderer.close()


def test_a_renderer_may_be_closed_twice():
    renderer = CameraRenderer(height=8, width=8)
    renderer.close()
    renderer.close()


def test_without_a_gl_library_the_error_names_the_package(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(scene, "_GL_LIBRARIES", {"osmesa": ("libNothing.so.8",)})
    with pytest.raises(SystemDependencyError, match="libegl1"):
        scene.prepare_gl()


def test_the_users_choice_of_gl_is_kept(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    scene.prepare_gl()
    assert os.environ["MUJOCO_GL"] == "glfw"


def test_importing_the_simulation_does_not_import_mujoco():
    program = (
        "import sys, levine_policy_node.sim.expert, levine_policy_node.sim.scene;"
        "sys.exit('mujoco' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0


def test_the_model_has_the_joints_limits_and_servos_of_the_robot_file():
    model, robot = load_model(), load_robot("sim_so101")
    assert robot.joint_names == JOINT_NAMES
    for name, joint in robot.joints.items():
        np.testing.assert_allclose(model.joint(name).range, joint.position, atol=1e-4)
        np.testing.assert_allclose(model.actuator(name).ctrlrange, joint.position, atol=1e-4)


def test_the_urdf_is_complete_and_agrees_with_the_simulation():
    mujoco = import_mujoco()
    path = share_directory() / "urdf" / "so101.urdf"
    urdf, model = mujoco.MjModel.from_xml_path(str(path)), load_model()
    data, reference = mujoco.MjData(urdf), mujoco.MjData(model)
    rng = np.random.default_rng(0)
    for _ in range(5):
        for name in JOINT_NAMES:
            angle = rng.uniform(*model.joint(name).range)
            data.joint(name).qpos[0] = reference.joint(name).qpos[0] = angle
        mujoco.mj_kinematics(urdf, data)
        mujoco.mj_kinematics(model, reference)
        for link, body in (
            ("gripper_link", "gripper"),
            ("moving_jaw_so101_v1_link", "moving_jaw"),
        ):
            np.testing.assert_allclose(data.body(link).xpos, reference.body(body).xpos, atol=1e-4)


def test_the_urdf_states_our_limits():
    robot = load_robot("sim_so101")
    tree = ElementTree.parse(share_directory() / "urdf" / "so101.urdf")
    limits = {
        j.get("name"): j.find("limit") for j in tree.iter("joint") if j.get("type") != "fixed"
    }
    assert set(limits) == set(robot.joints)
    for name, joint in robot.joints.items():
        stated = limits[name]
        assert (float(stated.get("lower")), float(stated.get("upper"))) == joint.position
        assert float(stated.get("velocity")) == joint.velocity
    assert not list(tree.iter("mesh"))


def test_the_xacro_commands_position_and_reports_position_and_velocity():
    tree = ElementTree.parse(share_directory() / "urdf" / "so101.ros2_control.xacro")
    name = "{http://www.ros.org/wiki/xacro}"
    macro = tree.find(f"{name}macro")
    assert [i.get("name") for i in macro.iter("command_interface")] == ["position"]
    assert [i.get("name") for i in macro.iter("state_interface")] == ["position", "velocity"]
    assert tuple(j.get("name") for j in tree.iter(f"{name}so101_joint")) == JOINT_NAMES


def test_the_assets_keep_their_licence():
    assets = Path(scene.__file__).parent / "assets"
    assert "Apache License" in (assets / "LICENSE").read_text()
    assert "TheRobotStudio" in (assets / "ATTRIBUTION.md").read_text()
