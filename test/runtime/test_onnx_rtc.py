# SPDX-License-Identifier: Apache-2.0
"""Flow policies and real-time chunking on real graphs, in all three forms."""

from __future__ import annotations

import numpy as np
import pytest
from bundle_factory import (
    JOINTS,
    RAMP,
    ROWS,
    constant,
    document,
    encode_model,
    flow_document,
    flow_model,
    model,
    prefix_document,
    prefix_model,
    ramp_model,
    value_info,
    write_bundle,
)
from onnx import TensorProto

from levine_policy_node.core.action_prefix import ActionPrefix
from levine_policy_node.core.observation import Observation
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import BundleError, InferenceError
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.merge_choice import MergeChoice, merge_options, prefix_options
from levine_policy_node.runtime.onnx_loader import OnnxOptions

ROBOT = load_robot("sim_so101")
MEASURED = np.linspace(-0.2, 0.2, 6)
DELAY = 3
PREFIX = ActionPrefix(MEASURED + 0.1 * np.sin(np.arange(5.0))[:, None], delay_rows=DELAY)


def observation(brightness: int = 51) -> Observation:
    pixels = np.full((96, 96, 3), brightness, dtype=np.uint8)
    return Observation(StampNs(123_000_000), MEASURED, {"front": pixels, "wrist": pixels})


def ramp(brightness: int = 51) -> np.ndarray:
    rows = RAMP * np.arange(1, ROWS + 1)[:, None] * np.ones(6)
    rows[:, -1] += 2 * brightness / 255
    return MEASURED + rows


@pytest.fixture
def make(load_written):
    def policy(described, graph, encode=True, options=None):
        files = {"encode.onnx": encode_model()} if encode else {}
        return load_written(
            lambda folder: write_bundle(folder, described, graph, files), ROBOT, options
        )

    return policy


@pytest.fixture
def load(tmp_path):
    def loaded(described, graph=None, files=None):
        return load_bundle(write_bundle(tmp_path / "loaded", described, graph, files))

    return loaded


def test_encode_and_step_make_a_chunk(make):
    policy = make(flow_document(), flow_model())
    chunk = policy.infer(observation())
    np.testing.assert_allclose(chunk.positions, ramp(), atol=1e-5)
    assert chunk.delay_rows is None
    assert policy.graph_s > 0.0


@pytest.mark.parametrize("time", [(), (1,), ("batch",), (1, ROWS), ("batch", "rows")])
def test_a_flow_time_has_the_shape_that_the_graph_declares(make, time):
    described = flow_document(chunk__rtc={"mode": "guided"})
    chunk = make(described, flow_model(time=time)).infer(observation())
    np.testing.assert_allclose(chunk.positions, ramp(), atol=1e-5)


def test_padded_columns_are_cut(make):
    described = flow_document(decoder__shape=[ROWS, 32])
    chunk = make(described, flow_model(width=32)).infer(observation(), PREFIX)
    assert chunk.positions.shape == (ROWS, 6)
    np.testing.assert_allclose(chunk.positions[DELAY:], ramp()[DELAY:], atol=1e-5)


@pytest.mark.parametrize("stats", [None, {"mean": [0.3] * 6, "std": [2.0] * 6}])
def test_trained_rows_that_are_decided_come_back_as_they_are(make, stats):
    described = flow_document()
    if stats is not None:
        described["action"]["normalize"] = "mean_std"
        described["stats"] = {"action": stats}
    chunk = make(described, flow_model()).infer(observation(), PREFIX)
    np.testing.assert_allclose(chunk.positions[:DELAY], PREFIX.rows[:DELAY], atol=1e-6)
    free = make(described, flow_model()).infer(observation())
    np.testing.assert_allclose(chunk.positions[DELAY:], free.positions[DELAY:], atol=1e-5)
    assert chunk.delay_rows == DELAY


def test_guided_rows_are_drawn_towards_the_prefix(make):
    described = flow_document(chunk__rtc={"mode": "guided", "execution_horizon": 5})
    chunk = make(described, flow_model(time=(1,))).infer(observation(), PREFIX)
    # This flow always sees the ramp at its end, so what remains is the guidance of the last of
    # five steps: (t^2 + (1-t)^2) / (t (1-t)) at t = 0.2, times a fifth, times the weight.
    share = 0.68 / 0.16 / 5 * np.array([1, 1, 1, 2 / 3, 1 / 3, 0, 0, 0])[:, None]
    prefix = np.vstack([PREFIX.rows, np.zeros((3, 6))])
    expected = (1.0 - share) * ramp() + share * prefix
    np.testing.assert_allclose(chunk.positions, expected, atol=1e-5)
    assert chunk.delay_rows == DELAY


