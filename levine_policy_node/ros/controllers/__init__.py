# SPDX-License-Identifier: Apache-2.0
"""Adapters from a safe command to the messages of a ros2_control controller."""
