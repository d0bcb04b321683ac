# SPDX-License-Identifier: Apache-2.0
"""Write the policy as a bundle: an ONNX graph and the document that says what it means."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from network import ChunkPolicy
from pipeline import IMAGE_SIZE

_DOCUMENT = """\
# Made by examples/train_so101/reproduce.py.
format: policy_package
version: "1.1"
name: {name}
robot: so101
rate: 10
graphs: {{step: policy.onnx}}
observations:
  observation.state:
    kind: state/joint/position
    names: [shoulder_pan, shoulder_lift, elbow_flex, wrist_flex, wrist_roll, gripper]
  observation.images.front:
    kind: sensor/image
    image: {{size: [96, 96], interpolation: area, range: [0, 1], layout: chw}}
  observation.images.wrist:
    kind: sensor/image
    image: {{size: [96, 96], interpolation: area, range: [0, 1], layout: chw}}
decoder: {{type: direct, output: action}}
action:
  parts:
    - kind: target/joint/position
      names: [shoulder_pan, shoulder_lift, elbow_flex, wrist_flex, wrist_roll, gripper]
      mode: relative
chunk: {{size: 16, execute: 2, start: 0, smoothing: 0.0}}
files:
  policy.onnx: {sha256}
"""


def export_graph(policy: ChunkPolicy, path: Path) -> None:
    """Write the graph alone, opset 17, in one file."""
    policy.eval()
    policy.to(memory_format=torch.contiguous_format)
    image = torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        policy,
        (torch.zeros(1, 6), image, image),
        str(path),
        input_names=[
            "observation.state",
            "observation.images.front",
            "observation.images.wrist",
        ],
        output_names=["action"],
        opset_version=17,
        dynamo=False,
    )


def write_bundle(policy: ChunkPolicy, folder: Path, name: str = "so101_pick_place") -> None:
    """Write `policy.onnx` and `policy.yaml` with its hash into `folder`."""
    graph = folder / "policy.onnx"
    export_graph(policy, graph)
    digest = hashlib.sha256(graph.read_bytes()).hexdigest()
    (folder / "policy.yaml").write_text(_DOCUMENT.format(name=name, sha256=digest))
