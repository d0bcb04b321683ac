# SPDX-License-Identifier: Apache-2.0
"""ONNX policies: real graphs on ONNX Runtime, from observation to joint targets."""

from __future__ import annotations

import threading

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from bundle_factory import (
    JOINTS,
    RAMP,
    ROWS,
    SIZE,
    constant,
    dark_endless_model,
    dark_invalid_model,
    document,
    inputs,
    invalid_model,
    model,
    ramp_model,
    value_info,
    write_bundle,
)
from onnx import TensorProto, helper

from levine_policy_node.core.observation import Observation
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import BundleError, InferenceError
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.onnx_loader import OnnxOptions

ROBOT = load_robot("sim_so101")


def observation(brightness: int = 51) -> Observation:
    pixels = np.full((96, 96, 3), brightness, dtype=np.uint8)
    return Observation(
        StampNs(123_000_000), np.linspace(-0.2, 0.2, 6), {"front": pixels, "wrist": pixels}
    )


@pytest.fixture
def make(load_written):
    def policy(described=None, graph=None, options=None, files=None):
        return load_written(
            lambda folder: write_bundle(folder, described, graph, files), ROBOT, options
        )

    return policy


def refusal(make, described=None, graph=None, options=None) -> str:
    with pytest.raises(BundleError) as caught:
        make(described, graph, options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def ramp(brightness: int = 51):
    rows = RAMP * np.arange(1, ROWS + 1)[:, None] * np.ones(6)
    rows[:, -1] += 2 * brightness / 255
    return rows


def test_a_relative_chunk_starts_from_the_measured_joints(make):
    policy = make()
    chunk = policy.infer(observation())
    np.testing.assert_allclose(chunk.positions, observation().joint_positions + ramp(), atol=1e-6)
    assert chunk.joint_names == ROBOT.joint_names
    assert chunk.observed_ns == 123_000_000
    assert chunk.dt_s == pytest.approx(0.1)
    assert chunk.row_stamp(0) == 223_000_000
    assert chunk.source == policy.source == policy.bundle.source


def test_absolute_parts_in_any_order_are_bound_by_name(make):
    parts = [
        {"kind": "target/joint/position", "names": ["gripper", "wrist_roll"]},
        {
            "kind": "target/joint/position",
            "names": list(JOINTS[:4]),
            "mode": "relative",
            "scale": 2.0,
            "offset": 0.1,
        },
    ]
    chunk = make(document(action__parts=parts)).infer(observation())
    rows = ramp()
    expected = np.column_stack(
        [
            2.0 * rows[:, 2:] + 0.1 + observation().joint_positions[:4],
            rows[:, 1],
            rows[:, 0],
        ]
    )
    np.testing.assert_allclose(chunk.positions, expected, atol=1e-6)


def test_normalised_actions_are_undone_with_the_statistics(make):
    described = document(
        action__normalize="mean_std",
        stats={"action": {"mean": [1.0] * 6, "std": [10.0] * 6}},
        action__parts=[{"kind": "target/joint/position", "names": list(JOINTS)}],
    )
    chunk = make(described).infer(observation())
    np.testing.assert_allclose(chunk.positions, 10.0 * ramp() + 1.0, atol=1e-5)


def test_rows_before_start_are_cut(make):
    policy = make(document(chunk__start=3))
    chunk = policy.infer(observation())
    np.testing.assert_allclose(
        chunk.positions, observation().joint_positions + ramp()[3:], atol=1e-6
    )


def test_a_single_action_is_a_chunk_of_one_row(make):
    graph = model([constant("action", np.zeros((1, 6)))], [value_info("action", [1, 6])])
    policy = make(document(chunk={"size": 1, "execute": 1}), graph)
    assert policy.infer(observation()).positions.shape == (1, 6)


def test_a_target_stands_for_as_long_as_the_bundle_says(make):
    graph = model([constant("action", 0.1 * np.ones((1, 6)))], [value_info("action", [1, 6])])
    policy = make(document(chunk={"size": 1, "hold": 0.3}), graph)
    positions = policy.infer(observation()).positions
    expected = np.tile(observation().joint_positions + 0.1, (1 + 3, 1))
    np.testing.assert_allclose(positions, expected, atol=1e-6)


def test_dynamic_axes_and_a_single_unnamed_output_are_accepted(make):
    extra = [value_info("observation.state", ["batch", 6]), *inputs()[1:]]
    graph = model(
        [constant("action", np.zeros((1, ROWS, 6)))],
        [value_info("action", ["batch", ROWS, 6])],
        extra,
    )
    assert make(document(decoder={"type": "direct"}), graph).infer(observation())


def test_uint8_images_go_in_as_they_are(make):
    extra = [
        inputs()[0],
        value_info("observation.images.front", [1, SIZE, SIZE, 3], TensorProto.UINT8),
        inputs()[2],
    ]
    image = {"size": [SIZE, SIZE], "layout": "hwc", "dtype": "uint8"}
    described = document(**{"observations__observation.images.front__image": image})
    graph = model([constant("action", np.zeros((1, ROWS, 6)))], extra=extra)
    assert make(described, graph).infer(observation()).positions.shape == (ROWS, 6)


def test_weights_may_lie_in_a_file_beside_the_graph(make, tmp_path):
    weights = onnx.load_model_from_string(ramp_model())
    tensor = onnx.numpy_helper.from_array(np.full((1, ROWS, 6), 0.25, np.float32), name="weights")
    weights.graph.initializer.append(tensor)
    weights.graph.node.append(helper.make_node("Identity", ["weights"], ["other"]))
    weights.graph.output.append(value_info("other", [1, ROWS, 6]))
    onnx.save(
        weights,
        tmp_path / "external.onnx",
        save_as_external_data=True,
        location="policy.onnx.data",
        size_threshold=0,
    )
    parts = (document(decoder__output="other"), (tmp_path / "external.onnx").read_bytes())
    files = {"policy.onnx.data": (tmp_path / "policy.onnx.data").read_bytes()}
    if not hasattr(ort.SessionOptions, "add_external_initializers_from_files_in_memory"):
        with pytest.raises(BundleError, match="weights in other files"):
            make(*parts, files=files)
        return
    policy = make(*parts, files=files)
    chunk = policy.infer(observation())
    measured = observation().joint_positions
    np.testing.assert_allclose(chunk.positions, np.tile(measured + 0.25, (ROWS, 1)))


GRAPHS = {
    "not an ONNX file": (None, b"MZ not a graph", "is not a readable ONNX file"),
    "an input that is not described": (
        {"observations__observation.images.wrist": None},
        None,
        "input observation.images.wrist: nothing feeds it",
    ),
    "an observation without input": (
        {"observations__extra": {"kind": "state/joint/velocity", "names": ["gripper"]}},
        None,
        "observations: no graph has the input extra",
    ),
    "another image size": (
        {"observations__observation.images.front__image__size": [9, 9]},
        None,
        "input observation.images.front: is float32 of shape [1, 3, 8, 8]",
    ),
    "another image type": (
        {"observations__observation.images.front__image": {"size": [8, 8], "dtype": "uint8"}},
        None,
        "the observation gives uint8",
    ),
    "another number of joints": (
        {"observations__observation.state__names": ["gripper"]},
        None,
        "input observation.state",
    ),
    "an unknown output": ({"decoder__output": "mean"}, None, "'mean' is not an output"),
    "another chunk size": ({"chunk__size": 9}, None, "output action: has shape [1, 8, 6]"),
    "an output that is never finite": (None, invalid_model(), "is not finite"),
    "another robot": ({"robot": "ur5e"}, None, "was made for 'ur5e'"),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_a_graph_that_does_not_fit_is_refused_in_one_line(make, case):
    changes, graph, expected = GRAPHS[case]
    described = document(**changes) if changes else None
    assert expected in refusal(make, described, graph)


def test_several_outputs_need_a_name(make):
    graph = model(
        [constant("a", np.zeros((1, ROWS, 6))), constant("b", np.zeros((1, ROWS, 6)))],
        [value_info("a", [1, ROWS, 6]), value_info("b", [1, ROWS, 6])],
    )
    message = refusal(make, document(decoder={"type": "direct"}), graph)
    assert "decoder.output: is needed. Outputs: a, b" in message


def test_a_provider_that_is_not_there_is_an_error_not_a_fallback(make):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    message = refusal(make, options=OnnxOptions(provider="cuda"))
    assert "'cuda' is not offered" in message


def test_an_output_that_is_not_finite_is_an_inference_error(make):
    policy = make(graph=dark_invalid_model())
    with pytest.raises(InferenceError, match="not finite"):
        policy.infer(observation(0))
    assert policy.infer(observation(51)).positions.shape == (ROWS, 6)


def test_an_endless_graph_is_stopped_and_the_policy_lives_on(make):
    policy = make(graph=dark_endless_model(), options=OnnxOptions(timeout_s=0.2))
    with pytest.raises(InferenceError, match="ran longer than"):
        policy.infer(observation(0))
    assert policy.infer(observation(51)).positions.shape == (ROWS, 6)


def test_an_endless_warm_up_is_refused(make):
    endless = dark_endless_model()
    # Warm-up images are never dark; turn the graph's condition around.
    graph = onnx.load_model_from_string(endless)
    node = next(n for n in graph.graph.node if n.op_type == "LessOrEqual")
    node.input[0], node.input[1] = node.input[1], node.input[0]
    message = refusal(make, None, graph.SerializeToString(), OnnxOptions(timeout_s=0.2))
    assert "fails on a plausible observation" in message
    assert "ran longer than" in message


def test_no_thread_is_left_after_close_or_refusal(make):
    before = threading.active_count()
    make().close()
    refusal(make, document(chunk__size=9))
    assert threading.active_count() == before
