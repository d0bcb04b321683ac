# SPDX-License-Identifier: Apache-2.0
"""Policies that are shown the goal, and cameras that a robot does not have."""

from __future__ import annotations

import numpy as np
import pytest
from bundle_factory import JOINTS
from echo_bundle import write_echo
from onnx import TensorProto

from levine_policy_node.core.observation import Observation
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import BundleError, ObservationError
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.onnx_policy import OnnxPolicy

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
STATE = {"kind": "state/joint/position", "names": list(JOINTS)}
IMAGE = {"size": [2, 2], "interpolation": "area", "range": [-1, 1]}


def with_goal():
    robot = load_robot("sim_so101")
    goal = robot.cameras["front"].model_copy(update={"topic": "goal/image"})
    return robot.model_copy(update={"cameras": {**robot.cameras, "goal": goal}})


ROBOT = with_goal()


def told(goal: int | None = None):
    images = {} if goal is None else {"goal": np.full((96, 96, 3), goal, dtype=np.uint8)}
    return Observation(StampNs(0), np.zeros(6), images)


@pytest.fixture
def make(load_written):
    def policy(observations, inputs, files=None, count=None, **changes):
        return load_written(
            lambda folder: write_echo(folder, observations, inputs, files, count, **changes), ROBOT
        )

    return policy


def echoed(policy: OnnxPolicy, observation: Observation) -> np.ndarray:
    policy.reset()
    return policy.infer(observation).positions.ravel()


@pytest.mark.parametrize(("missing", "mask"), [(0, {None: 0, 9: 1}), (1, {None: 1, 9: 0})])
def test_a_goal_may_be_missing_and_the_mask_says_so(make, missing, mask):
    image = {**IMAGE, "optional": True, "mask": "goal_mask", "mask_missing": missing}
    policy = make(
        {"s": STATE, "goal_img": {"kind": "command/image", "image": image}},
        {"s": ([1, 6], FLOAT), "goal_img": ([1, 3, 2, 2], FLOAT), "goal_mask": ([1], INT64)},
    )
    for goal, expected in mask.items():
        values = echoed(policy, told(goal=goal))
        pixel = -1.0 if goal is None else goal / 127.5 - 1.0
        np.testing.assert_allclose(values[6:18], pixel, atol=1e-5)
        assert values[18] == expected


def test_a_goal_that_must_not_be_missing(make):
    policy = make(
        {"s": STATE, "goal": {"kind": "command/image", "image": IMAGE}},
        {"s": ([1, 6], FLOAT), "goal": ([1, 3, 2, 2], FLOAT)},
    )
    assert policy.bundle.cameras == ("goal",)
    assert policy.bundle.document.context.goals == {"goal": False}
    with pytest.raises(ObservationError, match="goal: no image of camera goal"):
        policy.infer(told())


def test_a_camera_that_the_robot_does_not_have_is_black(make):
    """pi0 on a robot with fewer cameras than in training."""
    policy = make(
        {
            "s": STATE,
            "image_2": {
                "kind": "sensor/image",
                "absent": True,
                "image": {**IMAGE, "mask": "img_mask_2"},
            },
        },
        {"s": ([1, 6], FLOAT), "image_2": ([1, 3, 2, 2], FLOAT), "img_mask_2": ([1], BOOL)},
    )
    assert policy.bundle.cameras == ()
    values = echoed(policy, told())
    np.testing.assert_allclose(values[6:18], -1.0)
    assert values[18] == 0


@pytest.mark.parametrize(("fill", "value"), [(None, -1.0), (0.25, 0.25)])
def test_an_optional_camera_may_not_be_there_and_the_mask_says_so(make, fill, value):
    """pi0: -1 and mask 0 for a camera that the robot does not have."""
    image = {**IMAGE, "optional": True, "mask": "mask"} | ({} if fill is None else {"fill": fill})
    policy = make(
        {"s": STATE, "top": {"kind": "sensor/image", "image": image}},
        {"s": ([1, 6], FLOAT), "top": ([1, 3, 2, 2], FLOAT), "mask": ([1], BOOL)},
    )
    assert policy.bundle.cameras == ()
    assert policy.bundle.document.missing_images == ("top",)
    values = echoed(policy, told())
    np.testing.assert_allclose(values[6:18], value)
    assert values[18] == 0


def test_an_optional_camera_that_is_there_must_not_fail(make):
    policy = make(
        {"s": STATE, "front": {"kind": "sensor/image", "image": {**IMAGE, "optional": True}}},
        {"s": ([1, 6], FLOAT), "front": ([1, 3, 2, 2], FLOAT)},
    )
    assert policy.bundle.cameras == ("front",)
    with pytest.raises(ObservationError, match="front: no image of camera front"):
        policy.infer(told())


FOUR = {"e": ([1, 4], FLOAT)}
REFUSED = {
    "a required camera that the robot does not have": (
        {"top": {"kind": "sensor/image", "image": IMAGE}},
        {"top": ([1, 3, 2, 2], FLOAT)},
        "camera(s) top not in the robot file",
    ),
    "a picture instead of a required one": (
        {"front": {"kind": "sensor/image", "image": {**IMAGE, "fill": 0.0}}},
        FOUR,
        "fill is for what is optional or absent",
    ),
    "no pixel": (
        {
            "e": {
                "kind": "sensor/image",
                "image": {"size": [2, 2], "dtype": "uint8", "optional": True, "fill": -1.0},
            }
        },
        FOUR,
        "-1 is no pixel",
    ),
    "a goal with a past": (
        {"goal": {"kind": "command/image", "image": IMAGE, "history": 2}},
        FOUR,
        "a goal has no history",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused_in_one_line(make, case):
    observations, inputs, expected = REFUSED[case]
    with pytest.raises(BundleError) as caught:
        make(observations, inputs)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
