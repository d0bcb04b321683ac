# SPDX-License-Identifier: Apache-2.0
"""`manifest.json` of format `policy_package` 1.x, by LeRobot (roles) or physicalai (backends).

LeRobot's is that of its pull request 3493, physicalai's that of release 0.3. Classes are named by
`type`, or by a `class_path` that is looked up in a table here and never imported.
"""

from __future__ import annotations

from levine_policy_node.errors import BundleError
from levine_policy_node.runtime.importers.draft import (
    RATE,
    ROBOT,
    Draft,
    model_of,
    policy_name,
)
from levine_policy_node.runtime.importers.export import Export
from levine_policy_node.runtime.importers.fields import Fields, refused
from levine_policy_node.runtime.importers.lerobot_parts import Parts

MANIFEST = "manifest.json"
_BACKENDS = ("onnx", "openvino", "torch", "executorch", "torch_script", "tensorrt")
_SINGLE = {"single_pass", "single_shot", "action_chunking"}
_FLOW = {"kv_cache", "kv_cache_flow"}
_CLASSES = {
    "runners.SinglePass": "single_pass",
    "runners.single_pass.SinglePass": "single_pass",
    "runners.ActionChunking": "action_chunking",
    "runners.action_chunking.ActionChunking": "action_chunking",
    "preprocessors.StatsNormalizer": "normalize",
    "preprocessors.stats_normalizer.StatsNormalizer": "normalize",
    "postprocessors.StatsDenormalizer": "denormalize",
    "postprocessors.stats_denormalizer.StatsDenormalizer": "denormalize",
    "postprocessors.ActionChunkTrimmer": "action_chunk_trimmer",
    "postprocessors.action_chunk_trimmer.ActionChunkTrimmer": "action_chunk_trimmer",
}
_PREFIX = "physicalai.inference."
_MODEL = {
    "n_obs_steps", "runner", "artifacts", "backend", "preprocessors", "postprocessors",
    "callbacks", "input_features", "output_features",
}  # fmt: skip
# They watch the time a prediction takes and change nothing.
_WATCHING = {"latency_monitor", "throughput_monitor", "rtc_latency"}


def matches(fields: Fields) -> bool:
    """Whether a `manifest.json` has this format; ONNX Runtime's model packages have not."""
    return fields.text("format", "") == "policy_package"


def read(export: Export, fields: Fields) -> Draft:
    """A draft that lacks the rate and units, which the format does not say.

    Raises:
        BundleError: If a runner or processor is not one that can be represented.
    """
    if not fields.text("version").startswith("1."):
        raise fields.refusal("version", "is not 1.x")
    model = fields.mapping("model")
    model.only(_MODEL, "policy_package 1.0")
    if model.whole("n_obs_steps", 1) != 1:
        raise model.refusal("n_obs_steps", "a history of observations cannot be represented")
    for callback in model.mappings("callbacks"):
        _component(callback, _WATCHING)
    graphs = _graphs(export, model)
    runner, options = _runner(model)
    robot = _robot(fields)
    parts = Parts(export, graphs, fields.file)
    rows = options.whole("chunk_size") if "chunk_size" in options else None
    if runner in _FLOW:
        if set(graphs) != {"encode", "step"}:
            raise model.refusal("artifacts", "expected encoder and denoise for this runner")
        parts.flow(options.whole("num_inference_steps", 10), rows, options.whole("action_dim"))
    elif set(graphs) != {"step"}:
        raise model.refusal("artifacts", "expected one graph for this runner")
    else:
        parts.direct(rows)
    parts.vectors(robot.mapping("state").names("order"), robot.mapping("action").names("order"))
    execute = options.whole("n_action_steps") if "n_action_steps" in options else None
    trimmed = _processors(export, model, parts)
    document = {
        "name": policy_name(fields.mapping("policy").text("name", "imported")),
        "robot": model_of(robot.text("type")) or ROBOT if "type" in robot else ROBOT,
        "rate": RATE,
        "graphs": graphs,
        **parts.document(trimmed or execute),
    }
    why = f"{MANIFEST} has format: policy_package"
    return export.draft("policy_package", why, document, MANIFEST)


