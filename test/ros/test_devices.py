# SPDX-License-Identifier: Apache-2.0
"""Devices without a process: what they make of real events, and a program as a device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import yaml
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool

from levine_policy_node.core.dead_man import Act
from levine_policy_node.core.units import SteadyNs
from levine_policy_node.devices import gamepad
from levine_policy_node.devices.dead_man_topic import DeadManTopic
from levine_policy_node.devices.device import (
    DeviceContext,
    DeviceLostError,
    HandRates,
    Reading,
    Speeds,
)
from levine_policy_node.devices.registry import device_names, make_device
from levine_policy_node.devices.scripted import Scripted
from levine_policy_node.devices.spacemouse import SpaceMouse
from levine_policy_node.errors import ConfigError, SystemDependencyError, UnknownNameError
from levine_policy_node.nodes.operator import Operator
from levine_policy_node.resources import share_directory
from levine_policy_node.robot import load_robot
from levine_policy_node.ros import qos

ROBOT = load_robot("sim_so101")
PARAMETERS = share_directory() / "config" / "operator.param.yaml"
SPEEDS = Speeds(0.2, 1.0, 0.5)
RANGES = {
    **dict.fromkeys(gamepad.STICKS, (-32768, 32767)),
    **dict.fromkeys(gamepad.TRIGGERS, (0, 255)),
}
MS = 1_000_000


class Pad:
    """A gamepad whose events are replayed as the kernel hands them over."""

    def __init__(self) -> None:
        stream, self._ours = os.pipe()
        self.device = gamepad.Gamepad(stream, RANGES, SPEEDS, 0.1)

    def does(self, *events: tuple[int, int, int]) -> Reading:
        data = b"".join(gamepad.EVENT.pack(1, 2, *event) for event in events)
        # In pieces that are no whole events.
        os.write(self._ours, data[:31])
        first = self.device.read(SteadyNs(0))
        os.write(self._ours, data[31:])
        second = self.device.read(SteadyNs(0))
        return Reading(second.said_ns, second.held, second.motion, first.acts | second.acts)

    def unplug(self) -> None:
        os.close(self._ours)


@pytest.fixture
def pad() -> Iterator[Pad]:
    made = Pad()
    yield made
    made.device.close()


def twist_of(reading: Reading) -> np.ndarray:
    assert isinstance(reading.motion, HandRates)
    return reading.motion.twist


def test_a_gamepad_moves_the_hand_while_its_shoulder_button_is_held(pad):
    reading = pad.does(
        (gamepad.EV_KEY, gamepad.BTN_TL, 1),
        (gamepad.EV_ABS, gamepad.ABS_Y, -32768),
        (gamepad.EV_ABS, gamepad.ABS_RX, 32767),
        (gamepad.EV_ABS, gamepad.ABS_RZ, 255),
    )
    assert reading.held
    np.testing.assert_allclose(twist_of(reading), [0.2, 0, 0, 0, 0, -1.0], atol=1e-3)
    assert reading.motion.gripper == pytest.approx(-1.0)
    # A stick that is nearly let go is let go.
    reading = pad.does(
        (gamepad.EV_ABS, gamepad.ABS_Y, -2000),
        (gamepad.EV_ABS, gamepad.ABS_RX, 2000),
        (gamepad.EV_KEY, gamepad.BTN_START, 1),
        (gamepad.EV_KEY, gamepad.BTN_START, 0),
    )
    assert not np.any(twist_of(reading))
    assert reading.acts == {Act.HANDBACK}
    assert not pad.does((gamepad.EV_KEY, gamepad.BTN_TL, 0), (0, 0, 0)).held


def test_a_gamepad_whose_events_were_lost_is_let_go(pad):
    assert pad.does((gamepad.EV_KEY, gamepad.BTN_TL, 1), (0, 0, 0)).held
    assert not pad.does((gamepad.EV_SYN, gamepad.SYN_DROPPED, 0), (0, 0, 0)).held


def test_a_gamepad_that_is_pulled_out_is_lost(pad):
    pad.unplug()
    with pytest.raises(DeviceLostError, match="gamepad: gone"):
        pad.device.read(SteadyNs(0))


class Reports:
    """The HID layer below pyspacemouse, handing over raw reports of a SpaceNavigator."""

    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        self.unplugged = False

    def read(self, size: int) -> bytearray:
        if self.unplugged:
            raise RuntimeError("Failed to read from HID device: -1")
        return bytearray(self.waiting.pop(0)) if self.waiting else bytearray()

    def close(self) -> None:
        self.unplugged = True


def test_a_spacemouse_moves_the_hand_through_its_own_library():
    library = pytest.importorskip("pyspacemouse")
    from pyspacemouse.config_helpers import apply_axis_convention
    from pyspacemouse.device import SpaceMouseDevice

    info = apply_axis_convention(
        library.api.get_device_specs()["SpaceNavigator"], library.api.AxisConvention.ROS
    )
    reports = Reports()
    device = SpaceMouse(SpaceMouseDevice(info, reports), SPEEDS, 0.05)
    quiet = device.read(SteadyNs(0))
    assert not quiet.held
    assert not np.any(twist_of(quiet))
    # Channel 1 is the cap's translation, 3 the buttons: pulled up, left button held.
    up = (-350 & 0xFFFF).to_bytes(2, "little")
    reports.waiting += [b"\x01\0\0\0\0" + up, b"\x03\x01\0"]
    reading = device.read(SteadyNs(0))
    assert reading.held
    np.testing.assert_allclose(twist_of(reading), [0, 0, 0.2, 0, 0, 0], atol=1e-3)
    acts: set[Act] = set()
    for k, buttons in enumerate((3, 1, 3)):
        reports.waiting.append(bytes([3, buttons, 0]))
        acts |= device.read(SteadyNs(k * 100 * MS)).acts
    assert acts == {Act.HANDBACK}
    reports.unplugged = True
    with pytest.raises(DeviceLostError, match="spacemouse: gone"):
        device.read(SteadyNs(0))


def context(node: Any = None, **options: str) -> DeviceContext:
    return DeviceContext(node, ROBOT.joint_names, SPEEDS, options)


def test_what_is_missing_is_said_in_one_line():
    with pytest.raises(SystemDependencyError, match="no gamepad: /nowhere: No such file"):
        make_device("gamepad", context(path="/nowhere"))
    with pytest.raises(ConfigError, match="'much' is not a number"):
        make_device("gamepad", context(dead_zone="much"))
    with pytest.raises(UnknownNameError, match="Known: dead_zone, path"):
        make_device("gamepad", context(colour="red"))
    with pytest.raises(UnknownNameError, match="gamepad, keyboard, leader, spacemouse, topics"):
        make_device("wand", context())
    assert "leader" in device_names()


def parameters(device: str) -> list[Parameter]:
    document = yaml.safe_load(PARAMETERS.read_text())["/**/operator"]["ros__parameters"]
    given = {**document, "robot": "sim_so101", "device": device}
    return [Parameter(name, value=value) for name, value in given.items()]


def test_a_program_takes_over_through_the_same_node(ros):
    """As the scripted expert of a learning loop does; a device is given to the node itself."""
    place = dict.fromkeys(ROBOT.joint_names, 0.1)
    device = Scripted("expert", lambda _: place)
    asked: list[bool] = []

    def takeover(request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        asked.append(request.data)
        response.success = True
        return response

    targets = ros.collect(JointState, "operator/target", qos.TICKS)
    ros.node.create_service(SetBool, "supervisor/takeover", takeover)
    mode = ros.node.create_publisher(String, "supervisor/mode", qos.MODE)
    commands = ros.node.create_publisher(JointState, "supervisor/command", qos.TICKS)
    still = JointState(name=list(ROBOT.joint_names), position=[0.1] * 6)
    ros.node.create_timer(0.02, lambda: commands.publish(still))
    node = Operator(device, parameter_overrides=parameters("none"))
    ros.add(node)
    try:
        mode.publish(String(data="POLICY"))
        ros.spin_for(0.2)
        assert not targets
        device.held = True
        ros.spin_until(lambda: asked == [True] and bool(targets), what="the takeover")
        mode.publish(String(data="HUMAN"))
        ros.spin_until(lambda: targets[-1].header.frame_id == "operator:expert", what="a target")
        device.ask(Act.HANDBACK)
        ros.spin_until(lambda: asked[-1] is False, what="the handback")
    finally:
        node.close()


def test_a_dead_man_that_fell_silent_says_that_it_is_let_go_before_it_is_held_again(ros):
    dead_man = DeadManTopic(ros.node, "held", silent_s=0.08)
    publisher = ros.publisher(Bool, "held", qos.COMMAND)

    def says(value: bool) -> SteadyNs:
        heard = dead_man._heard_ns
        publisher.publish(Bool(data=value))
        ros.spin_until(lambda: dead_man._heard_ns > heard, what="the message")
        return dead_man._heard_ns

    assert not dead_man.held(says(True))
    assert not dead_man.held(says(False))
    now_ns = says(True)
    assert dead_man.held(now_ns)
    assert not dead_man.held(SteadyNs(now_ns + 81 * MS))
    assert not dead_man.held(says(True))
    says(False)
    assert dead_man.held(says(True))
