# SPDX-License-Identifier: Apache-2.0
"""Write small policy bundles with real ONNX graphs, for tests."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from nested import replaced
from onnx import TensorProto, helper, numpy_helper

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
CAMERAS = ("front", "wrist")
ROWS = 8
SIZE = 8
RAMP = 0.01
"""Radians per row that the ramp policy asks every joint to move."""


def document(**changes: Any) -> dict[str, Any]:
    """The document of the ramp policy; `a__b=value` replaces a nested field, None removes it."""
    image = {"size": [SIZE, SIZE], "interpolation": "area"}
    result: dict[str, Any] = {
        "format": "policy_package",
        "version": "1.1",
        "name": "ramp",
        "robot": "so101",
        "rate": 10,
        "graphs": {"step": "policy.onnx"},
        "observations": {
            "observation.state": {"kind": "state/joint/position", "names": list(JOINTS)},
            **{
                f"observation.images.{camera}": {"kind": "sensor/image", "image": dict(image)}
                for camera in CAMERAS
            },
        },
        "decoder": {"type": "direct", "output": "action"},
        "action": {
            "parts": [{"kind": "target/joint/position", "names": list(JOINTS), "mode": "relative"}]
        },
        "chunk": {"size": ROWS, "execute": 2},
    }
    return replaced(copy.deepcopy(result), changes)


def value_info(name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def inputs() -> list[Any]:
    """Graph inputs that the ramp policy's document describes."""
    images = [value_info(f"observation.images.{c}", [1, 3, SIZE, SIZE]) for c in CAMERAS]
    return [value_info("observation.state", [1, len(JOINTS)]), *images]


def constant(name: str, values: Any) -> Any:
    tensor = numpy_helper.from_array(np.asarray(values, dtype=np.float32))
    return helper.make_node("Constant", [], [name], value=tensor)


def model(nodes: list[Any], outputs: list[Any] | None = None, extra: Any = None) -> bytes:
    """Serialise a graph with the ramp policy's inputs."""
    graph = helper.make_graph(
        nodes,
        "policy",
        inputs() if extra is None else extra,
        outputs or [value_info("action", [1, ROWS, len(JOINTS)])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def ramp_model(step: float = RAMP) -> bytes:
    """Row i of every joint is `step * (i + 1)`, plus the mean of both images in the gripper."""
    rows = np.repeat(step * np.arange(1, ROWS + 1)[:, None], len(JOINTS), axis=1)[None]
    gripper = np.zeros((1, 1, len(JOINTS)))
    gripper[..., -1] = 1.0
    return model(
        [
            constant("rows", rows),
            constant("gripper", gripper),
            helper.make_node(
                "ReduceMean", ["observation.images.front"], ["f"], axes=[1, 2, 3], keepdims=0
            ),
            helper.make_node(
                "ReduceMean", ["observation.images.wrist"], ["w"], axes=[1, 2, 3], keepdims=0
            ),
            helper.make_node("Add", ["f", "w"], ["brightness"]),
            helper.make_node("Mul", ["gripper", "brightness"], ["bias"]),
            helper.make_node("Add", ["rows", "bias"], ["action"]),
        ]
    )


def bright_chattering_model() -> bytes:
    """Rows turn to and fro, the more the brighter the front camera is; black, it stands still."""
    signs = np.where(np.arange(ROWS) % 2 == 0, 0.3, -0.3)
    rows = np.repeat(signs[:, None], len(JOINTS), axis=1)[None]
    return model(
        [
            constant("rows", rows),
            helper.make_node(
                "ReduceMean", ["observation.images.front"], ["f"], axes=[1, 2, 3], keepdims=0
            ),
            helper.make_node("Mul", ["rows", "f"], ["action"]),
        ]
    )


def invalid_model() -> bytes:
    """Every output is NaN, whatever comes in."""
    nan = np.full((1, ROWS, len(JOINTS)), np.nan)
    return model([constant("action", nan)])


def dark_invalid_model() -> bytes:
    """Divides by the brightness of the front camera: not finite when it is black."""
    ones = np.ones((1, ROWS, len(JOINTS)))
    return model(
        [
            constant("ones", ones),
            helper.make_node(
                "ReduceMean", ["observation.images.front"], ["f"], axes=[1, 2, 3], keepdims=0
            ),
            helper.make_node("Div", ["ones", "f"], ["action"]),
        ]
    )


def dark_endless_model() -> bytes:
    """Counts for ever when the front camera is black."""
    rows = np.zeros((1, ROWS, len(JOINTS)))
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_in"], ["go_out"]),
            helper.make_node("Add", ["x_in", "x_in"], ["x_out"]),
        ],
        "body",
        [
            value_info("i", [], TensorProto.INT64),
            value_info("go_in", [], TensorProto.BOOL),
            value_info("x_in", [1, ROWS, len(JOINTS)]),
        ],
        [
            value_info("go_out", [], TensorProto.BOOL),
            value_info("x_out", [1, ROWS, len(JOINTS)]),
        ],
    )
    return model(
        [
            constant("rows", rows),
            constant("threshold", 0.0),
            helper.make_node(
                "ReduceMax", ["observation.images.front"], ["f"], axes=[0, 1, 2, 3], keepdims=0
            ),
            helper.make_node("LessOrEqual", ["f", "threshold"], ["dark"]),
            helper.make_node("Loop", ["", "dark", "rows"], ["action"], body=body),
        ]
    )


