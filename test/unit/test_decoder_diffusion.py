# SPDX-License-Identifier: Apache-2.0
"""Diffusion against diffusers' schedulers and Octo's sampler; see `decoder_golden.py`."""

from __future__ import annotations

import numpy as np
import pytest
from decoder_golden import GOLDEN, TOLERANCE, GivenNoise
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.core.decoders.diffusion import DiffusionDecoder
from levine_policy_node.core.decoders.noise import Noise
from levine_policy_node.core.diffusion_schedule import (
    Clip,
    cumulative_alphas,
    ddim_steps,
    ddpm_steps,
    leading_timesteps,
)
from levine_policy_node.errors import InferenceError

ROWS, COLUMNS, TRAIN = 16, 6, 100
COSINE, LINEAR, SCALED = (
    cumulative_alphas(schedule, TRAIN)
    for schedule in ("squaredcos_cap_v2", "linear", "scaled_linear")
)
CASES = {
    "ddim_10": (ddim_steps(COSINE, 10, "epsilon"), Clip(1.0)),
    "ddim_16_not_to_one": (
        ddim_steps(COSINE, 16, "epsilon", set_alpha_to_one=False),
        Clip(1.0),
    ),
    "ddim_16_free": (ddim_steps(LINEAR, 16, "epsilon"), None),
    "ddim_10_sample": (ddim_steps(SCALED, 10, "sample"), Clip(0.5)),
    "ddim_10_v": (ddim_steps(COSINE, 10, "v_prediction"), Clip(1.0)),
    "ddim_10_eta": (ddim_steps(COSINE, 10, "epsilon", eta=0.7), Clip(1.0)),
    "ddpm_100": (ddpm_steps(COSINE, 100, "epsilon"), Clip(1.0)),
    "ddpm_100_large": (ddpm_steps(LINEAR, 100, "epsilon", "fixed_large"), None),
    "ddpm_20_v": (ddpm_steps(COSINE, 20, "v_prediction"), Clip(1.0)),
    "ddpm_10_sample": (ddpm_steps(SCALED, 10, "sample"), Clip(2.0)),
}


class Network:
    """The predictor of the golden samples, as a graph."""

    def __init__(self, matrix, bias, train, names=("sample", "timestep", "noise_pred")):
        self.matrix, self.bias, self.train = matrix, bias, train
        self.sample, self.time, self.output = names
        self.calls = []

    def run(self, role, inputs):
        self.calls.append((role, dict(inputs)))
        if role == "encode":
            return {"global_cond": inputs["observation"]}
        x, time = inputs[self.sample], inputs[self.time]
        assert x.dtype == np.float32
        share = np.float32(time.flat[0]) / np.float32(self.train)
        return {self.output: np.tanh(x @ self.matrix + share * self.bias)}


def network():
    return Network(GOLDEN["matrix"], GOLDEN["bias"], TRAIN)


def decoder(steps, clip, **changes):
    options = {
        "rows": ROWS,
        "columns": COLUMNS,
        "shape": (ROWS, COLUMNS),
        "steps": steps,
        "sample": "sample",
        "time": "timestep",
        "output": "noise_pred",
        "time_shape": (),
        "time_dtype": "int64",
        "encode": False,
        "clip": clip,
    }
    return DiffusionDecoder(**{**options, **changes})


@pytest.mark.parametrize("name", CASES)
def test_samples_are_those_of_diffusers(name):
    noise = GivenNoise(GOLDEN["noise"], *GOLDEN["added"])
    found = decoder(*CASES[name]).decode(network(), {}, noise, None)
    assert found.shape == (ROWS, COLUMNS)
    np.testing.assert_allclose(found, GOLDEN[name], atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("columns", [7, 5])
def test_samples_are_those_of_octo(columns):
    alphas = cumulative_alphas("squaredcos_cap_v2", 20)
    graph = Network(GOLDEN["octo_matrix"], GOLDEN["octo_bias"], 20, ("noisy_actions", "time", "e"))
    made = decoder(
        ddpm_steps(alphas, 20, "epsilon", "fixed_large"),
        Clip(5.0, "sample"),
        rows=4,
        columns=columns,
        shape=(2, 28),
        index=-1,
        sample="noisy_actions",
        time="time",
        output="e",
        time_shape=(1, 2, 1),
        time_dtype="float32",
        padding="noise",
    )
    noise = GivenNoise(GOLDEN["octo_noise"], *GOLDEN["octo_added"])
    found = made.decode(graph, {}, noise, None)
    expected = GOLDEN[f"octo_{columns}"][:, :columns]
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=TOLERANCE)
    time = graph.calls[0][1]["time"]
    assert (time.shape, time.dtype) == ((1, 2, 1), np.float32)
    assert float(time.max()) == 19.0
    assert all(np.all(np.abs(inputs["noisy_actions"]) <= 5.0) for _, inputs in graph.calls[1:])


