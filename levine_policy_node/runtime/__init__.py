# SPDX-License-Identifier: Apache-2.0
"""IO that is not ROS: bundles, inference, recordings."""
