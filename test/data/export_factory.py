# SPDX-License-Identifier: Apache-2.0
"""Write what other tools export, with real ONNX graphs, for tests.

Every factory writes one format as its exporter does; the joints are those of the SO-101 in an
order that is not the robot's, so that binding by index would show.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from bundle_factory import constant, value_info
from nested import replaced
from onnx import TensorProto, helper
from safetensors.numpy import save as save_safetensors

ORDER = ("gripper", "wrist_roll", "wrist_flex", "elbow_flex", "shoulder_lift", "shoulder_pan")
DEFAULT = (0.5, 0.1, -0.2, 0.3, -0.4, 0.25)
SCALE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
N = len(ORDER)
SIZE = 8
MEAN = np.linspace(-0.3, 0.3, N).astype(np.float32)
STD = np.linspace(0.5, 1.5, N).astype(np.float32)


def serialised(
    nodes: list[Any], inputs: list[Any], outputs: list[Any], metadata: dict[str, str] | None = None
) -> bytes:
    graph = helper.make_graph(nodes, "exported", inputs, outputs)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(made, metadata or {})
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def actor(
    observed: str = "obs",
    acted: str = "actions",
    width: int = N,
    metadata: dict[str, str] | None = None,
    rows: int | None = None,
) -> bytes:
    """Half of the first six observed columns and a quarter of the next; row i has i/100 added."""
    last = [] if rows is None else [rows]
    ramp = 0.01 * np.arange(rows or 1)[None, :, None] * np.ones(N)
    nodes = [
        constant("half", np.concatenate([0.5 * np.eye(N), 0.25 * np.eye(N)])[:width]),
        constant("ramp", ramp if rows else ramp[:, 0]),
        helper.make_node("MatMul", [observed, "half"], ["product"]),
        helper.make_node("Add", ["product", "ramp"], [acted]),
    ]
    return serialised(
        nodes,
        [value_info(observed, [1, width])],
        [value_info(acted, [1, *last, N])],
        metadata,
    )


def recurrent_actor() -> bytes:
    """Half of what is observed plus how often it was asked before, in hundredths."""
    state = [1, 1, 1]
    nodes = [
        constant("half", 0.5),
        constant("hundredth", 0.01),
        helper.make_node("Add", ["h_in", "hundredth"], ["h_out"]),
        helper.make_node("Identity", ["c_in"], ["c_out"]),
        helper.make_node("Mul", ["obs", "half"], ["product"]),
        helper.make_node("ReduceSum", ["h_in"], ["memory"], keepdims=0),
        helper.make_node("Add", ["product", "memory"], ["actions"]),
    ]
    return serialised(
        nodes,
        [value_info("obs", [1, N]), value_info("h_in", state), value_info("c_in", state)],
        [value_info("actions", [1, N]), value_info("h_out", state), value_info("c_out", state)],
    )


def lerobot_actor(rows: int = 4, state: str = "observation.state", dtype: int = 1) -> bytes:
    """Half of the state, with the mean brightness of the image on top; row i has i/100 added."""
    nodes = [
        constant("half", 0.5),
        constant("ramp", 0.01 * np.arange(rows)[None, :, None] * np.ones(N)),
        helper.make_node("Cast", ["observation.images.front"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["bright"], keepdims=0),
        helper.make_node("Mul", [state, "half"], ["product"]),
        helper.make_node("Add", ["product", "bright"], ["lit"]),
        helper.make_node("Add", ["lit", "ramp"], ["action"]),
    ]
    return serialised(
        nodes,
        [
            value_info(state, [1, N]),
            value_info("observation.images.front", [1, 3, SIZE, SIZE], dtype),
        ],
        [value_info("action", [1, rows, N])],
    )


def write(directory: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return directory


def stats(separator: str = ".") -> bytes:
    """Statistics of state, image and action."""
    tensors = {
        "observation.state": {"mean": MEAN, "std": STD, "min": -STD, "max": 3 * STD},
        "observation.images.front": {
            "mean": np.full((3, 1, 1), 0.25, np.float32),
            "std": np.full((3, 1, 1), 0.5, np.float32),
        },
        "action": {
            "mean": -MEAN,
            "std": STD / 2,
            "q01": -STD,
            "q99": STD,
            "min": -STD,
            "max": STD,
        },
    }
    return save_safetensors(
        {f"{f}{separator}{s}": v for f, values in tensors.items() for s, v in values.items()}
    )


def manifest(**model: Any) -> dict[str, Any]:
    """`manifest.json` of LeRobot's pull request 3493."""
    normalize = {"mode": "mean_std", "artifact": "stats.safetensors"}
    arm = {"shape": [N], "dtype": "float32", "order": [f"{name}.pos" for name in ORDER]}
    return {
        "format": "policy_package",
        "version": "1.0",
        "policy": {"name": "act", "source": {"repo_id": "lab/act"}},
        "model": {
            "n_obs_steps": 1,
            "runner": {"type": "action_chunking", "chunk_size": 4, "n_action_steps": 2},
            "artifacts": {"model": "model.onnx"},
            "preprocessors": [
                {"type": "normalize", "features": ["observation.state"], **normalize}
            ],
            "postprocessors": [{"type": "denormalize", "features": ["action"], **normalize}],
            **model,
        },
        "hardware": {
            "robots": [{"name": "main", "type": "SO-101", "state": arm, "action": arm}],
            "cameras": [{"name": "front", "shape": [3, SIZE, SIZE], "dtype": "uint8"}],
        },
        "metadata": {"created_at": "2026-03-27T12:00:00Z", "created_by": "lerobot.export"},
    }


