# SPDX-License-Identifier: Apache-2.0
"""Write hold/: a bundle with the inputs of so101_pick_place that asks the arm to stay put."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

POLICY = """\
format: policy_package
version: "1.1"
name: hold
robot: so101
rate: 10
graphs: {{step: policy.onnx}}
observations:
  observation.state:
    kind: state/joint/position
    names: [shoulder_pan, shoulder_lift, elbow_flex, wrist_flex, wrist_roll, gripper]
  observation.images.front:
    kind: sensor/image
    image: {{size: [96, 96], range: [0, 1], layout: chw}}
  observation.images.wrist:
    kind: sensor/image
    image: {{size: [96, 96], range: [0, 1], layout: chw}}
decoder: {{type: direct, output: action}}
action:
  parts:
    - kind: target/joint/position
      names: [shoulder_pan, shoulder_lift, elbow_flex, wrist_flex, wrist_roll, gripper]
      mode: relative
chunk: {{size: 16, execute: 2, start: 0}}
files:
  policy.onnx: {sha256}
"""


def main() -> None:
    image = [1, 3, 96, 96]
    inputs = [
        helper.make_tensor_value_info("observation.state", TensorProto.FLOAT, [1, 6]),
        helper.make_tensor_value_info("observation.images.front", TensorProto.FLOAT, image),
        helper.make_tensor_value_info("observation.images.wrist", TensorProto.FLOAT, image),
    ]
    zeros = numpy_helper.from_array(np.zeros((1, 16, 6), np.float32))
    graph = helper.make_graph(
        [helper.make_node("Constant", [], ["action"], value=zeros)],
        "hold",
        inputs,
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, 16, 6])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    folder = Path(__file__).parent / "hold"
    folder.mkdir(exist_ok=True)
    (folder / "policy.onnx").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    (folder / "policy.yaml").write_text(POLICY.format(sha256=digest))


if __name__ == "__main__":
    main()
