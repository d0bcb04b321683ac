# SPDX-License-Identifier: Apache-2.0
"""Actions become joint targets in the robot's order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from levine_policy_node.core.action_layout import ActionLayout, Gripper
from levine_policy_node.core.decoders.direct import DirectDecoder
from levine_policy_node.core.decoders.noise import Noise
from levine_policy_node.core.normalization import Normalization
from levine_policy_node.errors import InferenceError

VALUES = arrays(np.float64, (3,), elements=st.floats(-10, 10))


def test_columns_are_unnormalised_scaled_and_put_in_order():
    layout = ActionLayout(
        normalization=Normalization.min_max(np.array([0.0, 0.0, -1.0]), np.array([2.0, 4.0, 1.0])),
        scale=np.array([1.0, 2.0, 1.0]),
        offset=np.array([0.0, 0.0, 0.5]),
        relative=np.array([True, False, False]),
        order=np.array([1, 2, 0]),
    )
    measured = np.array([10.0, 20.0, 30.0])
    result = layout.positions(np.array([[1.0, -1.0, 0.0], [0.0, 1.0, 1.0]]), measured)
    # Column 0 is the robot's third joint and relative to its measured position.
    np.testing.assert_allclose(result, [[0.0, 0.5, 32.0], [8.0, 1.5, 31.0]])


@given(VALUES, VALUES)
def test_normalising_and_back_is_the_identity(values, center):
    normalization = Normalization.mean_std(center, np.array([0.1, 1.0, 7.0]))
    np.testing.assert_allclose(
        normalization.invert(normalization.apply(values)), values, atol=1e-9
    )


@st.composite
def layouts(draw):
    values = st.floats(-5, 5)
    spreads = st.floats(0.1, 5)
    shape = draw(st.sampled_from([(3,), (4, 3)]))
    normalization = Normalization(
        draw(arrays(np.float64, shape, elements=values)),
        draw(arrays(np.float64, shape, elements=spreads)),
    )
    return ActionLayout(
        normalization=draw(st.sampled_from([None, normalization])),
        scale=draw(arrays(np.float64, (3,), elements=spreads)) * draw(st.sampled_from([-1, 1])),
        offset=draw(arrays(np.float64, (3,), elements=values)),
        relative=draw(arrays(np.bool_, (3,))),
        order=np.array(draw(st.permutations(range(3)))),
    )


@given(layouts(), arrays(np.float64, (4, 3), elements=st.floats(-10, 10)), VALUES)
def test_targets_and_back_is_the_identity(layout, actions, measured):
    positions = layout.positions(actions, measured)
    np.testing.assert_allclose(layout.actions(positions, measured), actions, atol=1e-6)
    # The first rows of a chunk stand for themselves, also where each row has its statistics.
    np.testing.assert_allclose(layout.actions(positions[:2], measured), actions[:2], atol=1e-6)


def test_min_max_maps_the_range_to_minus_one_and_one():
    low, high = np.array([-2.0]), np.array([6.0])
    normalization = Normalization.min_max(low, high)
    assert normalization.apply(low) == -1.0
    assert normalization.apply(high) == 1.0


class Graphs:
    def __init__(self, output):
        self.output = output

    def run(self, role, inputs):
        assert role == "step"
        return {"action": self.output}


@pytest.mark.parametrize("shape", [(1, 2, 3), (1, 6), (2, 3), (1, 2, 3, 1)])
def test_direct_takes_only_its_own_shape(shape):
    decoder = DirectDecoder("action", 2, 3)
    graphs = Graphs(np.arange(6.0).reshape(shape))
    if shape == (1, 2, 3):
        np.testing.assert_array_equal(
            decoder.decode(graphs, {}, Noise(), None), [[0, 1, 2], [3, 4, 5]]
        )
    else:
        with pytest.raises(InferenceError, match="has shape"):
            decoder.decode(graphs, {}, Noise(), None)


def test_a_single_action_needs_no_time_axis():
    decoder = DirectDecoder("action", 1, 3)
    assert decoder.decode(Graphs(np.zeros((1, 3))), {}, Noise(), None).shape == (1, 3)


def test_deltas_are_summed_up_from_the_measured_joints():
    layout = ActionLayout(
        normalization=None,
        scale=np.array([2.0, 1.0]),
        offset=np.zeros(2),
        relative=np.array([False, False]),
        order=np.array([0, 1]),
        delta=np.array([True, False]),
    )
    rows = layout.positions(np.array([[1.0, 5.0], [2.0, 6.0]]), np.array([10.0, 20.0]))
    np.testing.assert_allclose(rows, [[12.0, 5.0], [16.0, 6.0]])


@given(
    arrays(np.float64, (4, 3), elements=st.floats(-1, 1, allow_subnormal=False)),
    arrays(np.bool_, (3,)),
    VALUES,
)
def test_deltas_and_back_is_the_identity(actions, delta, measured):
    layout = ActionLayout(
        normalization=None,
        scale=np.array([0.5, 1.0, 2.0]),
        offset=np.array([0.1, 0.0, -0.1]),
        relative=~delta,
        order=np.array([2, 0, 1]),
        delta=delta,
    )
    again = layout.actions(layout.positions(actions, measured), measured)
    np.testing.assert_allclose(again, actions, atol=1e-9)


@pytest.mark.parametrize(
    ("gripper", "expected"),
    [
        (Gripper(0, closed=0.0, open=1.0), [0.0, 0.0, 0.4, 1.0, 1.0]),
        (Gripper(0, closed=0.0, open=1.0, binarize=0.5), [0.0, 0.0, 0.0, 1.0, 1.0]),
        (Gripper(0, closed=1.0, open=-1.0), [-0.5, 0.0, 0.4, 1.0, 1.0]),
        (Gripper(0, closed=1.0, open=-1.0, binarize=0.0), [-1.0, -1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_a_gripper_gets_what_it_can_follow(gripper, expected):
    values = np.array([-0.5, 0.0, 0.4, 1.0, 3.0])
    np.testing.assert_allclose(gripper.inside(values), expected)


def test_a_gripper_s_column_is_on_the_way_between_closed_and_open():
    layout = ActionLayout(
        normalization=None,
        scale=np.array([2.0]),
        offset=np.array([-1.0]),
        relative=np.array([False]),
        order=np.array([0]),
        grippers=(Gripper(0, 0.0, 1.0, 0.5),),
    )
    actions = np.array([[0.4], [0.6], [7.0]])
    np.testing.assert_allclose(layout.positions(actions, np.zeros(1)), [[-1.0], [1.0], [1.0]])
    assert actions[2, 0] == 7.0
