# SPDX-License-Identifier: Apache-2.0
"""`levine calibrate`: measure the delays of a running robot and write them to its file.

One joint oscillates a little about its present pose, through the supervisor like any operator's
motion. Two kinds of delay are read from it, both from the stamps of messages:

Actuation delay
    How much later than `supervisor/command` the `joint_states` show the motion. That is all there
    is between a command and the arm doing it: transport, the controller, the servo's own delay
    **and its lag** (the mean over 0.3 to 1.5 Hz). Friction is in that lag, so a joint that moves
    more slowly than the chirp comes a little later still. If joint states are stamped late, that
    is in it too: nothing here says when the encoder was really read.
Capture delay
    How much later than `joint_states` show a motion the stamps of the frames that show it are.
    Only stamps count, not when a frame arrives; whatever of the exposure, the readout and the
    driver is already in the stamp is not in the delay. With a camera and encoders that are
    stamped late by the same time, the delay is 0: they agree, and that is what a policy needs.

Both come out whole, whatever the robot file says now: the supervisor's commands carry no
correction, topics carry a driver's stamps, and the delay that `camera_ingest` subtracts from a
device's stamps is added again.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from levine_policy_node.cli.main import EXIT_OK, write_json
from levine_policy_node.cli.table import format_table
from levine_policy_node.core.chirp import Chirp
from levine_policy_node.core.delay_estimate import (
    CAMERA_QUALITY,
    JOINT_QUALITY,
    DelayEstimate,
    estimate_camera_delay,
    estimate_delay,
)
from levine_policy_node.errors import UnknownNameError
from levine_policy_node.robot import Robot, load_robot
from levine_policy_node.ros.calibration import Calibration, CalibrationError
from levine_policy_node.ros.motion_recorder import Recording
from levine_policy_node.runtime.robot_file_edit import check_editable, write_numbers

_MOVED_SHARE = 0.3
# Nothing is known before it happens; a little less than 0 is the noise of the measurement.
_EARLIEST_S = -0.02


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `levine calibrate`."""
    parser.add_argument("--robot", required=True, help="robot file: a shipped name or a path")
    parser.add_argument("--joint", metavar="NAME", help="which joint moves; the first of the arm")
    parser.add_argument(
        "--cameras", nargs="*", metavar="NAME", help="cameras to measure; all of the robot file"
    )
    parser.add_argument(
        "--amplitude", type=float, default=Chirp().amplitude, help="of the motion [rad]"
    )
    parser.add_argument("--namespace", default="", help="ROS namespace of the running robot")
    parser.add_argument("--write", action="store_true", help="write the delays to the robot file")


def run(options: argparse.Namespace) -> int:
    """Move the joint, print the delays, and write them where asked."""
    robot = load_robot(options.robot)
    if options.write:
        check_editable(options.robot)
    joint = _chosen_joint(robot, options.joint)
    cameras = list(robot.cameras) if options.cameras is None else options.cameras
    for name in cameras:
        if name not in robot.cameras:
            raise UnknownNameError(str(robot.path), "cameras", name, robot.cameras)
    chirp = Chirp(amplitude=options.amplitude)
    client = Calibration(robot, cameras, options.namespace)
    try:
        client.wait_ready()
        print(
            f"{joint} moves by up to {chirp.amplitude:g} about where it stands, for "
            f"{chirp.duration_s:g} s. Keep a hand on the emergency stop",
            flush=True,
        )
        recording = client.record(joint, chirp)
    finally:
        client.close()
    delays = measure(recording, robot)
    print(_describe(delays, robot))
    write_json(options.json, {**delays.results(), "joint": joint, "written": False})
    refuse_doubtful(delays, joint)
    if options.write:
        write_numbers(robot.path, delays.fields())
        write_json(options.json, {**delays.results(), "joint": joint, "written": True})
        print(f"written to {robot.path}; restart the robot's processes to use them")
    return EXIT_OK