def policy_package(directory: Path, described: dict[str, Any] | None = None) -> Path:
    described = manifest() if described is None else described
    return write(
        directory,
        {
            "manifest.json": json.dumps(described),
            "artifacts/model.onnx": lerobot_actor(),
            "stats.safetensors": stats(),
        },
    )


def physicalai_package(directory: Path, **model: Any) -> Path:
    """The same of physicalai 0.3: keyed by backend, classes by path, keys with a slash."""
    package = "physicalai.inference"
    init = {"stats_path": "stats.safetensors", "mode": "mean_std"}
    described = manifest(
        runner={"class_path": f"{package}.runners.SinglePass", "init_args": {}},
        artifacts={"onnx": "act.onnx", "openvino": "act.xml"},
        preprocessors=[
            {
                "class_path": f"{package}.preprocessors.StatsNormalizer",
                "init_args": {**init, "features": ["observation.state"]},
            }
        ],
        postprocessors=[
            {
                "class_path": f"{package}.postprocessors.StatsDenormalizer",
                "init_args": {**init, "features": ["action"]},
            },
            {
                "class_path": f"{package}.postprocessors.ActionChunkTrimmer",
                "init_args": {"n_action_steps": 2},
            },
        ],
        **model,
    )
    return write(
        directory,
        {
            "manifest.json": json.dumps(described),
            "act.onnx": lerobot_actor(state="state"),
            "stats.safetensors": stats("/"),
        },
    )


def lerobot_files(graph: bytes | None = None) -> dict[str, Any]:
    """A checkpoint of LeRobot beside its export, documents as mappings."""
    features = {
        "observation.state": {"type": "STATE", "shape": [N]},
        "observation.images.front": {"type": "VISUAL", "shape": [3, SIZE, SIZE]},
        "action": {"type": "ACTION", "shape": [N]},
    }
    modes = {"VISUAL": "MEAN_STD", "STATE": "MIN_MAX", "ACTION": "QUANTILES"}
    normalizer = {"eps": 1e-8, "features": features, "norm_map": modes}
    return {
        "config.json": {
            "type": "act",
            "n_obs_steps": 1,
            "chunk_size": 4,
            "n_action_steps": 3,
            "input_features": {k: v for k, v in features.items() if k != "action"},
            "output_features": {"action": features["action"]},
        },
        "policy_preprocessor.json": {
            "name": "policy_preprocessor",
            "steps": [
                {"registry_name": "rename_observations_processor", "config": {"rename_map": {}}},
                {"registry_name": "to_batch_processor", "config": {}},
                {"registry_name": "device_processor", "config": {"device": "cpu"}},
                {
                    "registry_name": "normalizer_processor",
                    "config": normalizer,
                    "state_file": "policy_preprocessor_step_3_normalizer_processor.safetensors",
                },
            ],
        },
        "policy_postprocessor.json": {
            "name": "policy_postprocessor",
            "steps": [
                {
                    "registry_name": "unnormalizer_processor",
                    "config": normalizer,
                    "state_file": "policy_postprocessor_step_0_unnormalizer_processor.safetensors",
                },
                {"registry_name": "device_processor", "config": {"device": "cpu"}},
            ],
        },
        "policy_preprocessor_step_3_normalizer_processor.safetensors": stats(),
        "policy_postprocessor_step_0_unnormalizer_processor.safetensors": stats(),
        "model.onnx": lerobot_actor() if graph is None else graph,
    }


