# SPDX-License-Identifier: Apache-2.0
"""Thin ROS nodes; one process per executable."""