def _graphs(export: Export, model: Fields) -> dict[str, str]:
    """Files by our roles, from LeRobot's roles or physicalai's backends."""
    artifacts = model.mapping("artifacts")
    if "backend" in model and model.text("backend") != "onnx":
        raise model.refusal("backend", "is not onnx", "Export for ONNX")
    backends = [key for key in artifacts.keys if key in _BACKENDS]
    if backends and "onnx" not in backends:
        raise artifacts.refusal(backends[0], "cannot be run", "Export for the backend onnx")
    roles = {"onnx": "step", "model": "step", "encoder": "encode", "denoise": "step"}
    graphs: dict[str, str] = {}
    for key in artifacts.keys:
        if key in _BACKENDS and key != "onnx":
            continue
        if key not in roles or roles[key] in graphs:
            raise artifacts.refusal(key, "has no meaning here", f"Known: {', '.join(roles)}")
        given = artifacts.text(key)
        name = export.has(given, f"artifacts/{given}")
        if name is None or not name.endswith(".onnx"):
            raise artifacts.refusal(key, f"'{given[:80]}' is no ONNX file of the folder")
        graphs[roles[key]] = name
    return graphs


def _component(fields: Fields, known: set[str]) -> tuple[str, Fields]:
    """Type and parameters of a component, in either form."""
    if fields.text("class_path", ""):
        path = fields.text("class_path")
        short = path.removeprefix(_PREFIX)
        name = _CLASSES.get(short, "") if path.startswith(_PREFIX) else ""
        key, options, found = "class_path", fields.mapping("init_args"), path
        fields.only(("class_path", "init_args", "type"), "a component")
    else:
        name = found = fields.text("type")
        key, options = "type", fields
    if name not in known:
        raise fields.refusal(
            key,
            f"'{found[:80]}' cannot be represented; supported: {', '.join(sorted(known))}",
            "Export without it, or write a policy.yaml",
        )
    return name, options


def _runner(model: Fields) -> tuple[str, Fields]:
    if "runner" not in model:
        return "single_pass", Fields({}, model.file, model.at("runner"))
    name, options = _component(model.mapping("runner"), _SINGLE | _FLOW)
    if options.text("scheduler", "euler") != "euler":
        raise options.refusal("scheduler", "expected euler")
    mapping = options.mapping("input_mapping")
    for key in mapping.keys:
        if mapping.text(key).rsplit(".", 1)[-1] != key.rsplit(".", 1)[-1]:
            # A camera renamed to image_0 would have to be named by hand.
            raise mapping.refusal(key, "renamed inputs cannot be represented")
    if "runner" in options:
        _component(options.mapping("runner"), _SINGLE)
    return name, options


def _robot(fields: Fields) -> Fields:
    robots = fields.mapping("hardware").mappings("robots")
    if len(robots) > 1:
        raise fields.refusal("hardware.robots", f"has {len(robots)}; one can be represented")
    return robots[0] if robots else Fields({}, fields.file, "hardware.robots.0")


def _processors(export: Export, model: Fields, parts: Parts) -> int | None:
    """Hand the normalisation over; rows that are kept, where a step trims the chunk."""
    for step in model.mappings("preprocessors"):
        _, options = _component(step, {"normalize"})
        _normalize(export, options, parts, inverse=False)
    trimmed: int | None = None
    for step in model.mappings("postprocessors"):
        name, options = _component(step, {"denormalize", "action_chunk_trimmer"})
        if name == "action_chunk_trimmer":
            trimmed = options.whole("n_action_steps")
        else:
            _normalize(export, options, parts, inverse=True)
    return trimmed


def _normalize(export: Export, options: Fields, parts: Parts, *, inverse: bool) -> None:
    options.only(("type", "mode", "artifact", "stats_path", "features"), "a normalisation")
    key = "artifact" if "artifact" in options else "stats_path"
    given = options.text(key)
    name = export.has(given, f"artifacts/{given}")
    if name is None:
        raise options.refusal(key, f"'{given[:80]}' is not in the folder")
    parts.normalize(
        name, options.names("features"), options.text("mode", "mean_std"), (options, key), inverse
    )


def refuse_model_package(export: Export, fields: Fields) -> BundleError:
    """The refusal of a `manifest.json` of another format."""
    if {"schema_version", "components"} <= set(fields.keys):
        what = "is a model package of ONNX Runtime, which does not say what tensors mean"
    else:
        what = "has no format: policy_package"
    return refused(export.path(MANIFEST), "format", what, "Write a policy.yaml beside it")
