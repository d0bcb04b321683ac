# SPDX-License-Identifier: Apache-2.0
"""Policies that see the past, on real ONNX Runtime: what arrives in the graph."""

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

ROBOT = load_robot("sim_so101")
PERIOD_NS = 100_000_000
STATE = {"kind": "state/joint/position", "names": list(JOINTS)}
IMAGE = {"size": [2, 2], "interpolation": "area"}
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def state(step: float) -> np.ndarray:
    return np.linspace(0.0, 0.5, 6) + step


def seen(step: float, past: tuple[float, ...] = ()) -> Observation:
    """A state and images that say when they were measured."""
    pixels = np.full((96, 96, 3), 10 * int(step) + 10, dtype=np.uint8)
    return Observation(
        StampNs(round(step * PERIOD_NS)),
        state(step),
        {"front": pixels, "wrist": pixels},
        past=tuple(seen(earlier) for earlier in past),
    )


@pytest.fixture
def make(load_written):
    def policy(observations, inputs, **changes):
        return load_written(
            lambda folder: write_echo(folder, observations, inputs, **changes), ROBOT
        )

    return policy


def echoed(policy: OnnxPolicy, observation: Observation) -> np.ndarray:
    return policy.infer(observation).positions.ravel()


def test_states_on_a_time_axis_with_a_mask(make):
    history = {"steps": 3, "mask": "pad_mask"}
    policy = make(
        {"s": {**STATE, "history": history}}, {"s": ([1, 3, 6], FLOAT), "pad_mask": ([1, 3], BOOL)}
    )
    for steps, mask in (((0, 0, 0), (0, 0, 1)), ((0, 0, 1), (0, 1, 1)), ((0, 1, 2), (1, 1, 1))):
        values = echoed(policy, seen(steps[-1]))
        np.testing.assert_allclose(
            values[:18], np.concatenate([state(s) for s in steps]), atol=1e-6
        )
        np.testing.assert_array_equal(values[18:21], mask)
    policy.reset()
    np.testing.assert_array_equal(echoed(policy, seen(3))[18:21], (0, 0, 1))


def test_inputs_may_see_unlike_far_back(make):
    policy = make(
        {
            "long": {**STATE, "history": {"steps": 4, "mask": "seen"}},
            "short": {**STATE, "history": 2},
            "now": STATE,
        },
        {
            "long": ([1, 4, 6], FLOAT),
            "short": ([1, 2, 6], FLOAT),
            "now": ([1, 6], FLOAT),
            "seen": ([1, 4], INT64),
        },
    )
    for step in range(5):
        values = echoed(policy, seen(step))
    expected = [state(s) for s in (1, 2, 3, 4, 3, 4, 4)]
    np.testing.assert_allclose(values[:42], np.concatenate(expected), atol=1e-6)


def test_states_in_one_vector_by_moment_or_by_term(make):
    terms = [STATE | {"names": ["gripper"]}, STATE | {"names": ["wrist_roll", "elbow_flex"]}]
    expected = {
        "moment": [0.5, 0.4, 0.2, 1.5, 1.4, 1.2],
        "term": [0.5, 1.5, 0.4, 0.2, 1.4, 1.2],
    }
    for order, numbers in expected.items():
        history = {"steps": 2, "axis": "flat", "order": order}
        policy = make({"s": {"terms": terms, "history": history}}, {"s": ([1, 6], FLOAT)})
        echoed(policy, seen(0))
        np.testing.assert_allclose(echoed(policy, seen(1)), numbers, atol=1e-6)


def test_statistics_are_of_one_moment(make):
    policy = make(
        {"s": {**STATE, "normalize": "mean_std", "history": 2}},
        {"s": ([1, 2, 6], FLOAT)},
        stats={"s": {"mean": [1.0] * 6, "std": [2.0] * 6}},
    )
    echoed(policy, seen(0))
    expected = (np.concatenate([state(0), state(1)]) - 1.0) / 2.0
    np.testing.assert_allclose(echoed(policy, seen(1)), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("axis", "layout", "shape"),
    [
        ("time", "chw", [1, 2, 3, 2, 2]),
        ("time", "hwc", [1, 2, 2, 2, 3]),
        ("channel", "chw", [1, 6, 2, 2]),
        ("channel", "hwc", [1, 2, 2, 6]),
    ],
)
def test_images_on_an_axis_of_their_own_or_on_the_channels(make, axis, layout, shape):
    history = {"steps": 2, "axis": axis}
    image = {**IMAGE, "layout": layout}
    policy = make(
        {"front": {"kind": "sensor/image", "image": image, "history": history}},
        {"front": (shape, FLOAT)},
    )
    echoed(policy, seen(0))
    values = echoed(policy, seen(1)).reshape(shape)[0] * 255
    along = 0 if axis == "time" else {"chw": 0, "hwc": 2}[layout]
    first, second = np.split(values, 2, axis=along)
    np.testing.assert_allclose(first, 10, atol=1e-3)
    np.testing.assert_allclose(second, 20, atol=1e-3)


def test_between_inferences_the_past_is_that_of_the_streams(make):
    """Diffusion Policy: two observations one row apart, every eight rows."""
    policy = make({"s": {**STATE, "history": 2}}, {"s": ([1, 2, 6], FLOAT)})
    echoed(policy, seen(0))
    values = echoed(policy, seen(8, past=(6, 7)))
    np.testing.assert_allclose(values, np.concatenate([state(7), state(8)]), atol=1e-6)
    with pytest.raises(ObservationError, match="nothing was observed"):
        policy.infer(seen(16))


