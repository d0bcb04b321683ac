# SPDX-License-Identifier: Apache-2.0
"""Refuse to run unsecured where DDS security was asked for.

ROS itself does not: with `ROS_SECURITY_ENABLE=true` alone, a node without keys joins the graph in
plain text, and anybody may command the arm. docs/security.md says how to set it up.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from levine_policy_node.errors import ConfigError, SystemDependencyError

ENABLE = "ROS_SECURITY_ENABLE"
STRATEGY = "ROS_SECURITY_STRATEGY"
KEYSTORE = "ROS_SECURITY_KEYSTORE"

# What Fast DDS and Cyclone DDS say when they were built without their plugins.
_NO_PLUGIN = ("doesn't have the security libraries", "does not have security support")
_PROBE = """
import rclpy
rclpy.init(args=["--ros-args", "--enclave", "/probe"])
rclpy.create_node("probe")
"""
_PROBE_TIMEOUT_S = 60.0


def asked_for() -> bool:
    """Whether the environment asks for security, as ROS reads it."""
    return os.environ.get(ENABLE) == "true"


def require_security() -> None:
    """Check, before the first node, that asking for security gives security.

    Raises:
        SystemDependencyError: If the middleware has no security plugins.
        ConfigError: If the environment would let a node run unsecured.
    """
    if not asked_for():
        if os.environ.get(ENABLE, "").lower() in {"1", "yes", "on", "true"}:
            found = os.environ[ENABLE]
            raise ConfigError(ENABLE, "", f"ROS takes '{found}' for off", "Write true")
        return
    if not _has_plugin():
        raise SystemDependencyError(
            f"{ENABLE} is true, but the DDS of this installation was built without security "
            f"plugins (so are the wheels from PyPI). Use ROS packages with them, or unset {ENABLE}"
        )
    if os.environ.get(STRATEGY) != "Enforce":
        found = os.environ.get(STRATEGY, "")
        problem = (
            f"expected Enforce, found '{found}', with which a node without keys runs unsecured"
        )
        raise ConfigError(STRATEGY, "", problem, f"Set it, or unset {ENABLE}")
    keystore = os.environ.get(KEYSTORE, "")
    if not (Path(keystore) / "enclaves").is_dir():
        problem = f"expected a keystore, found '{keystore}'"
        raise ConfigError(KEYSTORE, "", problem, "Make one as docs/security.md says")


@contextlib.contextmanager
def in_one_line() -> Iterator[None]:
    """Turn what ROS raises for missing or wrong keys into one line.

    Raises:
        SystemDependencyError: If something fails in ROS while security is on.
    """
    try:
        yield
    except RuntimeError as error:
        # RCLError, which rclpy gives no public name.
        if not asked_for() or type(error).__name__ != "RCLError":
            raise
        text = " ".join(str(error).split(", at /")[0].split())
        raise SystemDependencyError(f"{text}. docs/security.md says how to make keys") from error


def _has_plugin() -> bool:
    """Try a node with an empty set of keys, in a process of its own: ROS says it at length."""
    with tempfile.TemporaryDirectory(prefix="levine_keys_") as keystore:
        (Path(keystore) / "enclaves" / "probe").mkdir(parents=True)
        tried = subprocess.run(
            [sys.executable, "-c", _PROBE],
            env={**os.environ, KEYSTORE: keystore, STRATEGY: "Enforce"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    said = tried.stderr.decode(errors="replace")
    return not any(text in said for text in _NO_PLUGIN)