def write_lerobot(directory: Path, files: dict[str, Any] | None = None) -> Path:
    files = lerobot_files() if files is None else files
    return write(
        directory,
        {n: c if isinstance(c, (bytes, str)) else json.dumps(c) for n, c in files.items()},
    )


def mjlab_metadata(**changes: str) -> dict[str, str]:
    """As `mjlab/rl/exporter_utils.py` writes it: CSV, three decimals."""

    def csv(values: Any) -> str:
        return ",".join(v if isinstance(v, str) else f"{v:.3f}" for v in values)

    result = {
        "run_path": "lab/reach/abc",
        "joint_names": csv(ORDER),
        "joint_stiffness": csv([20.0] * N),
        "joint_damping": csv([1.0] * N),
        "default_joint_pos": csv(DEFAULT),
        "command_names": "",
        "observation_names": "joint_pos,joint_vel",
        "observation_terms_scale": "2.000,0.100",
        "observation_terms_flatten_history_dim": "True,True",
        "observation_terms_history_length": "0.000,0.000",
        "observation_terms_clip": "-inf;inf,-inf;inf",
        "action_scale": csv(SCALE),
        **changes,
    }
    return {key: value for key, value in result.items() if value != "-"}


def mjlab(directory: Path, **changes: str) -> Path:
    return write(
        directory, {"policy.onnx": actor(width=2 * N, metadata=mjlab_metadata(**changes))}
    )


def exploy_graph(
    outputs: tuple[str, ...] = ("pos",), extra: str = "", metadata: dict[str, Any] | None = None
) -> bytes:
    """Positions plus a tenth of the velocities, and a memory that counts in hundredths."""
    nodes = [
        constant("tenth", 0.1),
        constant("hundredth", 0.01),
        helper.make_node("Mul", ["obj.so101.joints.vel", "tenth"], ["slow"]),
        helper.make_node("Add", ["obj.so101.joints.pos", "slow"], ["sum"]),
        helper.make_node("Add", ["memory.count.in", "hundredth"], ["memory.count.out"]),
        *(
            helper.make_node("Add", ["sum", "memory.count.in"], [f"output.joint_targets.arm.{o}"])
            for o in outputs
        ),
    ]
    inputs = ["obj.so101.joints.pos", "obj.so101.joints.vel"]
    described = {
        "exploy_version": "0.1.0",
        "update_rate": 25.0,
        "obj.so101.joints": {"joint_names": list(ORDER)},
        "output.joint_targets.arm": {"names": list(ORDER), "stiffness": [1.0] * N},
        **(metadata or {}),
    }
    return serialised(
        nodes,
        [
            *(value_info(name, [1, N]) for name in inputs),
            value_info("memory.count.in", [1, 1]),
            *([value_info(extra, [1, 3])] if extra else []),
        ],
        [
            *(value_info(f"output.joint_targets.arm.{o}", [1, N]) for o in outputs),
            value_info("memory.count.out", [1, 1]),
        ],
        {key: json.dumps(value) for key, value in described.items() if value is not None},
    )