@dataclass(frozen=True, slots=True)
class Delays:
    """What one recording says.

    Attributes:
        actuation: From command to joint state.
        moved_share: How far the joint moved, of how far it was told to.
        cameras: From joint state to the stamp of the frame that shows it, per camera.
    """

    actuation: DelayEstimate
    moved_share: float
    cameras: Mapping[str, DelayEstimate] = field(default_factory=dict[str, DelayEstimate])

    def fields(self) -> dict[tuple[str, ...], float]:
        """Value per field of the robot file, where no delay is negative."""
        measured = {("controller", "actuation_delay_s"): self.actuation}
        measured |= {("cameras", n, "capture_delay_s"): e for n, e in self.cameras.items()}
        return {name: max(estimate.delay_s, 0.0) for name, estimate in measured.items()}

    def results(self) -> dict[str, object]:
        """Machine-readable results."""
        return {
            "actuation_delay_s": self.actuation.delay_s,
            "actuation_quality": self.actuation.quality,
            "cameras": {
                name: {"capture_delay_s": e.delay_s, "quality": e.quality}
                for name, e in self.cameras.items()
            },
        }


def measure(recording: Recording, robot: Robot) -> Delays:
    """Estimate every delay from one recording; see the module for what they mean."""
    asked = float(np.ptp(recording.commanded.values))
    cameras: dict[str, DelayEstimate] = {}
    for name, (times_s, frames) in recording.cameras.items():
        found = estimate_camera_delay(recording.measured, times_s, frames)
        stream = robot.cameras[name]
        subtracted_s = stream.capture_delay_s if stream.topic is None else 0.0
        cameras[name] = DelayEstimate(found.delay_s + subtracted_s, found.quality)
    return Delays(
        estimate_delay(recording.commanded, recording.measured),
        float(np.ptp(recording.measured.values)) / asked if asked > 0.0 else 0.0,
        cameras,
    )


def _chosen_joint(robot: Robot, name: str | None) -> str:
    if name is None:
        arm = [joint for joint, limits in robot.joints.items() if limits.role == "arm"]
        return (arm or list(robot.joints))[0]
    if name not in robot.joints:
        raise UnknownNameError(str(robot.path), "joints", name, robot.joints)
    return name


def refuse_doubtful(delays: Delays, joint: str) -> None:
    """Raise for what must not be believed.

    Raises:
        CalibrationError: One line for the first doubt.
    """
    if delays.moved_share < _MOVED_SHARE:
        raise CalibrationError(
            f"{joint} moved by {100.0 * delays.moved_share:.0f} % of what it was told. Is the "
            f"controller active and the arm free? Nothing was written"
        )
    named = {f"joint {joint}": (delays.actuation, JOINT_QUALITY, "does not follow its command")}
    for camera, estimate in delays.cameras.items():
        text = "does not see the arm move; aim it, choose another --joint, or leave it out"
        named[f"camera {camera}"] = (estimate, CAMERA_QUALITY, text)
    for what, (estimate, needed, problem) in named.items():
        if estimate.quality < needed:
            raise CalibrationError(
                f"{what} {problem} (quality {estimate.quality:.2f}, needed {needed:g}). "
                "Nothing was written"
            )
        if estimate.delay_s < _EARLIEST_S:
            raise CalibrationError(
                f"{what} is stamped {-1e3 * estimate.delay_s:.0f} ms before the motion. "
                "Synchronise the clocks of the computers. Nothing was written"
            )


def _describe(delays: Delays, robot: Robot) -> str:
    before: dict[tuple[str, ...], float] = {
        ("controller", "actuation_delay_s"): robot.controller.actuation_delay_s
    }
    for name in delays.cameras:
        before["cameras", name, "capture_delay_s"] = robot.cameras[name].capture_delay_s
    estimates = [delays.actuation, *delays.cameras.values()]
    rows = [
        [".".join(name), f"{1e3 * old:.1f}", f"{1e3 * e.delay_s:.1f}", f"{e.quality:.3f}"]
        for (name, old), e in zip(before.items(), estimates, strict=True)
    ]
    return format_table(["delay", "file [ms]", "measured [ms]", "quality"], rows)
