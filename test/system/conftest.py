# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that run the whole graph."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from running import Running

NEEDED = ("rclpy", "mujoco")
HAS_ALL = all(importlib.util.find_spec(name) is not None for name in NEEDED)
collect_ignore_glob = [] if HAS_ALL else ["test_*.py"]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """Every process of the demo on a domain of its own, ready to be armed."""
    from running import whole_graph

    with whole_graph(tmp_path) as graph:
        yield graph
