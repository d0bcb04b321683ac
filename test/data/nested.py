# SPDX-License-Identifier: Apache-2.0
"""Fields deep in a document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def replaced(document: Any, changes: Mapping[str, Any]) -> Any:
    """Replace nested fields of a document in place and return it.

    Args:
        document: Mappings and lists.
        changes: By path, such as `a__0__b`; None removes the field.
    """
    for path, value in changes.items():
        *parents, last = [int(part) if part.isdigit() else part for part in path.split("__")]
        target = document
        for parent in parents:
            target = target[parent]
        if value is None:
            del target[last]
        else:
            target[last] = value
    return document