def flow_document(**changes: Any) -> dict[str, Any]:
    """The document of a flow policy that asks for the same ramp, with real-time chunking."""
    return document(
        **{
            "name": "flow",
            "graphs": {"encode": "encode.onnx", "step": "policy.onnx"},
            "decoder": {"type": "flow", "steps": 5},
            "chunk__rtc": {"mode": "trained", "max_delay": 4},
            **changes,
        }
    )


def encode_model() -> bytes:
    """`cond` is the sum of the mean brightnesses, shape (1, 1)."""
    means = [
        helper.make_node(
            "ReduceMean", [f"observation.images.{camera}"], [camera], axes=[2, 3], keepdims=0
        )
        for camera in CAMERAS
    ]
    return model(
        [
            *means,
            helper.make_node("Add", list(CAMERAS), ["both"]),
            helper.make_node("ReduceMean", ["both"], ["cond"], axes=[1], keepdims=1),
        ],
        [value_info("cond", [1, 1])],
    )


def flow_model(
    width: int = len(JOINTS),
    time: tuple[Any, ...] = (1, ROWS),
    step: float = RAMP,
    bias: float = 1.0,
) -> bytes:
    """The velocity of a flow from any noise to the ramp, `(x - ramp) / max(t, 0.001)`.

    Args:
        width: Columns of the sample; those beyond the joints flow to 0.
        time: Shape of the input `timestep`; of rank 2 for a time per row.
        step: Radians per row.
        bias: Share of the brightness that is added to the gripper.
    """
    rows = np.zeros((1, ROWS, width))
    rows[..., : len(JOINTS)] = step * np.arange(1, ROWS + 1)[:, None]
    gripper = np.zeros((1, 1, width))
    gripper[..., len(JOINTS) - 1] = bias
    shape = [1, ROWS, width]
    each = [1, ROWS, 1] if len(time) == 2 else [1, 1, 1]
    return model(
        [
            constant("rows", rows),
            constant("gripper", gripper),
            constant("least", 0.001),
            helper.make_node(
                "Constant", [], ["each"], value=numpy_helper.from_array(np.array(each))
            ),
            helper.make_node("Mul", ["gripper", "cond"], ["bias"]),
            helper.make_node("Add", ["rows", "bias"], ["ramp"]),
            helper.make_node("Max", ["timestep", "least"], ["safe"]),
            helper.make_node("Reshape", ["safe", "each"], ["t"]),
            helper.make_node("Sub", ["x_t", "ramp"], ["gap"]),
            helper.make_node("Div", ["gap", "t"], ["v_t"]),
        ],
        [value_info("v_t", shape)],
        [
            value_info("x_t", shape),
            value_info("timestep", list(time)),
            value_info("cond", [1, 1]),
        ],
    )


def prefix_document(**changes: Any) -> dict[str, Any]:
    """The document of a policy with its sampler in the graph, as `prefix_model` is one."""
    kinds = {
        "noise": "policy/noise",
        "action_prefix": "policy/action_prefix",
        "delay": "policy/inference_delay",
    }
    return document(
        **{
            "name": "prefix",
            "chunk__rtc": {"mode": "graph", "max_delay": 4},
            **{f"observations__{name}": {"kind": kind} for name, kind in kinds.items()},
            **changes,
        }
    )


def prefix_model(dtype: int = TensorProto.INT64) -> bytes:
    """The first `delay` rows are the prefix, the others the ramp and a little of the noise."""
    shape = [1, ROWS, len(JOINTS)]
    rows = RAMP * np.arange(1, ROWS + 1)[None, :, None] * np.ones(len(JOINTS))
    return model(
        [
            constant("rows", rows),
            constant("little", 0.001),
            constant("index", np.arange(ROWS)[None, :, None]),
            helper.make_node("Mul", ["noise", "little"], ["blur"]),
            helper.make_node("Add", ["rows", "blur"], ["free"]),
            helper.make_node("Cast", ["delay"], ["d"], to=TensorProto.FLOAT),
            helper.make_node("Less", ["index", "d"], ["decided"]),
            helper.make_node("Where", ["decided", "action_prefix", "free"], ["action"]),
        ],
        extra=[
            *inputs(),
            value_info("noise", shape),
            value_info("action_prefix", shape),
            value_info("delay", [1], dtype),
        ],
    )


def write_bundle(
    directory: Path,
    described: dict[str, Any] | None = None,
    graph: bytes | None = None,
    files: dict[str, bytes] | None = None,
) -> Path:
    """Write a bundle with correct hashes.

    Args:
        directory: Where; created if needed.
        described: Content of policy.yaml, `document()` by default.
        graph: The step graph, `ramp_model()` by default.
        files: Further files by name.
    """
    directory.mkdir(parents=True, exist_ok=True)
    described = document() if described is None else described
    contents = {"policy.onnx": ramp_model() if graph is None else graph, **(files or {})}
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    described.setdefault(
        "files", {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    )
    (directory / "policy.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
    return directory
