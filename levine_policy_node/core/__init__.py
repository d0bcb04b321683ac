# SPDX-License-Identifier: Apache-2.0
"""Pure decisions: no ROS, no ONNX, no disk, no clock, no logging."""
