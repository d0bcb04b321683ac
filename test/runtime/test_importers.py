# SPDX-License-Identifier: Apache-2.0
"""What labs already export: from their files to the right joint targets, through ONNX Runtime."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import export_factory as exports
import numpy as np
import pytest
import yaml
from bundle_factory import (
    JOINTS,
    ROWS,
    encode_model,
    flow_document,
    flow_model,
    write_bundle,
)
from export_factory import DEFAULT, MEAN, ORDER, SCALE, STD, N
from nested import replaced
from onnx import TensorProto, helper, numpy_helper

from levine_policy_node.cli.main import main
from levine_policy_node.core.observation import Observation
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import BundleError
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.bundle import draft_bundle, find_bundle, load_bundle
from levine_policy_node.runtime.draft_file import write_draft
from levine_policy_node.runtime.importers.draft import Draft, gaps
from levine_policy_node.runtime.onnx_policy import OnnxPolicy

ROBOT = load_robot("sim_so101")
MEASURED = np.linspace(-0.2, 0.3, N)
VELOCITY = np.linspace(0.1, -0.4, N)
BRIGHT = 51
INDEX = [ROBOT.joint_names.index(name) for name in ORDER]
Q, V = MEASURED[INDEX], VELOCITY[INDEX]
DEGREE = np.pi / 180.0
TARGETS = [{"kind": "target/joint/position", "names": list(JOINTS)}]


def draft(path: Path) -> Draft:
    return draft_bundle(*find_bundle(path))


def infer(policy: OnnxPolicy, call: int = 0) -> np.ndarray:
    """Targets in the order of the export, shape (T, N), one period after the call before."""
    period = round(1e9 / policy.bundle.document.rate)
    pixels = np.full((96, 96, 3), BRIGHT, dtype=np.uint8)
    images = dict.fromkeys(policy.bundle.cameras, pixels)
    seen = Observation(StampNs(1 + call * period), MEASURED, images, VELOCITY)
    return policy.infer(seen).positions[:, INDEX]


def filled(path: Path, **values: Any) -> Path:
    """Write the draft and fill in its gaps; `a__b=value` is a nested field."""
    written = write_draft(path, ROBOT.model)
    document = yaml.safe_load(written.path.read_text())
    replaced(document, values)
    written.path.write_text(yaml.safe_dump(document, sort_keys=False))
    return written.path.parent


def run(path: Path, calls: int = 1) -> np.ndarray:
    """Targets of the last of some inferences."""
    policy = OnnxPolicy(load_bundle(path), ROBOT)
    try:
        return [infer(policy, call) for call in range(calls)][-1]
    finally:
        policy.close()


def missing(path: Path) -> set[str]:
    return {field for field, _ in gaps(draft(path).document)}


def refusal(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(path)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 700
    return message


IN_DEGREES = {
    "rate": 10,
    "observations__observation.state__scale": 1 / DEGREE,
    "action__parts__0__scale": DEGREE,
}
STATE = "observations.observation.state"


# ---------------------------------------------------------------------------- policy_package


def act(state: np.ndarray, bright: float = BRIGHT / 255) -> np.ndarray:
    """What `lerobot_actor` gives, shape (4, N)."""
    return 0.5 * state + bright + 0.01 * np.arange(4)[:, None]


def test_a_policy_package_of_lerobot(tmp_path):
    path = exports.policy_package(tmp_path / "act")
    assert draft(path).origin == "policy_package (manifest.json has format: policy_package)"
    assert missing(path) == {"rate", f"{STATE}.scale", "action.parts.0.scale"}
    message = refusal(path)
    for text in ("manifest.json", "rate", "action.parts.0.scale", "--write"):
        assert text in message
    bundle = load_bundle(filled(path, **IN_DEGREES))
    assert bundle.document.robot == "so101"
    assert bundle.document.chunk.execute == 2
    network = act((Q / DEGREE - MEAN) / (STD + 1e-8))
    expected = (network * STD / 2 - MEAN) * DEGREE
    np.testing.assert_allclose(run(path), expected, atol=1e-5)


def test_a_policy_package_of_physicalai(tmp_path):
    path = exports.physicalai_package(tmp_path / "act")
    assert missing(path) == {"rate", "observations.state.scale", "action.parts.0.scale"}
    filled(path, rate=10, observations__state__scale=1 / DEGREE, action__parts__0__scale=DEGREE)
    assert load_bundle(path).document.chunk.execute == 2
    network = act((Q / DEGREE - MEAN) / (STD + 1e-8))
    np.testing.assert_allclose(run(path), (network * STD / 2 - MEAN) * DEGREE, atol=1e-5)


def test_physicalai_carries_its_own_minimum_and_maximum(tmp_path):
    described = exports.manifest()
    described["model"]["preprocessors"][0]["mode"] = "min_max"
    described["model"]["postprocessors"][0]["mode"] = "quantiles"
    path = exports.policy_package(tmp_path / "act", described)
    filled(path, **IN_DEGREES)
    low, high = -STD, 3 * STD
    network = act(2 * (Q / DEGREE - low) / (high - low) - 1)
    np.testing.assert_allclose(run(path), network * STD * DEGREE, atol=1e-5)


def test_a_flow_of_lerobot_is_denoised_like_the_bundle_of_the_same_graphs(tmp_path):
    graphs = {"encoder.onnx": encode_model(), "denoise.onnx": flow_model(time=(1,))}
    arm = {"shape": [N], "order": [f"{name}.pos" for name in JOINTS]}
    described = exports.manifest(
        runner={"type": "kv_cache", "num_inference_steps": 5, "chunk_size": ROWS,
                "action_dim": N, "scheduler": "euler", "n_action_steps": 2},
        artifacts={"encoder": "encoder.onnx", "denoise": "denoise.onnx"},
        preprocessors=[], postprocessors=[],
    )  # fmt: skip
    described["hardware"]["robots"][0].update(state=arm, action=arm)
    path = exports.write(tmp_path / "flow", {**graphs, "manifest.json": json.dumps(described)})
    filled(
        path,
        rate=10,
        **{"observations__observation.state__scale": 1.0},
        action__parts__0__scale=1.0,
    )
    native = write_bundle(
        tmp_path / "native",
        flow_document(action__parts=TARGETS, chunk={"size": ROWS, "execute": 2}),
        flow_model(time=(1,)),
        {"encode.onnx": encode_model()},
    )
    ramp = run(native)
    assert np.ptp(ramp) > 0.05
    np.testing.assert_array_equal(run(path), ramp)


def at(described: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    """The mapping with one nested field replaced."""
    *parents, last = [int(part) if part.isdigit() else part for part in field.split(".")]
    target: Any = described
    for parent in parents:
        target = target[parent]
    if isinstance(target, list) and last == len(target):
        target.append(value)
    else:
        target[last] = value
    return described


MANIFESTS = {
    "other version": ("version", "2.0", "version: is not 1.x"),
    "history": ("model.n_obs_steps", 2, "n_obs_steps: a history"),
    "unknown runner": ("model.runner.type", "world_model", "'world_model' cannot be"),
    "a class of anybody's": (
        "model.runner",
        {"class_path": "os.system", "init_args": {"command": "true"}},
        "class_path: 'os.system' cannot be represented",
    ),
    "unknown step": ("model.preprocessors.1", {"type": "resize"}, "type: 'resize' cannot be"),
    "unknown mode": ("model.preprocessors.0.mode", "log", "mode 'log' is not supported"),
    "mask": ("model.postprocessors.0.mask", [True], "mask: is not a field"),
    "no statistics": ("model.preprocessors.0.features", ["observation.images.front", "x"], "'x'"),
    "file that is not there": ("model.artifacts.model", "other.onnx", "is no ONNX file"),
    "path out of the folder": ("model.artifacts.model", "../model.onnx", "is no ONNX file"),
    "two arms": ("hardware.robots.1", {"name": "left"}, "robots: has 2; one can be"),
    "another width": ("hardware.robots.0.state.order", ["a", "b"], "describes 2 column(s)"),
    "a name twice": ("hardware.robots.0.action.order", ["a"] * N, "order: has a name twice"),
    "other rows": ("model.runner.chunk_size", 5, "the export says 5 row(s)"),
    "callback": ("model.callbacks", [{"type": "rldx1_vtc"}], "'rldx1_vtc' cannot be"),
    "unknown field": ("model.quantisation", "int8", "quantisation: is not a field"),
    "text for a mapping": ("model.runner", "fast", "runner: expected a mapping"),
    "only OpenVINO": ("model.artifacts", {"openvino": "x.xml"}, "Export for the backend onnx"),
    "other format": ("format", "other", "has no format: policy_package"),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_policy_package_that_cannot_be_represented_is_refused(tmp_path, case):
    field, value, expected = MANIFESTS[case]
    described = at(exports.manifest(), field, value)
    message = refusal(exports.policy_package(tmp_path / "act", described))
    assert expected in message
    assert "manifest.json" in message or ".onnx" in message


def test_a_model_package_of_onnx_runtime_is_told_apart(tmp_path):
    described = {"schema_version": 1, "components": {}}
    message = refusal(exports.policy_package(tmp_path / "x", described))
    assert "model package of ONNX Runtime" in message


# ----------------------------------------------------------------------------------- LeRobot


LEROBOT = {
    **IN_DEGREES,
    "observations__observation.state__kind": "state/joint/position",
    "observations__observation.state__names": list(ORDER),
    "action__parts__0__kind": "target/joint/position",
    "action__parts__0__names": list(ORDER),
}


def test_a_checkpoint_of_lerobot(tmp_path):
    path = exports.write_lerobot(tmp_path / "act")
    assert draft(path).importer == "lerobot"
    assert missing(path) >= {"robot", "rate", f"{STATE}.names", "action.parts.0.kind"}
    document = load_bundle(filled(path, **LEROBOT)).document
    assert (document.chunk.size, document.chunk.execute) == (4, 3)
    low, high = -STD, 3 * STD
    bright = (BRIGHT / 255 - 0.25) / 0.5
    network = act(2 * (Q / DEGREE - low) / (high - low) - 1, bright)
    np.testing.assert_allclose(run(path), network * STD * DEGREE, atol=1e-5)


def test_relative_actions_and_renamed_cameras_of_lerobot(tmp_path):
    files = exports.lerobot_files()
    before = files["policy_preprocessor.json"]["steps"]
    before[0]["config"]["rename_map"] = {"observation.images.wrist": "observation.images.front"}
    relative = {"enabled": True, "exclude_joints": [], "action_names": None}
    before.insert(3, {"registry_name": "relative_actions_processor", "config": relative})
    after = files["policy_postprocessor.json"]["steps"]
    after.insert(1, {"registry_name": "absolute_actions_processor", "config": {"enabled": True}})
    path = exports.write_lerobot(tmp_path / "act", files)
    document = load_bundle(filled(path, **LEROBOT)).document
    assert document.cameras == {"observation.images.front": "wrist"}
    assert document.action.parts[0].mode == "relative"
    del after[1]
    other = exports.write_lerobot(tmp_path / "other", files)
    assert "relative and absolute" in refusal(other)


LEROBOTS = {
    "a step nobody knows": (
        "policy_preprocessor.json", "steps.1.registry_name", "tokenizer_processor",
        "'tokenizer_processor' cannot be represented",
    ),
    "a class of anybody's": (
        "policy_preprocessor.json", "steps.1", {"class": "os.system", "config": {}},
        "'os.system' cannot be represented",
    ),
    "history": ("config.json", "n_obs_steps", 2, "n_obs_steps: a history"),
    "no statistics": (
        "policy_preprocessor.json", "steps.3.config.norm_map.STATE", "QUANTILE10",
        "no observation.state.q10",
    ),
    "statistics lost": (
        "policy_postprocessor.json", "steps.0.state_file", "x.safetensors", "is not in the folder",
    ),
    "statistics elsewhere": (
        "policy_postprocessor.json", "steps.0.state_file", "../x.safetensors",
        "is not in the folder",
    ),
    "normalised twice": (
        "policy_preprocessor.json", "steps.4",
        exports.lerobot_files()["policy_preprocessor.json"]["steps"][3], "is normalised twice",
    ),
    "some joints relative": (
        "policy_preprocessor.json", "steps.2",
        {"registry_name": "relative_actions_processor",
         "config": {"enabled": True, "exclude_joints": ["gripper"]}},
        "exclude_joints",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LEROBOTS)
def test_a_checkpoint_that_cannot_be_represented_is_refused(tmp_path, case):
    file, field, value, expected = LEROBOTS[case]
    files = exports.lerobot_files()
    at(files[file], field, value)
    assert expected in refusal(exports.write_lerobot(tmp_path / "act", files))


@pytest.mark.parametrize("lost", ["policy_preprocessor.json", "policy_postprocessor.json"])
def test_a_checkpoint_without_its_processors_is_refused(tmp_path, lost):
    files = exports.lerobot_files()
    del files[lost]
    message = refusal(exports.write_lerobot(tmp_path / "act", files))
    assert lost in message
    assert "is missing" in message


# ------------------------------------------------------------------ mjlab, Isaac Lab, rsl_rl


def test_an_actor_of_mjlab(tmp_path):
    path = exports.mjlab(tmp_path / "reach")
    made = draft(path)
    assert made.importer == "mjlab"
    assert any("three decimals" in note for note in made.notes)
    assert any("stiffness" in note for note in made.notes)
    assert missing(path) == {"robot", "rate"}
    filled(path, rate=50)
    network = 0.5 * 2.0 * (Q - DEFAULT) + 0.25 * 0.1 * V
    np.testing.assert_allclose(run(path)[0], DEFAULT + np.array(SCALE) * network, atol=1e-6)


def test_an_actor_of_mjlab_that_sees_its_last_action(tmp_path):
    path = exports.mjlab(
        tmp_path / "reach",
        observation_names="actions,joint_pos",
        observation_terms_scale="1.000,1.000",
    )
    filled(path, rate=50)
    first = 0.25 * (Q - DEFAULT)
    third = 0.5 * (0.5 * first + first) + first
    for calls, network in ((1, first), (3, third)):
        np.testing.assert_allclose(run(path, calls)[0], DEFAULT + SCALE * network, atol=1e-6)


def test_metadata_may_be_json_and_scales_one_number(tmp_path):
    path = exports.mjlab(
        tmp_path / "reach",
        joint_names=json.dumps(ORDER),
        default_joint_pos=json.dumps(DEFAULT),
        action_scale="0.25",
        observation_terms_clip="-",
    )
    filled(path, rate=50)
    network = 0.5 * 2.0 * (Q - DEFAULT) + 0.25 * 0.1 * V
    np.testing.assert_allclose(run(path)[0], DEFAULT + 0.25 * network, atol=1e-6)


MJLAB = {
    "a term nobody observes": ({"observation_names": "joint_pos,command"}, "command/body/velo"),
    "a term of the task's own": ({"observation_names": "joint_pos,ee_to_cube"}, "ee_to_cube"),
    "too few terms": (
        {"observation_names": "joint_pos", "observation_terms_scale": "1.000",
         "observation_terms_history_length": "0.000", "observation_terms_clip": "-inf;inf"},
        "describes 6 column(s), but the graph has 12",
    ),
    "history": ({"observation_terms_history_length": "3.000,0.000"}, "needs a history"),
    "clip": ({"observation_terms_clip": "-1.000;1.000,-inf;inf"}, "clips cannot be"),
    "old clip": ({"observation_term_clip": "-1.000;1.000,-inf;inf"}, "clips cannot be"),
    "joints of another arm": ({"joint_names": "a,b"}, "describes 2 column(s)"),
    "defaults of another arm": ({"default_joint_pos": "0.1,0.2"}, "has 2 values, expected 6"),
    "not a number": ({"action_scale": "1,2,3,4,5,nan"}, "action_scale: is not a finite number"),
    "text": ({"action_scale": "a,b,c,d,e,f"}, "action_scale: expected a number"),
    "a joint twice": ({"joint_names": ",".join(["a"] * N)}, "has a name twice"),
}  # fmt: skip


@pytest.mark.parametrize("case", MJLAB)
def test_metadata_that_cannot_be_represented_are_refused(tmp_path, case):
    changes, expected = MJLAB[case]
    message = refusal(exports.mjlab(tmp_path / "reach", **changes))
    assert expected in message
    assert "policy.onnx: metadata_props" in message


def test_an_actor_of_isaac_lab(tmp_path):
    path = exports.isaac_lab(tmp_path / "run")
    assert draft(path).importer == "isaac_lab"
    assert missing(path) == {"robot"}
    document = load_bundle(filled(path)).document
    assert document.rate == pytest.approx(50.0)
    expected = DEFAULT + 0.5 * (0.5 * (Q - DEFAULT) + 0.25 * 0.1 * V)
    np.testing.assert_allclose(run(path)[0], expected, atol=1e-6)


ISAAC_TERMS = exports.descriptors()["observations"]["policy"]
ISAAC = {
    "command": ("observations__policy__1__full_path", "x.observations.generated_commands",
                "is a command"),
    "term of the task's own": ("observations__policy__1__full_path", "mine.cube", "cube cannot"),
    "a term left out": ("observations__policy", ISAAC_TERMS[:1],
                        "describes 6 column(s), but the graph has 12"),
    "no group": ("observations", {"critic": []}, "policy: has no terms"),
    "clip": ("observations__policy__0__overloads__clip", [-1.0, 1.0], "clips cannot be"),
    "history": ("observations__policy__0__overloads__history_length", 4, "histories cannot be"),
    "modifiers": ("observations__policy__0__extras__modifiers", ["bias"], "modifiers cannot be"),
    "relative every step": ("actions__0__full_path", "x.RelativeJointPositionAction",
                            "in every physics step"),
    "efforts": ("actions__0__full_path", "x.JointEffortAction", "efforts, which are not read"),
    "clipped action": ("actions__0__clip", [[-1.0, 1.0]] * N, "clips cannot be"),
    "no defaults": ("observations__policy__0__joint_pos_offsets", None, "offsets: is missing"),
    "no joints": ("actions__0__joint_names", [], "joint_names: is missing or empty"),
    "no time": ("scene__dt", 0.0, "dt: must be above 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", ISAAC)
def test_descriptors_that_cannot_be_represented_are_refused(tmp_path, case):
    field, value, expected = ISAAC[case]
    described = exports.descriptors(**{field: value})
    message = refusal(exports.isaac_lab(tmp_path / "run", described))
    assert expected in message
    assert "IO_descriptors.yaml" in message


def test_an_environment_of_isaac_lab_gives_the_rate(tmp_path):
    path = exports.write(
        tmp_path / "run",
        {"exported/policy.onnx": exports.actor(), "params/env.yaml": exports.ENVIRONMENT},
    )
    made = draft(path)
    assert made.document["rate"] == pytest.approx(50.0)
    assert made.why == "params/env.yaml lies beside exported/policy.onnx"
    assert "action.parts.0.names" in missing(path)
    assert "IO_descriptors.yaml" in made.notes[0]


def test_a_recurrent_actor_remembers(tmp_path):
    path = exports.write(tmp_path / "walk", {"policy.onnx": exports.recurrent_actor()})
    made = draft(path)
    assert made.importer == "rsl_rl"
    assert made.document["feedback"] == {"h_in": "h_out", "c_in": "c_out"}
    term = {"kind": "state/joint/position", "names": list(ORDER), "scale": 1.0, "offset": 0.0}
    part = {"kind": "target/joint/position", "names": list(ORDER), "scale": 1.0, "offset": 0.0}
    filled(path, rate=50, observations__obs__terms=[term], action__parts=[part])
    np.testing.assert_allclose(run(path, 1)[0], 0.5 * Q, atol=1e-6)
    np.testing.assert_allclose(run(path, 4)[0], 0.5 * Q + 0.03, atol=1e-6)


# ------------------------------------------------------------------------------ exploy, LEAPP


def test_a_policy_of_exploy(tmp_path):
    path = exports.write(tmp_path / "reach", {"spot.onnx": exports.exploy_graph()})
    assert draft(path).importer == "exploy"
    assert missing(path) == {"robot"}
    document = load_bundle(filled(path)).document
    assert document.rate == 25.0
    assert document.feedback == {"memory.count.in": "memory.count.out"}
    np.testing.assert_allclose(run(path)[0], Q + 0.1 * V, atol=1e-6)
    np.testing.assert_allclose(run(path, 3)[0], Q + 0.1 * V + 0.02, atol=1e-6)


def test_several_targets_per_joint_are_a_decision(tmp_path):
    graph = exports.exploy_graph(("pos", "vel", "effort"))
    path = exports.write(tmp_path / "reach", {"spot.onnx": graph})
    assert missing(path) == {"robot", "action.parts.0.kind"}
    assert "arm.effort are not commanded" in draft(path).notes[0]
    filled(path, action__parts__0__kind="target/joint/position")
    np.testing.assert_allclose(run(path)[0], Q + 0.1 * V, atol=1e-6)


def test_groups_of_joints_are_put_together(tmp_path):
    joints = "obj.so101.joints.pos"
    starts = {"gripper": 0, "arm": 1, "end": N}
    nodes: list[Any] = []
    for name in starts:
        value = numpy_helper.from_array(np.array([starts[name]]))
        nodes.append(helper.make_node("Constant", [], [f"at_{name}"], value=value))
    axis = numpy_helper.from_array(np.array([1]))
    nodes.append(helper.make_node("Constant", [], ["axis"], value=axis))
    outputs, metadata = [], {"exploy_version": "0.1.0", "update_rate": 25}
    metadata["obj.so101.joints"] = {"joint_names": list(ORDER)}
    for name, end in (("arm", "end"), ("gripper", "arm")):
        group = f"output.joint_targets.{name}"
        ends = [f"at_{name}", f"at_{end}", "axis"]
        nodes.append(helper.make_node("Slice", [joints, *ends], [f"{group}.pos"]))
        names = list(ORDER[starts[name] : starts[end]])
        outputs.append(exports.value_info(f"{group}.pos", [1, len(names)]))
        metadata[group] = {"names": names}
    graph = exports.serialised(
        nodes,
        [exports.value_info(joints, [1, N])],
        outputs,
        {key: json.dumps(value) for key, value in metadata.items()},
    )
    path = exports.write(tmp_path / "reach", {"both.onnx": graph})
    assert len(load_bundle(filled(path)).document.decoders) == 2
    np.testing.assert_allclose(run(path)[0], Q, atol=1e-6)


EXPLOY = {
    "command": (exports.exploy_graph(extra="cmd.se2_velocity.vel"), "input cmd.se2_velocity.vel"),
    "body": (exports.exploy_graph(extra="obj.x.base.lin_vel_b_rt_w_in_b"), "input obj.x.base"),
    "efforts": (exports.exploy_graph(("effort",)), "gives efforts only"),
    "no names": (
        exports.exploy_graph(metadata={"obj.so101.joints": None}), "obj.so101.joints: is missing",
    ),
    "other names": (
        exports.exploy_graph(metadata={"output.joint_targets.arm": {"names": ["a"]}}),
        "describes 1 column(s)",
    ),
    "no rate": (exports.exploy_graph(metadata={"update_rate": "fast"}), "expected a number"),
}  # fmt: skip


@pytest.mark.parametrize("case", EXPLOY)
def test_a_policy_of_exploy_that_cannot_be_represented_is_refused(tmp_path, case):
    graph, expected = EXPLOY[case]
    assert expected in refusal(exports.write(tmp_path / "reach", {"spot.onnx": graph}))


def test_a_graph_of_leapp(tmp_path):
    path = exports.leapp(tmp_path / "reach")
    assert draft(path).origin == "leapp (reach.yaml has models and pipeline)"
    assert missing(path) == {"robot"}
    assert load_bundle(filled(path)).document.rate == 25.0
    np.testing.assert_allclose(run(path, 2)[0], Q + 0.1 * V + 0.01, atol=1e-6)


def test_a_chunk_of_leapp_has_the_time_between_its_rows(tmp_path):
    graph = exports.actor("q", "targets", rows=3)
    described = exports.leapp_document(graph)
    model = described["models"]["reach"]
    model["inputs"] = [{**model["inputs"][0], "name": "q"}]
    names = {"element_names": [[], "__temporal_axis__", list(ORDER)], "temporal_period_ms": 40.0}
    model["outputs"] = [{**model["outputs"][0], "name": "targets", **names}]
    described["pipeline"].update(feedback_flow={}, configs={"frequency": 5.0})
    files = {"reach.onnx": graph, "reach.yaml": yaml.safe_dump(described)}
    path = filled(exports.write(tmp_path / "reach", files))
    document = load_bundle(path).document
    assert (document.rate, document.chunk.size) == (25.0, 3)
    rows = 0.01 * np.arange(3)[:, None]
    np.testing.assert_allclose(run(path), 0.5 * Q + rows, atol=1e-6)


INPUT = "models__reach__inputs__0"
LEAPP = {
    "kind": (f"{INPUT}__kind", "state/body/rotation", "cannot be observed yet"),
    "no kind": (f"{INPUT}__kind", None, "'none' of input"),
    "no names": (f"{INPUT}__element_names", None, "never by index"),
    "other names": (f"{INPUT}__element_names", [[], ["a"]], "describes 1 column(s)"),
    "torques": ("models__reach__outputs__0__kind", "target/joint/torques", "cannot be commanded"),
    "other file": ("models__reach__parameters__sha256sum", "0" * 64, "sha256sum: is not that of"),
    "outside": ("models__reach__parameters__model_path", "../reach.onnx", "is not in the folder"),
    "TorchScript": ("models__reach__parameters__backend", "jit-script", "cannot be run"),
    "two models": ("models__other", {}, "2 models; one can be represented"),
    "feedback from elsewhere": ("pipeline__feedback_flow", {"a/b": ["reach/c"]}, "no tensor of"),
    "initial values": ("pipeline__initial_values", "x.safetensors", "is not in the folder"),
    "no feedback": ("pipeline__feedback_flow", {}, "'none' of input memory.count.in"),
}


@pytest.mark.parametrize("case", LEAPP)
def test_a_graph_of_leapp_that_cannot_be_represented_is_refused(tmp_path, case):
    field, value, expected = LEAPP[case]
    graph = exports.exploy_graph(metadata={"exploy_version": None})
    described = exports.leapp_document(graph, **{field: value})
    message = refusal(exports.leapp(tmp_path / "reach", described))
    assert expected in message
    assert "reach.yaml" in message


# --------------------------------------------------------------- stable-baselines3, bare ONNX


def test_an_actor_of_stable_baselines_is_rescaled(tmp_path):
    path = exports.write(tmp_path / "reach", {"sac.onnx": exports.actor("input", "12")})
    assert draft(path).importer == "stable_baselines3"
    low, high = [-0.4] * N, [0.2] * N
    filled(
        path,
        rate=20,
        observations__input__terms=[{"kind": "state/joint/position", "names": list(ORDER)}],
        action__parts=[{"kind": "target/joint/position", "names": list(ORDER)}],
        stats__action={"min": low, "max": high},
    )
    expected = -0.4 + (0.5 * Q + 1) / 2 * 0.6
    np.testing.assert_allclose(run(path)[0], expected, atol=1e-6)


def test_an_export_of_ppo_is_refused(tmp_path):
    graph = exports.serialised(
        [exports.constant(name, np.zeros((1, N))) for name in ("a", "b", "c")],
        [exports.value_info("input", [1, N])],
        [exports.value_info(name, [1, N]) for name in ("a", "b", "c")],
    )
    message = refusal(exports.write(tmp_path / "reach", {"ppo.onnx": graph}))
    assert "PPO" in message


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.UINT8])
def test_a_bare_file_moves_nothing_before_a_person_has_said_what_it_is(tmp_path, dtype):
    path = exports.write(tmp_path / "x", {"act.onnx": exports.lerobot_actor(dtype=dtype)})
    file = path / "act.onnx"
    assert draft(file).importer == "tensor_names"
    assert missing(file) == {
        "robot", "rate", f"{STATE}.kind", f"{STATE}.names", f"{STATE}.scale",
        "action.parts.0.kind", "action.parts.0.names", "action.parts.0.scale",
    }  # fmt: skip
    assert "does not say robot, rate" in refusal(file)
    filled(file, **LEROBOT)
    bright = BRIGHT / (255 if dtype == TensorProto.FLOAT else 1)
    np.testing.assert_allclose(run(path), act(Q / DEGREE, bright) * DEGREE, atol=1e-5)


def test_an_input_without_a_meaning_is_refused_by_name(tmp_path):
    graph = exports.actor("lang_tokens", "action")
    message = refusal(exports.write(tmp_path / "x", {"vla.onnx": graph}))
    assert "input lang_tokens" in message
    assert "command/language" in message


def test_a_file_may_carry_its_own_document(tmp_path):
    described = {
        "format": "policy_package",
        "version": "1.1",
        "name": "half",
        "robot": "so101",
        "rate": 10,
        "observations": {"obs": {"kind": "state/joint/position", "names": list(ORDER)}},
        "decoder": {"type": "direct"},
        "action": {"parts": [{"kind": "target/joint/position", "names": list(ORDER)}]},
    }
    graph = exports.actor(metadata={"policy.yaml": yaml.safe_dump(described)})
    path = exports.write(tmp_path / "x", {"half.onnx": graph}) / "half.onnx"
    bundle = load_bundle(path)
    assert bundle.origin == "policy.yaml (half.onnx has metadata policy.yaml)"
    np.testing.assert_allclose(run(path)[0], 0.5 * Q, atol=1e-6)
    again = exports.actor(metadata={"policy.yaml": yaml.safe_dump({**described, "rate": 11})})
    path.write_bytes(again)
    assert load_bundle(path).sha256 != bundle.sha256


def test_weights_beside_a_graph_in_a_folder_are_found(tmp_path):
    import onnx

    made = onnx.load_from_string(exports.lerobot_actor())
    (tmp_path / "act" / "artifacts").mkdir(parents=True)
    model = tmp_path / "act" / "artifacts" / "model.onnx"
    for node in [n for n in made.graph.node if n.op_type == "Constant"]:
        tensor = node.attribute[0].t
        tensor.name = node.output[0]
        made.graph.initializer.append(tensor)
        made.graph.node.remove(node)
    onnx.save_model(
        made, str(model), save_as_external_data=True, location="model.onnx.data", size_threshold=0
    )
    path = exports.write(
        tmp_path / "act",
        {"manifest.json": json.dumps(exports.manifest()), "stats.safetensors": exports.stats()},
    )
    assert set(draft(path).files) == {"artifacts/model.onnx", "artifacts/model.onnx.data"}
    filled(path, **IN_DEGREES)
    network = act((Q / DEGREE - MEAN) / (STD + 1e-8))
    np.testing.assert_allclose(run(path), (network * STD / 2 - MEAN) * DEGREE, atol=1e-5)


# ------------------------------------------------------------------- which importer, and why


def test_what_says_most_is_read_first(tmp_path):
    path = tmp_path / "everything"
    graph = exports.actor(width=2 * N, metadata=exports.mjlab_metadata())
    exports.write(path, {"policy.onnx": graph})
    found = [draft(path).importer]
    exports.write(path, {"IO_descriptors.yaml": yaml.safe_dump(exports.descriptors())})
    found.append(draft(path).importer)
    exports.write(path, {"policy.onnx": exports.actor(width=2 * N)})
    found.append(draft(path).importer)
    graph = exports.exploy_graph()
    described = yaml.safe_dump(exports.leapp_document(graph))
    exports.write(path, {"reach.onnx": graph, "reach.yaml": described})
    found.append(draft(path).importer)
    exports.policy_package(path)
    found.append(draft(path).importer)
    assert found == ["mjlab", "mjlab", "isaac_lab", "leapp", "policy_package"]
    write_bundle(path)
    assert load_bundle(path).origin == ""


def test_exports_that_are_known_and_not_read_say_so(tmp_path):
    graph = exports.actor(metadata={"efferent.manifest": "name: x"})
    assert "efferent" in refusal(exports.write(tmp_path / "a", {"x.onnx": graph}))
    reflex = {"x.onnx": exports.actor(), "reflex_config.json": "{}"}
    assert "reflex" in refusal(exports.write(tmp_path / "b", reflex))


def test_several_graphs_and_no_description_are_refused(tmp_path):
    graphs = {"a.onnx": exports.actor(), "b.onnx": exports.actor()}
    assert "needs one ONNX file, has a.onnx, b.onnx" in refusal(exports.write(tmp_path, graphs))


def test_a_folder_with_nothing_of_ours_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    assert "policy.yaml: is missing" in refusal(tmp_path)


def test_links_are_not_followed(tmp_path):
    real = exports.write(tmp_path / "real", {"policy.onnx": exports.actor()})
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "policy.onnx").symlink_to(real / "policy.onnx")
    assert "is missing" in refusal(folder)
    (folder / "policy.onnx").unlink()
    (folder / "exported").symlink_to(real)
    assert re.search("is missing|symbolic link", refusal(folder))


# ----------------------------------------------------------------------------- levine check


def test_check_drafts_a_document_and_then_runs_it(tmp_path, capsys):
    path = exports.isaac_lab(tmp_path / "run")
    assert main(["check", str(path)]) == 2
    assert "--write" in capsys.readouterr().err
    assert main(["check", str(path), "--robot", "sim_so101", "--write"]) == 0
    out = capsys.readouterr().out
    assert "drafted from isaac_lab (io_descriptors/IO_descriptors.yaml lies beside" in out
    assert "ran on plausible observations of sim_so101" in out
    assert main(["check", str(path), "--robot", "sim_so101", "--write"]) == 2
    assert "policy.yaml: is there already" in capsys.readouterr().err


def test_check_says_what_is_still_to_be_filled_in(tmp_path, capsys):
    path = exports.write(tmp_path / "x", {"sac.onnx": exports.actor("input", "12")})
    result = tmp_path / "out.json"
    assert main(["check", str(path / "sac.onnx"), "--write", "--json", str(result)]) == 0
    out = capsys.readouterr().out
    assert "Still to fill in" in out
    assert "low of the action space, one per column, 6 in all" in out
    assert set(json.loads(result.read_text())["missing"]) > {"robot", "rate", "stats.action.min"}
    assert main(["check", str(path)]) == 2
    error = capsys.readouterr().err
    assert "policy.yaml: robot: is still to be filled in" in error
    assert "more to fill in" in error


def test_notes_are_kept_in_the_draft(tmp_path):
    path = exports.mjlab(tmp_path / "reach")
    text = write_draft(path).path.read_text()
    assert text.startswith("# Drafted by levine check --write from mjlab (policy.onnx has")
    assert "# stiffness and damping are not commanded" in text


def test_an_export_that_says_everything_runs_as_it_is(tmp_path, capsys):
    path = exports.isaac_lab(tmp_path / "run")
    described = yaml.safe_load(write_draft(path, ROBOT.model).path.read_text())
    del described["files"], described["graphs"]
    graph = exports.actor(width=2 * N, metadata={"policy.yaml": yaml.safe_dump(described)})
    file = exports.write(tmp_path / "one", {"policy.onnx": graph}) / "policy.onnx"
    assert main(["check", str(file), "--robot", "sim_so101"]) == 0
    assert "read from   policy.yaml (policy.onnx has metadata" in capsys.readouterr().out
    np.testing.assert_allclose(run(file), run(path), atol=0.0)
