# SPDX-License-Identifier: Apache-2.0
"""A policy whose actions are efforts, on real ONNX Runtime; and which robots may have one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from bundle_factory import JOINTS, RAMP, document, ramp_model, write_bundle

from levine_policy_node.core.observation import Observation
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import BundleError, ConfigError
from levine_policy_node.robot import load_robot, robots_directory
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.onnx_policy import OnnxPolicy

EXPORT = Path(__file__).parents[2] / "examples" / "export"
ROBOT = load_robot("sim_so101_effort")
PART = {"kind": "target/joint/effort", "names": list(JOINTS), "scale": 10.0, "clip": [-0.5, 0.4]}
SHIPPED = yaml.safe_load((robots_directory() / "sim_so101_effort.yaml").read_text())


def made(directory, parts=(PART,), **changes):
    """The ramp policy with efforts, which sees the one camera there is."""
    spec = document(action={"parts": list(parts)}, **changes)
    for image in ("front", "wrist"):
        spec["observations"][f"observation.images.{image}"]["camera"] = "front"
    write_bundle(directory, spec, ramp_model())
    return load_bundle(directory)


def test_efforts_are_scaled_and_clipped_and_say_nothing_of_positions(tmp_path):
    policy = OnnxPolicy(made(tmp_path), ROBOT)
    black = np.zeros((96, 96, 3), dtype=np.uint8)
    measured = ROBOT.home_position()
    chunk = policy.infer(Observation(StampNs(7), measured, {"front": black}))
    policy.close()
    asked = np.repeat(10.0 * RAMP * np.arange(1, 9)[:, None], 6, axis=1)
    np.testing.assert_allclose(chunk.efforts, np.minimum(asked, 0.4), atol=1e-6)
    np.testing.assert_array_equal(chunk.positions, np.repeat(measured[None], 8, axis=0))


def test_the_visuomotor_export_answers_as_its_own_code_does():
    policy = OnnxPolicy(load_bundle(EXPORT / "bundles" / "gps"), ROBOT)
    with np.load(EXPORT / "parity" / "gps.npz") as recorded:
        seen = dict(recorded)
    assert seen["kind"] == "effort"
    order = [list(seen["action_names"]).index(name) for name in ROBOT.joint_names]
    for n, wanted in enumerate(seen["actions"]):
        chunk = policy.infer(
            Observation(
                StampNs(n * 50_000_000),
                seen["state.position"][n],
                {"front": seen["image.front"][n]},
                joint_velocities=seen["state.velocity"][n],
            )
        )
        np.testing.assert_allclose(chunk.efforts, wanted[:, order], atol=1e-5)
    policy.close()


@pytest.mark.parametrize(
    ("parts", "changes", "said"),
    [
        ([{**PART, "clip": [1.0, -1.0]}], {}, "smallest"),
        ([{**PART, "mode": "relative"}], {}, "mode"),
        (
            [
                {**PART, "names": list(JOINTS[:-1])},
                {"kind": "target/joint/position", "names": ["gripper"]},
            ],
            {},
            "efforts stand alone",
        ),
        ([PART], {"chunk__merge": "rtc"}, "efforts"),
        ([PART], {"chunk__merge": "blend"}, "chunk.merge is not for efforts"),
        ([PART], {"chunk__ensemble": 0.1}, "chunk.ensemble is not for efforts"),
        ([PART], {"chunk__hold": 0.1}, "chunk.hold is not for efforts"),
        ([PART], {"chunk__smoothing": 0.05}, "chunk.smoothing is not for efforts"),
    ],
)
def test_what_makes_no_sense_for_efforts_is_refused(tmp_path, parts, changes, said):
    with pytest.raises(BundleError) as caught:
        made(tmp_path, parts, **changes)
    assert said in str(caught.value)


def test_a_policy_of_efforts_needs_a_robot_that_takes_them_and_the_other_way_round(tmp_path):
    with pytest.raises(BundleError, match="command timeout of the robot's own"):
        made(tmp_path).check_robot(load_robot("sim_so101"))
    write_bundle(tmp_path / "positions", document(), ramp_model())
    with pytest.raises(BundleError, match="gives positions"):
        load_bundle(tmp_path / "positions").check_robot(ROBOT)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("command_timeout_s", None, "goes on pushing for ever"),
        ("command_timeout_s", 2.0, "command_timeout_s"),
        ("gravity_compensated", None, "the arm would fall"),
        ("gravity_compensated", False, "the arm would fall"),
        ("type", "joint_trajectory", "efforts need type forward_command"),
        ("hold", None, "controller.hold"),
        ("interface", "velocity", "'position' or 'effort'"),
        ("interface", None, "only with interface: effort"),
    ],
)
def test_a_robot_that_cannot_be_left_alone_is_refused(tmp_path, field, value, said):
    changed = {**SHIPPED["controller"], field: value}
    controller = {name: given for name, given in changed.items() if given is not None}
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump({**SHIPPED, "controller": controller}))
    with pytest.raises(ConfigError) as caught:
        load_robot(str(path))
    assert said in str(caught.value)


def test_an_effort_without_a_bound_is_refused(tmp_path):
    joints = {name: dict(joint) for name, joint in SHIPPED["joints"].items()}
    del joints["elbow_flex"]["effort"]
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump({**SHIPPED, "joints": joints}))
    with pytest.raises(ConfigError, match=r"elbow_flex\.effort"):
        load_robot(str(path))
