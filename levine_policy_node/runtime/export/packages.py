# SPDX-License-Identifier: Apache-2.0
"""Packages that only exports need, imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from levine_policy_node.errors import SystemDependencyError


def package(name: str, use: str) -> Any:
    """Import a package of the extra `export`.

    Args:
        name: Such as `pyarrow.parquet`.
        use: What needs it.

    Raises:
        SystemDependencyError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SystemDependencyError(
            f"{use} needs the package {name.partition('.')[0]} ({error}). Install it: "
            "pip install 'levine_policy_node[export]'"
        ) from error