def test_octos_schedule_is_the_cosine_schedule():
    time = np.linspace(0, 20, 21) / 20
    level = np.cos((time + 0.008) / 1.008 * np.pi * 0.5) ** 2
    betas = np.clip(1 - level[1:] / level[:-1], 0, 0.999)
    expected = np.cumprod(1 - betas)
    np.testing.assert_allclose(cumulative_alphas("squaredcos_cap_v2", 20), expected, atol=1e-7)


def test_timesteps_are_leading_multiples():
    assert leading_timesteps(100, 16) == [6 * i for i in range(15, -1, -1)]
    graph = network()
    noise = GivenNoise(GOLDEN["noise"], *GOLDEN["added"])
    decoder(*CASES["ddim_16_free"]).decode(graph, {}, noise, None)
    told = [inputs["timestep"] for _, inputs in graph.calls]
    assert [int(time) for time in told] == leading_timesteps(100, 16)
    assert all(time.dtype == np.int64 for time in told)


@pytest.mark.parametrize("name", ["ddim_10", "ddpm_100"])
def test_noise_is_drawn_only_where_it_is_added(name):
    noise = GivenNoise(GOLDEN["noise"], *GOLDEN["added"])
    decoder(*CASES[name]).decode(network(), {}, noise, None)
    assert noise.left == (100 if name == "ddim_10" else 1)


def test_encode_runs_once_and_its_outputs_go_to_every_step():
    graph = network()
    observation = np.ones((1, 3), dtype=np.float32)
    made = decoder(*CASES["ddim_10"], encode=True)
    made.decode(graph, {"observation": observation}, GivenNoise(GOLDEN["noise"]), None)
    assert [role for role, _ in graph.calls] == ["encode"] + ["step"] * 10
    assert all(inputs["global_cond"] is observation for _, inputs in graph.calls[1:])


def test_of_several_samples_the_first_is_taken():
    several = np.concatenate([GOLDEN["noise"], -GOLDEN["noise"], 0 * GOLDEN["noise"]])
    made = decoder(*CASES["ddim_10"], samples=3)
    found = made.decode(network(), {}, GivenNoise(several), None)
    np.testing.assert_allclose(found, GOLDEN["ddim_10"], atol=TOLERANCE)


def test_an_output_of_another_shape_is_refused():
    class Wrong(Network):
        def run(self, role, inputs):
            return {"noise_pred": np.zeros((1, ROWS, COLUMNS + 1))}

    with pytest.raises(InferenceError, match=r"noise_pred has shape \(1, 16, 7\)"):
        decoder(*CASES["ddim_10"]).decode(Wrong(0, 0, 1), {}, Noise(), None)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["ddim", "ddpm"]),
    schedule=st.sampled_from(["squaredcos_cap_v2", "linear", "scaled_linear"]),
    prediction=st.sampled_from(["epsilon", "sample", "v_prediction"]),
    steps=st.integers(1, 20),
    clip=st.sampled_from([Clip(1.0), Clip(2.0), Clip(5.0, "sample")]),
    size=st.sampled_from([0.0, 1.0, 1e6, 1e30]),
    seed=st.integers(0, 1000),
)
def test_samples_are_finite_bounded_and_reproducible(
    kind, schedule, prediction, steps, clip, size, seed
):
    class Extreme(Network):
        def run(self, role, inputs):
            sign = np.where(inputs["sample"] > 0, 1.0, -1.0).astype(np.float32)
            return {"noise_pred": np.float32(size) * sign}

    alphas = cumulative_alphas(schedule, 20)
    made = decoder(
        ddim_steps(alphas, steps, prediction)
        if kind == "ddim"
        else ddpm_steps(alphas, steps, prediction),
        clip,
    )
    runs = [made.decode(Extreme(0, 0, 1), {}, Noise(seed), None) for _ in range(2)]
    np.testing.assert_array_equal(*runs)
    assert np.all(np.isfinite(runs[0]))
    if clip.on == "sample" or kind == "ddpm":
        # The last step of DDPM returns the clipped original as it is.
        assert np.all(np.abs(runs[0]) <= clip.bound * (1 + 1e-6))
