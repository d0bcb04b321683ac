# SPDX-License-Identifier: Apache-2.0
"""The documents of both bundles, without the files' hashes."""

from __future__ import annotations

_COMMON = """\
format: policy_package
version: "1.1"
robot: so101
rate: 10
stats: stats.safetensors
action:
  normalize: mean_std
  parts:
    - kind: target/joint/position
      names: [shoulder_pan, shoulder_lift, elbow_flex, wrist_flex, wrist_roll, gripper]
      mode: relative
observations:
  state:
    kind: state/joint/position
    names: [shoulder_pan, shoulder_lift, elbow_flex, wrist_flex, wrist_roll, gripper]
    normalize: mean_std
  image_front:
    kind: sensor/image
    camera: front
    image: {size: [96, 96], interpolation: area, range: [0, 1], layout: chw}
  image_wrist:
    kind: sensor/image
    camera: wrist
    image: {size: [96, 96], interpolation: area, range: [0, 1], layout: chw}
"""

FLOW = f"""\
# Made by examples/flow_so101/reproduce.py: the runtime runs the flow.
name: so101_flow
{_COMMON}\
graphs: {{encode: encode.onnx, step: step.onnx}}
decoder: {{type: flow, steps: 10, x: x_t, time: timestep, velocity: v_t}}
chunk: {{size: 16, execute: 2, rtc: {{mode: trained, max_delay: 6}}}}
"""

GRAPH = f"""\
# Made by examples/flow_so101/reproduce.py: the flow and its prefix are inside the graph.
name: so101_flow_graph
{_COMMON}\
  noise: {{kind: policy/noise}}
  action_prefix: {{kind: policy/action_prefix}}
  delay: {{kind: policy/inference_delay, dtype: int64}}
graphs: {{step: policy.onnx}}
decoder: {{type: direct, output: actions}}
chunk: {{size: 16, execute: 2, rtc: {{mode: graph, max_delay: 6}}}}
"""
