# SPDX-License-Identifier: Apache-2.0
"""What tests of loaded policies share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from levine_policy_node.robot import Robot
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.onnx_loader import OnnxOptions
from levine_policy_node.runtime.onnx_policy import OnnxPolicy


@pytest.fixture
def load_written(tmp_path):
    """Load the bundle that a function writes into the folder it is given; closed at the end."""
    made: list[OnnxPolicy] = []

    def load(
        write: Callable[[Path], object], robot: Robot, options: OnnxOptions | None = None
    ) -> OnnxPolicy:
        directory = tmp_path / f"bundle{len(made)}"
        write(directory)
        made.append(OnnxPolicy(load_bundle(directory), robot, options))
        return made[-1]

    yield load
    for policy in made:
        policy.close()