@pytest.mark.parametrize("dtype", [TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT])
def test_a_graph_gets_prefix_and_delay(make, dtype):
    policy = make(prefix_document(), prefix_model(dtype), encode=False)
    chunk = policy.infer(observation(), PREFIX)
    np.testing.assert_allclose(chunk.positions[:DELAY], PREFIX.rows[:DELAY], atol=1e-6)
    rows = MEASURED + RAMP * np.arange(1, ROWS + 1)[:, None]
    np.testing.assert_allclose(chunk.positions[DELAY:], rows[DELAY:], atol=0.006)
    free = policy.infer(observation())
    np.testing.assert_allclose(free.positions, rows, atol=0.006)


@pytest.mark.parametrize("form", ["flow", "graph"])
def test_the_same_inputs_since_a_reset_give_the_same_bits(make, form):
    if form == "flow":
        policy = make(flow_document(decoder__steps=3), flow_model())
    else:
        policy = make(prefix_document(), prefix_model(), encode=False)
    runs = []
    for _ in range(2):
        policy.reset()
        runs.append([policy.infer(observation(), p).positions for p in (None, PREFIX, None)])
    np.testing.assert_array_equal(*runs)
    if form == "graph":
        assert not np.array_equal(runs[0][0], runs[0][2])


def test_inputs_of_the_runtime_may_have_other_names(make):
    described = prefix_document()
    observed = described["observations"]
    observed["x0"] = {"kind": "policy/noise", "tensor": "noise"}
    # A synonym is found without being named.
    observed["inference_delay"] = {"kind": "policy/inference_delay"}
    del observed["noise"], observed["delay"]
    assert make(described, prefix_model(), encode=False).infer(observation(), PREFIX)


def _without(described, *keys):
    for key in keys:
        del described["observations"][key]
    return described


