# SPDX-License-Identifier: Apache-2.0
"""On-hardware learned control for ROS 2.

The tree is the architecture:

- `core`: pure decisions over frozen values; numpy and stdlib only, time passed in.
- `runtime`: IO that is not ROS (bundles, ONNX Runtime, MCAP files).
- `ros`: shared ROS glue (parameters, messages, QoS, controllers).
- `nodes`: thin ROS nodes and their processes.
- `sim`: the simulated SO-101, its cameras, task and expert.
- `cli`: the `levine` command.

Dependencies point one way: `nodes, cli, sim -> ros, runtime -> core`.
"""
