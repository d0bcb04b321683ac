# SPDX-License-Identifier: Apache-2.0
"""CEM and MPPI against QT-Opt, visual foresight and PDDM; see `decoder_golden.py`."""

from __future__ import annotations

import numpy as np
import pytest
from decoder_golden import GOLDEN, TOLERANCE, GivenNoise
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.core.cem_sampling import fitted
from levine_policy_node.core.decoders.candidates import Evaluation
from levine_policy_node.core.decoders.cem import CemDecoder
from levine_policy_node.core.decoders.mppi import MppiDecoder
from levine_policy_node.core.decoders.noise import Noise
from levine_policy_node.errors import InferenceError


class Worth:
    """What the golden planners maximise, or its cost, as a graph."""

    def __init__(self, goal, cost=False, column=False):
        self.goal, self.cost, self.column, self.calls = goal, cost, column, []

    def run(self, role, inputs):
        self.calls.append((role, inputs))
        if role == "encode":
            return {"features": inputs["image"]}
        flat = inputs["action"].astype(np.float64).reshape(len(inputs["action"]), -1)
        value = -np.sum((flat - self.goal) ** 2, axis=1) + 0.3 * np.sum(np.sin(5 * flat), axis=1)
        value = -value if self.cost else value
        return {"value": value[:, None] if self.column else value}


def q_function(**changes):
    return Evaluation(**{"action": "action", "value": "value", "flat": True, **changes})


def cost(**changes):
    return Evaluation(**{"action": "action", "value": "value", "maximize": False, **changes})


def qt_opt(evaluation=None, **changes):
    options = {"samples": 64, "elites": 6, "iterations": 2, "mean": np.zeros(8)}
    return CemDecoder(
        1, 1, evaluation or q_function(), **{**options, "std": np.ones(8), **changes}
    )


@pytest.mark.parametrize("column", [False, True])
def test_the_action_is_qt_opts(column):
    graph = Worth(GOLDEN["qt_opt_goal"], column=column)
    found = qt_opt().decode(graph, {}, GivenNoise(*GOLDEN["qt_opt_noise"]), None)
    np.testing.assert_allclose(found[0], GOLDEN["qt_opt_action"], atol=TOLERANCE)
    assert [inputs["action"].shape for _, inputs in graph.calls] == [(64, 8)] * 2
    assert graph.calls[0][1]["action"].dtype == np.float32


def foresight(**changes):
    std = np.array([0.05, 0.05, 0.15, np.pi / 18])
    options = {"samples": 100, "elites": 10, "iterations": 3, "mean": np.zeros(4), "std": std}
    options |= {"repeat": 3, "covariance": "full", "reuse": 4}
    return CemDecoder(15, 15, cost(), **{**options, **changes})


def test_plans_are_visual_foresights_and_go_on_from_the_last():
    made, noise = foresight(), GivenNoise(*GOLDEN["foresight_noise"])
    graph = Worth(GOLDEN["foresight_goal"], cost=True)
    for expected in GOLDEN["foresight_plans"]:
        found = made.decode(graph, {}, noise, None)
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)
        held = found.reshape(5, 3, 4)
        np.testing.assert_array_equal(held, np.repeat(held[:, :1], 3, axis=1))


def test_after_a_reset_and_without_reuse_a_plan_begins_anew():
    noise = GivenNoise(*GOLDEN["foresight_noise"][:3], *GOLDEN["foresight_noise"][:3])
    made = foresight()
    graph = Worth(GOLDEN["foresight_goal"], cost=True)
    first = made.decode(graph, {}, noise, None)
    made.reset()
    np.testing.assert_array_equal(made.decode(graph, {}, noise, None), first)
    noise.reset()
    anew = foresight(reuse=None)
    for _ in range(2):
        np.testing.assert_array_equal(anew.decode(graph, {}, noise, None), first)


def test_the_full_covariance_is_that_of_numpy_even_of_fewer_samples_than_values():
    actions = np.random.default_rng(0).normal(size=(10, 5, 4))
    gaussian = fitted(actions, "full")
    flat = actions.reshape(10, -1)
    np.testing.assert_allclose(gaussian.factor @ gaussian.factor, np.cov(flat.T), atol=1e-7)
    np.testing.assert_allclose(gaussian.mean.reshape(-1), flat.mean(axis=0))


