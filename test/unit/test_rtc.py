# SPDX-License-Identifier: Apache-2.0
"""Real-time chunking against LeRobot's own code.

`rtc_golden.npz` was written by `test/data/make_rtc_golden.py` with PyTorch 2.13 from
`src/lerobot/policies/rtc/modeling_rtc.py` (`RTCProcessor.denoise_step`, with autograd) and
`src/lerobot/policies/common/flow_matching.py` (`euler_integrate`) of huggingface/lerobot at commit
7427f31801f944f5ec9ce53cda02862ce7d1638b, on random flows. No code of it is here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core.decoders.flow import FlowDecoder
from levine_policy_node.core.decoders.noise import Noise
from levine_policy_node.core.rtc import Guidance, HardPrefix, NetworkPrefix, prefix_weights
from levine_policy_node.errors import InferenceError

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "rtc_golden.npz")
ROWS, COLUMNS, WIDTH, STEPS = 16, 6, 8, 10
SCHEDULES = ("zeros", "ones", "linear", "exp")
# As in make_rtc_golden.py: rows of the prefix, delay, horizon.
CASES = ((12, 3, 10), (16, 0, 10), (14, 12, 8), (4, 3, 10), (16, 5, 16))
TIMES = (1.0, 0.9, 0.5, 0.1)
TOLERANCE = 1e-5


class FixedNoise(Noise):
    def draw(self, shape):
        assert shape == GOLDEN["noise"].shape
        return GOLDEN["noise"].copy()


class Field:
    """The velocity field of the golden flows, as a graph."""

    def __init__(self):
        self.calls = []

    def run(self, role, inputs):
        self.calls.append((role, dict(inputs)))
        if role == "encode":
            return {"bias": inputs["observation"] * GOLDEN["bias"]}
        x, time = inputs["x_t"], inputs["timestep"]
        assert x.dtype == time.dtype == np.float32
        time = time[..., None] if time.ndim == 2 else np.reshape(time, (-1, 1, 1))
        return {"v_t": np.tanh(x @ GOLDEN["matrix"] + time * inputs["bias"])}


def decoder(rtc=None, time_shape="token", columns=WIDTH, encode=False):
    return FlowDecoder(
        ROWS, columns, WIDTH, STEPS, "x_t", "timestep", "v_t", time_shape, encode, rtc
    )


def flow(made, prefix=None):
    return made.decode(Field(), {"bias": GOLDEN["bias"]}, FixedNoise(), prefix)


def known(rows, delay):
    return NetworkPrefix(GOLDEN["previous"][:rows].astype(np.float64), delay)


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_each_guided_velocity_is_lerobots(schedule, case):
    rows, delay, horizon = CASES[case]
    guidance, prefix = Guidance(schedule, horizon, 10.0), known(rows, delay)
    weights = guidance.row_weights(prefix, ROWS)
    target = prefix.padded(ROWS, WIDTH)
    for time, expected in zip(TIMES, GOLDEN[f"step_{schedule}_{case}"], strict=True):
        found = guidance.corrected(GOLDEN["velocity"], GOLDEN["noise"], time, target, weights)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[0], expected, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_guided_flow_is_lerobots(schedule, case):
    rows, delay, horizon = CASES[case]
    found = flow(decoder(Guidance(schedule, horizon, 10.0)), known(rows, delay))
    np.testing.assert_allclose(found, GOLDEN[f"flow_{schedule}_{case}"][0], atol=TOLERANCE)


@pytest.mark.parametrize("delay", [1, 3, 6])
def test_a_flow_with_a_hard_prefix_is_lerobots_and_keeps_the_prefix_exactly(delay):
    found = flow(decoder(HardPrefix()), known(9, delay))
    np.testing.assert_allclose(found, GOLDEN[f"trained_{delay}"][0], atol=TOLERANCE)
    np.testing.assert_array_equal(
        found[:delay, :COLUMNS], GOLDEN["previous"][:delay].astype(np.float64)
    )


@pytest.mark.parametrize("time_shape", ["scalar", "sample", "token"])
def test_a_free_flow_is_lerobots_whatever_shape_its_time_has(time_shape):
    found = flow(decoder(time_shape=time_shape))
    np.testing.assert_allclose(found, GOLDEN["free"][0], atol=TOLERANCE)


@pytest.mark.parametrize("rtc", [None, HardPrefix(), Guidance()])
def test_without_a_prefix_or_a_form_the_flow_is_free(rtc):
    np.testing.assert_array_equal(flow(decoder(rtc)), flow(decoder()))
    np.testing.assert_array_equal(flow(decoder(None), known(12, 3)), flow(decoder()))


def test_a_hard_prefix_of_no_rows_changes_nothing():
    np.testing.assert_array_equal(flow(decoder(HardPrefix()), known(9, 0)), flow(decoder()))


def test_at_every_step_the_prefix_is_clean_and_its_time_is_zero():
    field = Field()
    decoder(HardPrefix()).decode(field, {"bias": GOLDEN["bias"]}, FixedNoise(), known(9, 4))
    assert [role for role, _ in field.calls] == ["step"] * STEPS
    for step, (_, inputs) in enumerate(field.calls):
        time = inputs["timestep"]
        np.testing.assert_array_equal(time[0, :4], 0.0)
        np.testing.assert_allclose(time[0, 4:], 1.0 - step / STEPS, atol=1e-7)
        np.testing.assert_array_equal(inputs["x_t"][0, :4, :COLUMNS], GOLDEN["previous"][:4])


def test_encode_runs_once_and_its_outputs_go_to_step():
    field = Field()
    inputs = {"observation": np.float32(1.0)}
    found = decoder(encode=True).decode(field, inputs, FixedNoise(), None)
    assert [role for role, _ in field.calls] == ["encode"] + ["step"] * STEPS
    np.testing.assert_array_equal(found, flow(decoder()))


def test_only_the_columns_of_the_action_come_out():
    np.testing.assert_array_equal(flow(decoder(columns=COLUMNS)), flow(decoder())[:, :COLUMNS])


def test_a_velocity_of_another_shape_is_an_inference_error():
    class Wrong(Field):
        def run(self, role, inputs):
            return {"v_t": super().run(role, inputs)["v_t"][:, :-1]}

    with pytest.raises(InferenceError, match=r"output v_t has shape \(1, 15, 8\)"):
        decoder().decode(Wrong(), {"bias": GOLDEN["bias"]}, FixedNoise(), None)


def test_a_hard_prefix_needs_a_time_per_row():
    with pytest.raises(ValueError, match="a time per row"):
        decoder(HardPrefix(), time_shape="sample")


def test_noise_is_the_same_sequence_after_every_reset():
    noise = Noise()
    first = [noise.draw((1, 4, 2)) for _ in range(3)]
    assert not np.array_equal(first[0], first[1])
    noise.reset()
    np.testing.assert_array_equal(first, [noise.draw((1, 4, 2)) for _ in range(3)])


@given(st.sampled_from(SCHEDULES), st.integers(0, 30), st.integers(0, 30), st.integers(1, 20))
def test_weights_fall_from_one_at_the_delay_to_zero_at_the_horizon(schedule, start, end, total):
    weights = prefix_weights(schedule, start, end, total)
    assert weights.shape == (total,)
    assert np.all((weights >= 0.0) & (weights <= 1.0))
    assert np.all(np.diff(weights) <= 0.0)
    end = min(end, total)
    np.testing.assert_array_equal(weights[: min(start, end)], 1.0)
    np.testing.assert_array_equal(weights[end:], 0.0)


@given(st.floats(0.0, 1.0), st.floats(0.1, 100.0))
def test_the_guidance_factor_is_bounded(time, most):
    assert 0.0 < Guidance(max_weight=most).factor(time) <= most