REFUSED = {
    "a time per sample for hard prefixes": (
        flow_document(),
        lambda: flow_model(time=(1,)),
        "chunk.rtc.mode trained needs a time per row, [1, 8]",
    ),
    "a time of another shape": (
        flow_document(),
        lambda: flow_model(time=(1, ROWS, 1)),
        "but a flow time is float32 of shape [1] or [1, 8]",
    ),
    "a sample of another width": (
        flow_document(),
        lambda: flow_model(width=7),
        "input x_t: is float32 of shape [1, 8, 7], but the decoder's sample",
    ),
    "a sample input that is not there": (
        flow_document(decoder__x="x"),
        flow_model,
        "input x_t: nothing feeds it; policy.yaml gives cond",
    ),
    "a velocity that is not there": (
        flow_document(decoder__velocity="v"),
        flow_model,
        "decoder.velocity: 'v' is not an output of the graph. Outputs: v_t",
    ),
    "an input that nobody feeds": (
        flow_document(graphs={"step": "policy.onnx"}),
        flow_model,
        "input cond: nothing feeds it",
    ),
    "an observation that encode also gives": (
        flow_document(observations__cond={"kind": "state/joint/position", "names": ["gripper"]}),
        flow_model,
        "input cond: is fed by policy.yaml and by the decoder",
    ),
    "no input for the noise": (
        flow_document(observations__noise={"kind": "policy/noise"}),
        flow_model,
        "observations.noise: no graph has an input noise for policy/noise",
    ),
    "a delay of another type": (
        prefix_document(observations__delay__dtype="int32"),
        prefix_model,
        "input delay: is int64 of shape [1], but policy/inference_delay is int32",
    ),
    "a prefix of another width": (
        prefix_document(observations__action_prefix__dim=7),
        prefix_model,
        "input action_prefix: is float32 of shape [1, 8, 6], but policy/action_prefix gives",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_graphs_that_do_not_fit_are_refused_in_one_line(make, case):
    described, graph, expected = REFUSED[case]
    encode = "encode" in described["graphs"]
    with pytest.raises(BundleError) as caught:
        make(described, graph(), encode=encode)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


DOCUMENTS = {
    "encode without a flow": (
        document(graphs={"encode": "encode.onnx", "step": "policy.onnx"}),
        "decoder direct runs step only",
    ),
    "rows of another number": (flow_document(decoder__shape=[9, 6]), "must have chunk.size 8"),
    "fewer columns": (flow_document(decoder__shape=[8, 5]), "at least the 6 columns"),
    "no steps": (flow_document(decoder__steps=0), "decoder.steps"),
    "trained without its delay": (flow_document(chunk__rtc={"mode": "trained"}), "max_delay"),
    "a delay as long as the chunk": (
        flow_document(chunk__rtc={"mode": "trained", "max_delay": 8}),
        "must be below size 8",
    ),
    "a schedule that trained does not have": (
        flow_document(chunk__rtc={"mode": "trained", "max_delay": 2, "schedule": "exp"}),
        "mode trained does not use schedule",
    ),
    "an unknown schedule": (
        flow_document(chunk__rtc={"mode": "guided", "schedule": "cosine"}),
        "'cosine' is not supported",
    ),
    "guided without a flow": (
        prefix_document(chunk__rtc={"mode": "guided"}),
        "chunk.rtc.mode guided needs decoder flow",
    ),
    "a graph without prefix": (
        flow_document(chunk__rtc={"mode": "graph"}),
        "chunk.rtc.mode graph needs observations",
    ),
    "rtc of what cannot": (document(chunk__merge="rtc"), "it has neither decoder flow nor"),
    "no input for the prefix": (
        _without(prefix_document(), "action_prefix"),
        "it has neither decoder flow nor",
    ),
    "velocities": (
        flow_document(action__parts=[{"kind": "target/joint/velocity", "names": list(JOINTS)}]),
        "its actions are velocities",
    ),
    "rtc and an ensemble": (flow_document(chunk__ensemble=0.01), "choose one with merge"),
    "a scale that cannot be undone": (
        flow_document(
            action__parts=[{"kind": "target/joint/position", "names": list(JOINTS), "scale": 0.0}]
        ),
        "a scale of its actions is 0",
    ),
    "an unknown decoder": (document(decoder={"type": "wavelet"}), "'wavelet' is not supported"),
}


@pytest.mark.parametrize("case", DOCUMENTS)
def test_documents_that_contradict_themselves_are_refused_in_one_line(load, case):
    described, expected = DOCUMENTS[case]
    with pytest.raises(BundleError) as caught:
        load(described, ramp_model(), {"encode.onnx": encode_model()})
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def rule(bundle, asked="bundle"):
    options = merge_options(bundle.document.chunk, ROBOT, MergeChoice(rule=asked))
    return options.rule, prefix_options(bundle, options)


def test_a_bundle_with_the_section_uses_it_unless_told_otherwise(load):
    bundle = load(flow_document(), flow_model(), {"encode.onnx": encode_model()})
    name, prefix = rule(bundle)
    assert name == "rtc"
    assert (prefix.rows, prefix.start, prefix.max_delay) == (ROWS, 0, 4)
    assert prefix.dt_s == pytest.approx(0.1)
    assert rule(bundle, "blend") == ("blend", None)


def test_a_flow_without_the_section_blends_but_can_be_guided(load):
    described = flow_document()
    del described["chunk"]["rtc"]
    bundle = load(described, flow_model(), {"encode.onnx": encode_model()})
    assert rule(bundle) == ("blend", None)
    assert rule(bundle, "rtc")[1].max_delay is None
    assert bundle.document.rtc.mode == "guided"


def test_a_graph_that_takes_a_prefix_needs_no_section(load):
    described = prefix_document()
    del described["chunk"]["rtc"]
    bundle = load(described, prefix_model())
    assert rule(bundle, "rtc")[1] is not None
    assert bundle.document.rtc.mode == "graph"


def test_rtc_of_a_policy_that_cannot_is_refused_at_startup(load):
    bundle = load(document())
    with pytest.raises(BundleError, match="merge rtc is asked for, but this policy cannot") as e:
        rule(bundle, "rtc")
    assert "\n" not in str(e.value)


def test_a_flow_that_is_never_finite_is_refused(make):
    nan = model(
        [constant("v_t", np.full((1, ROWS, 6), np.nan))],
        [value_info("v_t", [1, ROWS, 6])],
        [
            value_info("x_t", [1, ROWS, 6]),
            value_info("timestep", [1, ROWS]),
            value_info("cond", [1, 1]),
        ],
    )
    with pytest.raises(BundleError, match="is not finite"):
        make(flow_document(), nan)


def test_all_steps_together_have_the_time_of_one_inference(make):
    options = OnnxOptions(timeout_s=0.005)
    with pytest.raises(BundleError, match=r"ran longer than 0.005 s"):
        make(flow_document(decoder__steps=1000), flow_model(), options=options)


def test_a_prefix_that_is_not_finite_is_an_inference_error(make):
    policy = make(flow_document(), flow_model())
    with pytest.raises(InferenceError, match="not finite"):
        policy.infer(observation(), ActionPrefix(np.full((3, 6), np.nan), 2))
