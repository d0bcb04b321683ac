# SPDX-License-Identifier: Apache-2.0
"""Where graphs run, that nothing falls back, and what half floats and bound tensors do."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from bundle_factory import JOINTS, ROWS, document, model, value_info, write_bundle
from onnx import TensorProto, helper

from levine_policy_node.core.observation import Observation
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import BundleError
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.onnx_binding import Binding, DeviceTensor
from levine_policy_node.runtime.onnx_loader import (
    GraphFiles,
    OnnxOptions,
    declared,
    make_session,
)
from levine_policy_node.runtime.onnx_policy import OnnxPolicy
from levine_policy_node.runtime.onnx_providers import PROVIDER_NAMES, places, provider_options
from levine_policy_node.runtime.ort import RunLimit

ROBOT = load_robot("sim_so101")
GPU = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
WIDTH = len(JOINTS)
HALF = TensorProto.FLOAT16
STATE = {"observation.state": {"kind": "state/joint/position", "names": list(JOINTS)}}


def test_the_order_is_tensorrt_cuda_cpu():
    offered = ["CPUExecutionProvider", *reversed(PROVIDER_NAMES.values())]
    assert places("auto", offered) == ("tensorrt", "cuda", "cpu")
    assert places("cuda", offered) == ("cuda",)
    assert places("auto", ["AzureExecutionProvider", "CPUExecutionProvider"]) == ("cpu",)


@pytest.mark.parametrize("provider", ["tensorrt", "cuda"])
def test_what_is_not_offered_is_one_line_that_says_what_is(provider):
    with pytest.raises(BundleError) as caught:
        places(provider, ["CPUExecutionProvider"])
    assert f"'{provider}' is not offered by this ONNX Runtime, which has cpu" in str(caught.value)


def test_float32_is_not_rounded_on_a_gpu():
    assert provider_options("cuda")["use_tf32"] == "0"
    assert provider_options("tensorrt")["trt_fp16_enable"] == "0"
    assert provider_options("cuda", capture=True)["enable_cuda_graph"] == "1"
    assert provider_options("tensorrt", "/private")["trt_engine_cache_path"] == "/private"


@pytest.mark.skipif(GPU, reason="this ONNX Runtime has CUDA")
def test_a_provider_that_does_not_start_is_no_fallback(monkeypatch):
    """As an onnxruntime-gpu without its libraries: built with CUDA, and then without it."""
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: list(PROVIDER_NAMES.values())
    )
    graph = GraphFiles(half_model(), "half.onnx")
    for place in ("cuda", "tensorrt"):
        with pytest.raises(BundleError) as caught:
            make_session(graph, place, OnnxOptions())
        assert PROVIDER_NAMES[place] in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(GPU, reason="this ONNX Runtime has CUDA")
def test_auto_says_what_it_took_and_why(monkeypatch, tmp_path):
    directory = write_bundle(tmp_path, document(observations=STATE), half_model())
    policy = OnnxPolicy(load_bundle(directory), ROBOT, OnnxOptions(provider="auto"))
    policy.close()
    assert policy.place == "cpu"
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: list(PROVIDER_NAMES.values())
    )
    policy = OnnxPolicy(load_bundle(directory), ROBOT, OnnxOptions(provider="auto"))
    policy.close()
    assert policy.place.startswith("cpu; tensorrt cannot (")
    assert "; cuda cannot (" in policy.place


def half_model() -> bytes:
    """The state in every row, in half floats."""
    shape = [1, ROWS, WIDTH]
    nodes = [
        helper.make_node("Constant", [], ["shape"], value=helper.make_tensor("s", 7, [3], shape)),
        helper.make_node("Unsqueeze", ["observation.state", "one"], ["row"]),
        helper.make_node("Expand", ["row", "shape"], ["action"]),
    ]
    one = helper.make_node("Constant", [], ["one"], value=helper.make_tensor("o", 7, [1], [1]))
    state = value_info("observation.state", [1, WIDTH], HALF)
    return model([one, *nodes], [value_info("action", shape, HALF)], [state])


def test_a_graph_in_half_floats_is_given_and_gives_them(tmp_path):
    absolute = [{"kind": "target/joint/position", "names": list(JOINTS)}]
    described = document(observations=STATE, action__parts=absolute)
    policy = OnnxPolicy(load_bundle(write_bundle(tmp_path, described, half_model())), ROBOT)
    state = np.linspace(-0.3, 0.3, WIDTH)
    try:
        positions = policy.infer(Observation(StampNs(0), state, {})).positions
    finally:
        policy.close()
    np.testing.assert_array_equal(positions[0], state.astype(np.float16))


def test_half_floats_go_from_encode_to_step(tmp_path):
    """A flow whose condition is in half floats; the sample is, too."""
    shape, cond = [1, ROWS, WIDTH], [1, 1, WIDTH]
    one = helper.make_node("Constant", [], ["one"], value=helper.make_tensor("o", 7, [1], [1]))
    encode = model(
        [one, helper.make_node("Unsqueeze", ["observation.state", "one"], ["cond"])],
        [value_info("cond", cond, HALF)],
        [value_info("observation.state", [1, WIDTH], HALF)],
    )
    step = model(
        [
            helper.make_node("Sub", ["x_t", "cond"], ["gap"]),
            helper.make_node("Cast", ["timestep"], ["t"], to=HALF),
            helper.make_node("Div", ["gap", "t"], ["v_t"]),
        ],
        [value_info("v_t", shape, HALF)],
        [
            value_info("x_t", shape, HALF),
            value_info("timestep", []),
            value_info("cond", cond, HALF),
        ],
    )
    described = document(
        graphs={"encode": "encode.onnx", "step": "policy.onnx"},
        observations=STATE,
        decoder={"type": "flow", "steps": 4},
        action__parts=[{"kind": "target/joint/position", "names": list(JOINTS)}],
    )
    bundle = load_bundle(write_bundle(tmp_path, described, step, {"encode.onnx": encode}))
    policy = OnnxPolicy(bundle, ROBOT)
    state = np.linspace(-0.3, 0.3, WIDTH)
    try:
        positions = policy.infer(Observation(StampNs(0), state, {})).positions
    finally:
        policy.close()
    np.testing.assert_allclose(positions, np.tile(state, (ROWS, 1)), atol=3e-3)


def bound(graph: bytes, kept=(), *, captured=False):
    """A session on bound tensors; the CPU stands in for a GPU, the calls are the same."""
    session = make_session(GraphFiles(graph, "graph.onnx"), "cpu", OnnxOptions())
    inputs, outputs = declared(session.get_inputs()), declared(session.get_outputs())
    return session, Binding(session, inputs, outputs, kept, "cpu", captured=captured)


def doubling(shape) -> bytes:
    add = helper.make_node("Add", ["x", "x"], ["y"])
    return model([add], [value_info("y", shape)], [value_info("x", shape)])


@pytest.mark.parametrize("shape", [[2, 3], ["n", 3]])
@pytest.mark.parametrize("captured", [False, True])
def test_what_is_kept_on_the_device_goes_from_graph_to_graph(shape, captured):
    session, encode = bound(doubling(shape), ["y"])
    _, step = bound(doubling(shape).replace(b"y", b"z"), captured=captured)
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=(2, 3)).astype(np.float32)
        between = encode.run({"x": x}, RunLimit())["y"]
        assert isinstance(between, DeviceTensor)
        assert between.shape == (2, 3)
        np.testing.assert_array_equal(np.asarray(between), 2 * x)
        result = step.run({"x": between}, RunLimit())["z"]
        np.testing.assert_array_equal(result, session.run(None, {"x": 2 * x})[0])


def test_results_on_the_host_do_not_change_with_the_next_run():
    _, binding = bound(doubling([2]))
    first = binding.run({"x": np.ones(2, np.float32)}, RunLimit())["y"]
    binding.run({"x": np.zeros(2, np.float32)}, RunLimit())
    np.testing.assert_array_equal(first, [2.0, 2.0])


def test_what_is_bound_can_be_stopped():
    _, binding = bound(doubling([2]))
    limit = RunLimit()
    limit.stop()
    with pytest.raises(Exception, match="terminate"):
        binding.run({"x": np.zeros(2, np.float32)}, limit)
