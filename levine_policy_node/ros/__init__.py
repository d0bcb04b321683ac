# SPDX-License-Identifier: Apache-2.0
"""ROS glue shared by the nodes."""
