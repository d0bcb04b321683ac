# SPDX-License-Identifier: Apache-2.0
"""Steps and grippers on real ONNX Runtime, from the graph's output to joint targets."""

from __future__ import annotations

import numpy as np
import pytest
from bundle_factory import JOINTS, RAMP, ROWS, constant, document, model, ramp_model, write_bundle

from levine_policy_node.core.observation import Observation
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import BundleError
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.onnx_policy import OnnxPolicy

ROBOT = load_robot("sim_so101")
ARM = list(JOINTS[:-1])
LOW, HIGH = ROBOT.joints["gripper"].position


def chunk(directory, parts, graph=None, robot=ROBOT, **changes):
    write_bundle(directory, document(action={"parts": parts}, **changes), graph or ramp_model())
    policy = OnnxPolicy(load_bundle(directory), robot)
    black = np.zeros((96, 96, 3), dtype=np.uint8)
    measured = np.linspace(-0.2, 0.2, 6)
    try:
        return policy.infer(Observation(StampNs(0), measured, {"front": black, "wrist": black}))
    finally:
        policy.close()


def arm(**changes):
    return {"kind": "target/joint/position", "names": ARM, **changes}


def gripper(**changes):
    return {"kind": "target/gripper/position", "names": ["gripper"], **changes}


def graph(values):
    rows = np.zeros((1, ROWS, 6))
    rows[0, :, -1] = values
    return model([constant("action", rows)])


def test_steps_are_integrated_from_the_state_at_inference(tmp_path):
    made = chunk(tmp_path, [arm(mode="delta", scale=0.5), gripper()])
    steps = 0.5 * RAMP * np.arange(1, ROWS + 1)
    expected = np.linspace(-0.2, 0.2, 6)[:5] + np.cumsum(steps)[:, None]
    np.testing.assert_allclose(made.positions[:, :5], expected, atol=1e-7)
    assert made.integrated_from is None


def test_a_start_counts_the_steps_before_it(tmp_path):
    made = chunk(tmp_path, [arm(mode="delta"), gripper()], chunk__start=2)
    first = -0.2 + RAMP * (1 + 2 + 3)
    np.testing.assert_allclose(made.positions[0, 0], first, atol=1e-7)


VALUES = np.linspace(-0.2, 1.2, ROWS)


def test_the_gripper_goes_from_the_robot_s_closed_to_its_open_end(tmp_path):
    made = chunk(tmp_path, [arm(), gripper()], graph(VALUES))
    expected = LOW + (HIGH - LOW) * np.clip(VALUES, 0, 1)
    np.testing.assert_allclose(made.positions[:, 5], expected, atol=1e-6)


def test_closed_may_be_the_larger_number_and_the_column_may_switch(tmp_path):
    made = chunk(tmp_path, [arm(), gripper(closed=1, open=0, binarize=0.5)], graph(VALUES))
    np.testing.assert_allclose(made.positions[:, 5], np.where(VALUES > 0.5, LOW, HIGH), atol=1e-6)


def test_the_robot_says_at_which_end_it_is_closed(tmp_path):
    joint = ROBOT.joints["gripper"].model_copy(update={"closed": "upper"})
    turned = ROBOT.model_copy(update={"joints": {**ROBOT.joints, "gripper": joint}})
    made = chunk(tmp_path, [arm(), gripper(binarize=0.5)], graph(VALUES), turned)
    np.testing.assert_allclose(made.positions[:, 5], np.where(VALUES > 0.5, LOW, HIGH), atol=1e-6)


def test_a_gripper_joint_is_in_the_robot_s_order_wherever_its_column_is(tmp_path):
    rows = np.zeros((1, ROWS, 6))
    rows[..., 0] = 1.0
    made = chunk(tmp_path, [gripper(), arm()], model([constant("action", rows)]))
    np.testing.assert_allclose(made.positions[:, 5], HIGH, atol=1e-6)
    np.testing.assert_allclose(made.positions[:, :5], 0.0)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([arm(), gripper(binarize=1.5)], "binarize 1.5 must be between closed 0 and open 1"),
        ([arm(), gripper(open=0)], "closed and open must differ"),
        ([arm(names=[*ARM[:-1], "gripper"]), gripper(names=["wrist_roll"])], "gripper(s) wrist"),
        ([arm(), gripper(names=["gripper", "wrist_roll"])], "action.parts.1.names"),
        ([arm(), gripper(scale=2.0)], "action.parts.1.scale"),
        ([arm(mode="steps"), gripper()], "'steps' is not supported"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(tmp_path, parts, said):
    with pytest.raises(BundleError) as caught:
        chunk(tmp_path, parts)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