def test_candidates_see_what_encode_made_once():
    graph = Worth(np.zeros(8))
    made = qt_opt(encode=True)
    made.decode(graph, {"image": np.ones(1)}, Noise(), None)
    assert [role for role, _ in graph.calls] == ["encode", "step", "step"]
    assert all("features" in inputs for _, inputs in graph.calls[1:])


def mppi(**changes):
    options = {"samples": 50, "kappa": 2.0, "std": 0.8 * np.ones(3), "beta": 0.7}
    options["bounds"] = (-np.ones(3), np.ones(3))
    return MppiDecoder(7, 7, cost(), **{**options, **changes})


def test_plans_are_pddms_three_times_in_a_row():
    made, noise = mppi(), GivenNoise(*GOLDEN["mppi_noise"])
    graph = Worth(GOLDEN["mppi_goal"], cost=True)
    for expected in GOLDEN["mppi_means"]:
        np.testing.assert_allclose(made.decode(graph, {}, noise, None), expected, atol=TOLERANCE)


def test_a_plan_moves_on_by_the_rows_that_were_played():
    made = mppi(samples=1, std=np.zeros(3), beta=1.0, shift=2)
    plan = np.linspace(-0.5, 0.5, 21).reshape(7, 3)
    made.plan.rows = plan
    found = made.decode(Worth(np.zeros(21), cost=True), {}, Noise(), None)
    np.testing.assert_allclose(found, plan[[2, 3, 4, 5, 6, 6, 6]], atol=1e-12)
    made.reset()
    found = made.decode(Worth(np.zeros(21), cost=True), {}, Noise(), None)
    np.testing.assert_array_equal(found, np.zeros((7, 3)))


class Extreme:
    """Values as large as can be, some infinite."""

    def __init__(self, values):
        self.values = np.array(values, dtype=np.float32)

    def run(self, role, inputs):
        count = len(inputs["action"])
        return {"value": np.resize(self.values, count)}


@pytest.mark.parametrize("made", [qt_opt(), mppi()], ids=["cem", "mppi"])
def test_values_that_are_no_numbers_or_not_one_per_candidate_are_refused(made):
    with pytest.raises(InferenceError, match="not a number"):
        made.decode(Extreme([0.0, np.nan]), {}, Noise(), None)

    class Single:
        def run(self, role, inputs):
            return {"value": np.zeros(1)}

    with pytest.raises(InferenceError, match="one per candidate"):
        made.decode(Single(), {}, Noise(), None)


def test_when_every_candidate_is_infinitely_bad_there_is_no_plan():
    with pytest.raises(InferenceError, match="no candidate"):
        mppi().decode(Extreme([np.inf]), {}, Noise(), None)


VALUES = st.lists(
    st.floats(-(2.0**127), 2.0**127, width=32, allow_subnormal=False), min_size=1, max_size=20
)


@settings(max_examples=50, deadline=None)
@given(
    values=VALUES,
    seed=st.integers(0, 100),
    batch=st.integers(1, 70),
    covariance=st.sampled_from(["diagonal", "full"]),
)
def test_actions_are_bounded_finite_reproducible_and_independent_of_the_batch(
    values, seed, batch, covariance
):
    bounds = (np.full(8, -0.3), np.full(8, 0.7))
    chosen = []
    for size in (batch, None):
        made = qt_opt(q_function(batch=size), bounds=bounds, covariance=covariance)
        # Values follow from the candidates, so that splitting them changes nothing.
        graph = Worth(np.resize(np.array(values) / 2.0**127, 8))
        chosen.append(made.decode(graph, {}, Noise(seed), None))
    np.testing.assert_array_equal(*chosen)
    assert np.all(np.isfinite(chosen[0]))
    assert np.all((chosen[0] >= bounds[0]) & (chosen[0] <= bounds[1]))


@settings(max_examples=50, deadline=None)
@given(values=VALUES, seed=st.integers(0, 100), kappa=st.floats(1e-3, 1e6))
def test_weighted_means_are_bounded_and_finite_whatever_the_values(values, seed, kappa):
    plans = []
    for _ in range(2):
        made, noise = mppi(kappa=kappa, std=np.full(3, 10.0)), Noise(seed)
        plans.append([made.decode(Extreme(values), {}, noise, None) for _ in range(2)])
    np.testing.assert_array_equal(*plans)
    assert np.all(np.abs(plans[0]) <= 1.0 + 1e-12)