def descriptors(**changes: Any) -> dict[str, Any]:
    """`IO_descriptors.yaml` of Isaac Lab; `a__0__b=value` replaces a nested field."""
    overloads = {"scale": None, "clip": None, "history_length": 0, "flatten_history_dim": True}
    extras = {"modifiers": None, "units": "rad", "description": "joints"}

    def term(name: str, **fields: Any) -> dict[str, Any]:
        return {
            "name": name,
            "overloads": dict(overloads),
            "extras": dict(extras),
            "full_path": f"isaaclab.envs.mdp.observations.{name}",
            "joint_names": list(ORDER),
            "shape": [N],
            "mdp_type": "Observation",
            **fields,
        }

    position = term("joint_pos_rel", joint_pos_offsets=list(DEFAULT))
    velocity = term("joint_vel_rel", joint_vel_offsets=[0.0] * N)
    velocity["overloads"]["scale"] = 0.1
    result = {
        "observations": {"policy": [position, velocity]},
        "actions": [
            {
                "name": "joint_position_action",
                "full_path": "isaaclab.envs.mdp.actions.joint_actions.JointPositionAction",
                "joint_names": list(ORDER),
                "scale": 0.5,
                "offset": list(DEFAULT),
                "clip": None,
                "shape": [N],
                "extras": {},
            }
        ],
        "articulations": {"robot": {"joint_names": list(ORDER)}},
        "scene": {"physics_dt": 0.005, "dt": 0.02, "decimation": 4},
    }
    return replaced(result, changes)


def isaac_lab(directory: Path, described: dict[str, Any] | None = None) -> Path:
    described = descriptors() if described is None else described
    return write(
        directory,
        {
            "exported/policy.onnx": actor(width=2 * N),
            "io_descriptors/IO_descriptors.yaml": yaml.safe_dump(described),
        },
    )


ENVIRONMENT = """
sim:
  dt: 0.005
  render: !!python/object/apply:builtins.slice
  - null
  - 2
decimation: 4
actions:
  joint_pos: {class_type: isaaclab.envs:JointPositionAction, scale: 0.5}
viewer:
  eye: !!python/tuple
  - 7.5
  - 7.5
"""


def leapp_document(graph: bytes, **changes: Any) -> dict[str, Any]:
    """The YAML of LEAPP 0.7, with one model."""
    names = [[], list(ORDER)]

    def tensor(name: str, kind: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "kind": kind, "shape": [1, N], "type": "tensor",
                "dtype": "float32", "element_names": names, **more}  # fmt: skip

    result = {
        "models": {
            "reach": {
                "inputs": [
                    tensor("obj.so101.joints.pos", "state/joint/position"),
                    tensor("obj.so101.joints.vel", "state/joint/velocity"),
                    {"name": "memory.count.in", "shape": [1, 1], "type": "tensor"},
                ],
                "outputs": [
                    tensor("output.joint_targets.arm.pos", "target/joint/position"),
                    {"name": "memory.count.out", "shape": [1, 1], "type": "tensor"},
                ],
                "parameters": {
                    "model_path": "reach.onnx",
                    "md5sum": hashlib.md5(graph).hexdigest(),
                    "sha256sum": hashlib.sha256(graph).hexdigest(),
                    "backend": "onnx-dynamo",
                },
            }
        },
        "pipeline": {
            "inputs": {"reach": ["obj.so101.joints.pos", "obj.so101.joints.vel"]},
            "outputs": {"reach": ["output.joint_targets.arm.pos"]},
            "data_flow": {},
            "feedback_flow": {"reach/memory.count.out": ["reach/memory.count.in"]},
            "configs": {"frequency": 25.0},
        },
        "system information": {"leapp": "0.7.2"},
    }
    return replaced(result, changes)


def leapp(directory: Path, described: dict[str, Any] | None = None) -> Path:
    graph = exploy_graph(metadata={"exploy_version": None})
    described = leapp_document(graph) if described is None else described
    return write(directory, {"reach.yaml": yaml.safe_dump(described), "reach.onnx": graph})
