# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that need ROS 2."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness import Graph

HAS_ROS = importlib.util.find_spec("rclpy") is not None
collect_ignore_glob = [] if HAS_ROS else ["test_*.py"]


@pytest.fixture
def ros_args() -> Sequence[str]:
    """Arguments of the default context; a test module may override this fixture."""
    return ()


@pytest.fixture
def ros(ros_args: Sequence[str]) -> Iterator[Graph]:
    """An isolated ROS graph (own context, own domain) that leaves nothing behind."""
    from harness import ros_graph

    with ros_graph(ros_args) as graph:
        yield graph
