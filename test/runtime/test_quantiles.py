# SPDX-License-Identifier: Apache-2.0
"""Quantiles and masks, against the formulas of the code that policies were trained with."""

from __future__ import annotations

import numpy as np
import pytest
from bundle_factory import JOINTS, ROWS, constant, document, model, write_bundle
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import save as save_safetensors

from levine_policy_node.core.normalization import Normalization
from levine_policy_node.core.observation import Observation
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import BundleError
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.onnx_policy import OnnxPolicy
from levine_policy_node.runtime.preprocess import Preprocessor

ROBOT = load_robot("sim_so101")
STATE = "observation.state"
Q01 = np.array([-1.1, -0.9, -0.7, -0.5, -0.3, 0.0])
Q99 = np.array([0.8, 1.0, 1.2, 1.4, 1.6, 1.7])
MASK = [True, True, True, True, True, False]
BLACK = np.zeros((96, 96, 3), dtype=np.uint8)
MEASURED = np.array([0.3, -0.2, 0.1, 0.4, -2.0, 1.5])


def seen_state(directory, **changes) -> np.ndarray:
    asked = {"kind": "state/joint/position", "names": list(JOINTS), "normalize": "quantiles"}
    stats = {STATE: {"q01": Q01.tolist(), "q99": Q99.tolist(), **changes.pop("stats", {})}}
    observations = {STATE: {**asked, **changes}}
    bundle = load_bundle(write_bundle(directory, document(observations=observations, stats=stats)))
    observation = Observation(StampNs(0), MEASURED, {})
    return Preprocessor(bundle, JOINTS).tensors(observation)[STATE][0]


def chunk(directory, network: np.ndarray, action, files) -> np.ndarray:
    """Joint targets of a policy whose network returns `network`."""
    part = {"kind": "target/joint/position", "names": list(JOINTS)}
    action = {"normalize": "quantiles", "parts": [part], **action}
    described = document(action=action, stats="stats.safetensors")
    write_bundle(directory, described, model([constant("action", network[None])]), files)
    policy = OnnxPolicy(load_bundle(directory), ROBOT)
    try:
        shown = {"front": BLACK, "wrist": BLACK}
        return policy.infer(Observation(StampNs(0), MEASURED, shown)).positions
    finally:
        policy.close()


def test_quantiles_of_pi05_with_its_eps(tmp_path):
    """openpi `transforms.py`: `(x - q01) / (q99 - q01 + 1e-6) * 2 - 1`, not clipped."""
    expected = (MEASURED - Q01) / (Q99 - Q01 + 1e-6) * 2.0 - 1.0
    state = seen_state(tmp_path, stats={"eps": 1e-6})
    np.testing.assert_allclose(state, expected, atol=1e-7)
    assert state[4] < -1.0


def test_openvla_oft_clips_the_state(tmp_path):
    """openvla-oft `normalize_proprio`: clipped to [-1, 1] where the mask is set."""
    bounded = np.clip(2.0 * (MEASURED - Q01) / (Q99 - Q01 + 1e-8) - 1.0, -1.0, 1.0)
    state = seen_state(tmp_path, clip=[-1.0, 1.0], stats={"eps": 1e-8})
    np.testing.assert_allclose(state, bounded, atol=1e-7)
    state = seen_state(tmp_path / "masked", normalize_mask=MASK)
    assert state[5] == np.float32(MEASURED[5])


def test_openvla_passes_the_gripper_through(tmp_path):
    """openvla `predict_action`: `where(mask, 0.5 * (a + 1) * (q99 - q01) + q01, a)`."""
    network = np.random.default_rng(1).uniform(-1.0, 1.0, (ROWS, 6)).astype(np.float32)
    expected = np.where(MASK, 0.5 * (network + 1.0) * (Q99 - Q01) + Q01, network)
    # Statistics as a file, and of a masked column that never moved.
    stats = {"action.q01": Q01, "action.q99": np.where(MASK, Q99, Q01)}
    positions = chunk(
        tmp_path,
        network,
        {"unnormalize_mask": MASK},
        {"stats.safetensors": save_safetensors(stats)},
    )
    np.testing.assert_allclose(positions, expected, atol=1e-6)


def test_eps_of_a_standard_deviation(tmp_path):
    """openpi: `(x - mean) / (std + 1e-6)`, so a column that never moved is no division by 0."""
    state = seen_state(
        tmp_path, normalize="mean_std", stats={"mean": [0.5] * 6, "std": [0.0] * 6, "eps": 1e-6}
    )
    np.testing.assert_allclose(state, (MEASURED - 0.5) / 1e-6, rtol=1e-6)


@given(
    arrays(np.float64, 4, elements=st.floats(-10, 10)),
    arrays(np.float64, 4, elements=st.floats(0.01, 10)),
    arrays(np.bool_, 4),
    arrays(np.float64, (3, 4), elements=st.floats(-10, 10)),
)
def test_a_masked_normalisation_is_undone_exactly_where_it_was_done(low, size, mask, values):
    made = Normalization.min_max(low, low + size).masked(mask)
    np.testing.assert_allclose(made.invert(made.apply(values)), values, atol=1e-9)
    np.testing.assert_array_equal(made.apply(values)[:, ~mask], values[:, ~mask])


REFUSED = {
    "a mask of another length": ({"normalize_mask": [True]}, "has 1 values for 6 columns"),
    "a mask of nothing": ({"normalize_mask": MASK, "normalize": None}, "needs normalize"),
    "numbers for truth": ({"normalize_mask": [1, 1, 1, 1, 1, 0]}, "valid boolean"),
    "clipped upside down": ({"clip": [1.0, -1.0]}, "first value must be below"),
    "a column without spread": ({"stats": {"q99": Q01.tolist()}}, "stats.observation.state.q99"),
    "several eps": ({"stats": {"eps": [1e-6, 1e-6]}}, "eps"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused_in_one_line(tmp_path, case):
    changes, expected = REFUSED[case]
    with pytest.raises(BundleError) as caught:
        seen_state(tmp_path, **changes)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
