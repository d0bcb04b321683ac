# SPDX-License-Identifier: Apache-2.0
"""Message definitions of the installed ROS packages, as a recording carries them.

A recording explains itself: each type's full definition is stored in the file (schema encoding
`ros2msg`): the text of the `.msg` file, then every type it uses, each after a line of 80 `=` and
a line `MSG: package/Type`. The files are found in `share/<package>/msg` of a sourced ROS
(`AMENT_PREFIX_PATH`) or of the ROS wheels.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from levine_policy_node.errors import RecordingError

SEPARATOR = "=" * 80

_BASIC_TYPES = frozenset(
    {"bool", "byte", "char", "string", "wstring", "float32", "float64"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)


@cache
def ros2msg_definition(type_name: str) -> str:
    """Return the complete definition of a type such as `sensor_msgs/msg/JointState`.

    Raises:
        RecordingError: If the type, or one it uses, is not installed.
    """
    parts: list[str] = []
    seen = [type_name]
    for name in seen:  # grows while it is read: breadth first, each type once
        text = _message_path(name, ".msg").read_text(encoding="utf-8").strip() + "\n"
        package, _, short = name.split("/")
        parts.append(text if not parts else f"{SEPARATOR}\nMSG: {package}/{short}\n{text}")
        seen.extend(used for used in _used_types(text, package) if used not in seen)
    return "".join(parts)


@cache
def type_hash(type_name: str) -> str:
    """Return a type's RIHS01 hash, or "" where the ROS release has none (Humble)."""
    try:
        path = _message_path(type_name, ".json")
    except RecordingError:
        return ""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    hashes: list[dict[str, str]] = document.get("type_hashes", [])
    return next((h["hash_string"] for h in hashes if h.get("type_name") == type_name), "")


def _used_types(text: str, package: str) -> Iterator[str]:
    """Yield the non-basic types of a definition's fields, as `package/msg/Type`, in order."""
    found: list[str] = []
    for line in text.splitlines():
        tokens = line.split("#", 1)[0].split()
        # A constant (`uint8 OK=0` or `uint8 OK = 0`) always has a basic type.
        if len(tokens) < 2:
            continue
        base = tokens[0].split("[", 1)[0].split("<", 1)[0]
        if base in _BASIC_TYPES:
            continue
        owner, _, short = base.rpartition("/")
        name = f"{owner or package}/msg/{short}"
        if name not in found:
            found.append(name)
    yield from found


def _message_path(type_name: str, suffix: str) -> Path:
    package, kind, short = type_name.split("/")
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    for prefix in [*prefixes, sys.prefix]:
        path = Path(prefix) / "share" / package / kind / f"{short}{suffix}"
        if path.is_file():
            return path
    raise RecordingError(
        f"{type_name}: its definition {package}/{kind}/{short}{suffix} is not installed. "
        f"Install the ROS package {package} or source the ROS that has it"
    )
