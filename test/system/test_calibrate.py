# SPDX-License-Identifier: Apache-2.0
"""`levine calibrate` on the simulated arm, whose delays are known."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from harness import isolated_domain
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image
from test_bad_input import levine

from levine_policy_node.cli.calibrate import measure, refuse_doubtful
from levine_policy_node.core.chirp import Chirp
from levine_policy_node.core.delay_estimate import Signal
from levine_policy_node.core.units import StampNs, nanoseconds
from levine_policy_node.graph import GraphOptions, build_graph
from levine_policy_node.processes import ProcessGroup
from levine_policy_node.robot import load_robot, robots_directory
from levine_policy_node.ros import qos
from levine_policy_node.ros.calibration import CalibrationError
from levine_policy_node.ros.clocks import stamp_from_msg, stamp_to_msg
from levine_policy_node.ros.motion_recorder import Recording
from levine_policy_node.sim.scene import JOINT_NAMES, load_model

ACTUATION_S, CAMERA_S = 0.08, 0.12
TOLERANCE_S = 0.025  # a busy machine must not break the test
NEEDED = ("sim_arm", "safety_supervisor")


class LateDriver:
    """A camera driver as most are: it stamps the front frames when they reach the computer."""

    def __init__(self):
        self.context = Context()
        self.context.init()
        self.node = Node("late_driver", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.publisher = self.node.create_publisher(Image, "late/front/image", qos.IMAGE_OUT)
        self.node.create_subscription(
            Image, "camera/front/image", self.on_image, qos.RECORDED_SENSOR
        )

    def on_image(self, message):
        stamp_ns = stamp_from_msg(message.header.stamp) + nanoseconds(CAMERA_S)
        message.header.stamp = stamp_to_msg(StampNs(stamp_ns))
        self.publisher.publish(message)

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


def robot_with_a_late_driver(tmp_path):
    text = (robots_directory() / "sim_so101.yaml").read_text()
    text = text.replace("topic: camera/front/image", "topic: late/front/image")
    path = tmp_path / "arm.yaml"
    path.write_text(text.replace("cameras:\n", "cameras:  # both USB\n"))
    return path


def calibrate(tmp_path, robot, *extra):
    """Run the command beside the simulated arm; returns it with its output."""
    options = GraphOptions(
        robot="sim_so101",
        policy="so101_pick_place",
        recorder=False,
        simulate=True,
        log_level="warn",
        overrides={
            "sim_arm": {"actuation_delay_s": ACTUATION_S, "camera_delay_s": CAMERA_S},
            "safety_supervisor": {
                "target_timeout_s": 0.5,
                "joint_state_timeout_s": 0.5,
                # A simulated controller that this machine makes late is not where it should be.
                "reference_tolerance": 0.05,
            },
        },
    )
    graph = tuple(p for p in build_graph(options) if p.executable in NEEDED)
    command = [
        sys.executable, "-m", "levine_policy_node.cli.main",
        "calibrate", "--robot", str(robot), *extra,
    ]  # fmt: skip
    with isolated_domain(), ProcessGroup(graph, options, log_directory=tmp_path / "logs"):
        driver = LateDriver()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
        )
        try:
            while process.poll() is None:
                driver.executor.spin_once(timeout_sec=0.05)
            output, errors = process.communicate(timeout=5)
        finally:
            process.kill()
            driver.close()
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def servo_lag_s():
    """How far a ramp is ahead of the first joint: damping over stiffness of its servo."""
    model = load_model()
    dof = model.joint(JOINT_NAMES[0]).dofadr[0]
    stiffness = model.actuator(JOINT_NAMES[0]).gainprm[0]
    return float(model.dof_damping[dof] / stiffness)


def test_known_delays_are_measured_and_written(tmp_path):
    path = robot_with_a_late_driver(tmp_path)
    before = path.read_text()
    results = tmp_path / "delays.json"
    done = calibrate(tmp_path, path, "--write", "--json", str(results))
    print(done.stdout)  # noqa: T201
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads(results.read_text())
    errors_s = {
        "actuation": found["actuation_delay_s"] - ACTUATION_S - servo_lag_s(),
        "front": found["cameras"]["front"]["capture_delay_s"] - CAMERA_S,
        # Its frames come as late, and their stamps are right.
        "wrist": found["cameras"]["wrist"]["capture_delay_s"],
    }
    print({name: f"{1e3 * error:+.2f} ms" for name, error in errors_s.items()})  # noqa: T201
    assert max(map(abs, errors_s.values())) < TOLERANCE_S, errors_s
    assert found["written"] is True
    assert found["joint"] == "shoulder_pan"
    robot = load_robot(str(path))
    assert robot.controller.actuation_delay_s == round(found["actuation_delay_s"], 4)
    front = found["cameras"]["front"]["capture_delay_s"]
    assert robot.cameras["front"].capture_delay_s == round(front, 4)
    after = path.read_text()
    assert "cameras:  # both USB" in after
    assert len(after.splitlines()) == len(before.splitlines())


CHIRP = Chirp()
TIMES_S = np.arange(0.0, 10.0, 0.01)
MOTION = Signal(TIMES_S, np.array([CHIRP.offset(t - 0.5) for t in TIMES_S]))
STILL = Signal(TIMES_S, 1e-4 * np.sin(40.0 * TIMES_S))


def later(delay_s):
    return Signal(TIMES_S, np.array([CHIRP.offset(t - 0.5 - delay_s) for t in TIMES_S]))


def frames(values):
    return np.outer(values, np.linspace(-1.0, 1.0, 16)) + 100.0


@pytest.mark.parametrize(
    ("recording", "problem"),
    [
        (Recording(MOTION, STILL, {}), "shoulder_pan moved by 0 % of what it was told"),
        (
            Recording(
                MOTION,
                Signal(TIMES_S, 0.05 * np.sin(40.0 * TIMES_S)),
                {},
            ),
            "joint shoulder_pan does not follow its command",
        ),
        (
            Recording(MOTION, MOTION, {"front": (TIMES_S, frames(STILL.values * 1e4))}),
            "camera front does not see the arm move",
        ),
        (
            Recording(MOTION, MOTION, {"wrist": (TIMES_S, np.full((len(TIMES_S), 16), 9.0))}),
            "camera wrist does not see the arm move",
        ),
        (
            Recording(later(0.06), later(0.06), {"front": (TIMES_S, frames(MOTION.values))}),
            "camera front is stamped 60 ms before the motion",
        ),
    ],
)
def test_a_measurement_that_cannot_be_believed_is_refused(recording, problem):
    delays = measure(recording, load_robot("sim_so101"))
    with pytest.raises(CalibrationError, match=problem):
        refuse_doubtful(delays, "shoulder_pan")


def test_the_delay_a_device_has_subtracted_is_added_again(tmp_path):
    text = (robots_directory() / "sim_so101.yaml").read_text()
    path = tmp_path / "arm.yaml"
    device = "device: /dev/video0, capture_delay_s: 0.03"
    path.write_text(text.replace("topic: camera/front/image", device))
    seen = {"front": (TIMES_S, frames(later(0.07).values))}
    delays = measure(Recording(MOTION, later(0.05), seen), load_robot(str(path)))
    refuse_doubtful(delays, "shoulder_pan")
    assert delays.actuation.delay_s == pytest.approx(0.05, abs=1e-3)
    assert delays.cameras["front"].delay_s == pytest.approx(0.05, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--robot", "sim_so101", "--write"), "is a file of the installed package"),
        (("--robot", "sim_so101", "--joint", "elbow"), "'elbow' is not known. Known: elbow_flex"),
        (("--robot", "sim_so101", "--cameras", "top"), "'top' is not known. Known: front, wrist"),
    ],
)
def test_a_wrong_choice_is_one_line_before_anything_moves(arguments, problem):
    result = levine("calibrate", *arguments)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert problem in result.stderr
