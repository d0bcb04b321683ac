# SPDX-License-Identifier: Apache-2.0
"""Gaussian actors against rlkit, discrete choices, and decoders side by side."""

from __future__ import annotations

import numpy as np
import pytest
from decoder_golden import GOLDEN, TOLERANCE, GivenNoise
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from levine_policy_node.core.decoders.argmax import ArgmaxDecoder
from levine_policy_node.core.decoders.concatenated import ConcatenatedDecoder
from levine_policy_node.core.decoders.gaussian import GaussianDecoder
from levine_policy_node.core.decoders.noise import Noise
from levine_policy_node.errors import InferenceError

RLKIT = (-5.0, 2.0)
GRIPPER = np.array([[-1.0], [0.0], [1.0]])
ANY = st.floats(allow_nan=False, allow_subnormal=False, width=32)


class Fixed:
    """Graphs with fixed outputs, by role."""

    def __init__(self, **outputs):
        self.outputs, self.calls = outputs, []

    def run(self, role, inputs):
        self.calls.append((role, inputs))
        return self.outputs[role]


def actor(rows, columns, **changes):
    options = {"mean": "mean", "log_std": "log_std", "clamp": RLKIT, **changes}
    return GaussianDecoder(rows, columns, **options)


def outputs(mean, log_std):
    return Fixed(step={"mean": mean, "log_std": log_std})


def test_the_mode_is_that_of_rlkit():
    graphs = outputs(GOLDEN["actor_mean"][None], None)
    found = actor(5, 6, log_std=None).decode(graphs, {}, GivenNoise(), None)
    np.testing.assert_allclose(found, GOLDEN["actor_mode"], atol=TOLERANCE)


def test_a_draw_is_that_of_rlkit_with_its_clamp():
    log_std = GOLDEN["actor_log_std"]
    assert log_std.min() < -5.0
    assert log_std.max() > 2.0
    graphs = outputs(GOLDEN["actor_mean"][None], log_std[None])
    found = actor(5, 6).decode(graphs, {}, GivenNoise(GOLDEN["actor_noise"]), None)
    np.testing.assert_allclose(found, GOLDEN["actor_sample"], atol=TOLERANCE)


def test_an_actor_of_one_row_may_leave_the_row_axis_out():
    graphs = outputs(np.array([[1.0, -2.0]], dtype=np.float32), None)
    found = actor(1, 2, log_std=None, squash=False).decode(graphs, {}, Noise(), None)
    np.testing.assert_array_equal(found, [[1.0, -2.0]])


@given(
    hnp.arrays(np.float32, (1, 3, 2), elements=ANY),
    hnp.arrays(np.float32, (1, 3, 2), elements=ANY),
    st.integers(0, 1000),
)
def test_a_squashed_draw_is_bounded_and_reproducible_whatever_the_outputs(mean, log_std, seed):
    made = actor(3, 2)
    draws = [made.decode(outputs(mean, log_std), {}, Noise(seed), None) for _ in range(2)]
    np.testing.assert_array_equal(*draws)
    assert np.all(np.abs(draws[0]) <= 1.0)


def test_hil_serls_gripper_is_argmax_minus_one():
    made = ArgmaxDecoder(1, "q_values", GRIPPER, role="grasp")
    for best in range(3):
        q = np.eye(3, dtype=np.float32)[None, best]
        found = made.decode(Fixed(grasp={"q_values": q}), {}, Noise(), None)
        np.testing.assert_array_equal(found, [[best - 1]])


def test_of_equal_scores_the_first_is_chosen_and_a_choice_may_have_several_columns():
    values = np.arange(8.0).reshape(4, 2)
    scores = np.array([[[0, 1, 1, 0], [2, 2, 2, 2], [-np.inf, 0, np.inf, np.inf]]])
    found = ArgmaxDecoder(3, "q", values).decode(Fixed(step={"q": scores}), {}, Noise(), None)
    np.testing.assert_array_equal(found, values[[1, 0, 2]])


def test_scores_that_are_no_numbers_choose_nothing():
    graphs = Fixed(step={"q": np.array([[0.0, np.nan, 1.0]])})
    with pytest.raises(InferenceError, match="q is not a number"):
        ArgmaxDecoder(1, "q", GRIPPER).decode(graphs, {}, Noise(), None)


def test_the_arm_and_the_gripper_of_hil_serl_are_put_side_by_side():
    mean = np.array([[0.5, -3.0]], dtype=np.float32)
    graphs = Fixed(
        encode={"features": np.ones(1)},
        step={"mean": mean},
        grasp={"q_values": np.array([[0.0, 1.0, 5.0]])},
    )
    made = ConcatenatedDecoder(
        (
            GaussianDecoder(1, 2, mean="mean"),
            ArgmaxDecoder(1, "q_values", GRIPPER, role="grasp"),
        ),
        encode=True,
    )
    found = made.decode(graphs, {"image": np.zeros(1)}, Noise(), None)
    np.testing.assert_allclose(found, [[np.tanh(0.5), np.tanh(-3.0), 1.0]], atol=1e-7)
    assert [role for role, _ in graphs.calls] == ["encode", "step", "grasp"]
    assert all("features" in inputs for _, inputs in graphs.calls[1:])


def test_two_outputs_of_one_graph_take_one_run():
    graphs = Fixed(step={"mean": np.zeros((1, 2)), "q": np.array([[3.0, 1.0, 2.0]])})
    made = ConcatenatedDecoder((GaussianDecoder(1, 2, "mean"), ArgmaxDecoder(1, "q", GRIPPER)))
    found = made.decode(graphs, {"obs": np.zeros(1)}, Noise(), None)
    np.testing.assert_array_equal(found, [[0.0, 0.0, -1.0]])
    assert len(graphs.calls) == 1
