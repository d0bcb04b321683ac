# SPDX-License-Identifier: Apache-2.0
"""The simulated SO-101: physics, cameras, task, expert. Needs the `sim` extra (MuJoCo)."""