def test_the_last_action_is_what_the_network_gave(make):
    policy = make(
        {"o": {"terms": [STATE, {"kind": "feedback/action", "dim": 6}]}},
        {"o": ([1, 12], FLOAT)},
        action__normalize="mean_std",
        stats={"action": {"mean": [5.0] * 6, "std": [3.0] * 6}},
    )
    first = policy.infer(seen(0)).positions
    np.testing.assert_allclose(first, 5 + 3 * np.array([state(0), np.zeros(6)]), atol=1e-5)
    second = policy.infer(seen(1)).positions
    np.testing.assert_allclose(second, 5 + 3 * np.array([state(1), state(0)]), atol=1e-5)
    policy.reset()
    np.testing.assert_allclose(policy.infer(seen(2)).positions[1], 5.0, atol=1e-5)


def test_the_inputs_of_a_decision_transformer(make):
    padded = {"steps": 4, "pad": "zero"}
    policy = make(
        {
            "states": {
                **STATE,
                "normalize": "mean_std",
                "history": {**padded, "mask": "attention_mask"},
            },
            "actions": {"kind": "feedback/action", "placeholder": True, "history": padded},
            "returns_to_go": {
                "kind": "policy/return_to_go",
                "target": 3600,
                "scale": 0.001,
                "reward": 100,
                "history": padded,
            },
            "timesteps": {"kind": "policy/timestep", "last": 4, "history": padded},
        },
        {
            "states": ([1, 4, 6], FLOAT),
            "actions": ([1, 4, 6], FLOAT),
            "returns_to_go": ([1, 4, 1], FLOAT),
            "timesteps": ([1, 4], INT64),
            "attention_mask": ([1, 4], INT64),
        },
        stats={"states": {"mean": [1.0] * 6, "std": [2.0] * 6}},
    )
    given = []
    for step in range(7):
        values = echoed(policy, seen(step))
        states, actions = values[:24].reshape(4, 6), values[24:48].reshape(4, 6)
        returns, times, mask = values[48:52], values[52:56], values[56:60]
        count = min(step + 1, 4)
        steps = np.arange(step - count + 1, step + 1)
        padding = np.zeros(4 - count)
        expected = [(state(s) - 1.0) / 2.0 for s in steps]
        np.testing.assert_allclose(states[4 - count :], expected, atol=1e-6)
        assert not np.any(states[: 4 - count])
        # The newest row stands for the action that is asked for.
        np.testing.assert_allclose(actions[-1], 0.0)
        if count > 1:
            np.testing.assert_allclose(actions[4 - count : 3], given[-(count - 1) :], atol=1e-6)
        assert not np.any(actions[: 4 - count])
        np.testing.assert_allclose(returns, [*padding, *(3.6 - 0.1 * steps)], atol=1e-6)
        np.testing.assert_array_equal(times, [*padding, *np.minimum(steps, 4)])
        np.testing.assert_array_equal(mask, [*padding, *np.ones(count)])
        given.append(values[:6])


def test_the_gripper_is_read_as_the_policy_knows_it(make):
    policy = make(
        {"g": {"kind": "state/gripper/position", "names": ["gripper"], "closed": 1, "open": -1}},
        {"g": ([1, 1], FLOAT)},
    )
    low, high = ROBOT.joints["gripper"].position
    for position, expected in ((low, 1.0), (high, -1.0), ((low + high) / 2, 0.0)):
        measured = np.zeros(6)
        measured[5] = position
        observation = Observation(StampNs(0), measured)
        np.testing.assert_allclose(echoed(policy, observation)[0], expected, atol=1e-6)


SIX = {"s": ([1, 6], FLOAT)}
REFUSED = {
    "flat images": (
        {
            "s": STATE,
            "front": {
                "kind": "sensor/image",
                "image": IMAGE,
                "history": {"steps": 2, "axis": "flat"},
            },
        },
        "observations.front.history.axis: flat is for vectors",
    ),
    "channels of a vector": (
        {"s": {**STATE, "history": {"steps": 2, "axis": "channel"}}},
        "channel is for images",
    ),
    "flat terms without an order": (
        {"s": {"terms": [STATE, STATE], "history": {"steps": 2, "axis": "flat"}}},
        "say 'moment'",
    ),
    "no step": ({"s": {**STATE, "history": 0}}, "observations.s.history.steps"),
    "too many steps": ({"s": {**STATE, "history": 5000}}, "observations.s.history.steps"),
    "a mask no graph has": (
        {"s": {**STATE, "history": {"steps": 1, "axis": "flat", "mask": "mask"}}},
        "no graph has an input mask",
    ),
    "a history the graph does not have": (
        {"s": {**STATE, "history": 2}},
        "input s: is float32 of shape [1, 6], but the observation gives float32 of shape "
        "[1, 2, 6]",
    ),
    "an action of another width": (
        {"s": {"kind": "feedback/action", "dim": 7}},
        "observations.s.dim: 7, but the action has 6 columns",
    ),
    "a gripper that is none": (
        {"s": {"kind": "state/gripper/position", "names": ["wrist_roll"]}},
        "gripper(s) wrist_roll not in the robot file",
    ),
    "a gripper without a way": (
        {"s": {"kind": "state/gripper/position", "names": ["gripper"], "open": 0}},
        "closed and open must differ",
    ),
    "a placeholder without history": (
        {"s": {"kind": "feedback/action", "placeholder": True}},
        "placeholder needs a history",
    ),
    "a wrong term": (
        {"s": {"terms": [{"kind": "state/joint/position", "names": ["a"], "scal": 1}]}},
        "observations.s.terms.0.scal: is not a field",
    ),
    "an unknown term": (
        {"s": {"terms": [{"kind": "state/wrench", "names": ["a"]}]}},
        "'state/wrench' is not supported",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused_in_one_line(make, case):
    observations, expected = REFUSED[case]
    with pytest.raises(BundleError) as caught:
        make(observations, SIX)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
