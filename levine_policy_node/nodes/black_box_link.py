# SPDX-License-Identifier: Apache-2.0
"""The supervisor's end of its black box: hand over each tick, never wait, hear what was saved."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.node import Node

from levine_policy_node.core.black_box import LOOP_FAILED
from levine_policy_node.core.faults import Severity
from levine_policy_node.core.stop_messages import TYPES, WINDOW
from levine_policy_node.core.supervision import Decision, Inputs, Occurrence, SupervisorOptions
from levine_policy_node.core.tick_record import pack_tick
from levine_policy_node.core.units import SteadyNs
from levine_policy_node.resources import PACKAGE
from levine_policy_node.robot import Robot
from levine_policy_node.ros.clocks import steady_now
from levine_policy_node.runtime.black_box_process import END, HEAD, LARGEST, TICK

# Ticks of half a second and more; the system gives what it permits of it.
_BUFFER = 4 << 20
_FAREWELL_S = 1.0


@dataclass(frozen=True, slots=True)
class BlackBoxSettings:
    """Where stops are written and how many are kept; see `runtime.stop_store.StopStore`."""

    root: str
    keep_files: int
    keep_mb: int
    reserve_gb: float


class BlackBoxLink:
    """A process that keeps the last seconds, as far as it lives; the loop does not depend on it.

    `remember` is called by the loop, everything else by the executor's thread.
    """

    def __init__(self, head: Mapping[str, object] | None) -> None:
        """Start the process.

        Args:
            head: What it has to know (`black_box_head`); None for no black box.
        """
        self._number = 0
        self._lost = 0
        self._saved = 0
        self._problem = "off (black_box_root is empty)" if head is None else ""
        self._link: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        if head is None:
            return
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            self._link.settimeout(0.0)
            command = [sys.executable, "-m", "levine_policy_node.runtime.black_box_process"]
            # In a session of its own: what ends the supervisor's group leaves it to write.
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._send(HEAD + json.dumps(head).encode())

    @property
    def status(self) -> dict[str, str]:
        """For the diagnostics."""
        return {
            "black_box": self._problem or "ready",
            "black_box_stops_saved": str(self._saved),
            "black_box_ticks_lost": str(self._lost),
        }

    def remember(self, due_ns: SteadyNs, inputs: Inputs, decision: Decision) -> None:
        """Hand over a tick; one that cannot be taken at once is lost, and counted."""
        self._number += 1
        if self._link is not None:
            self._send(TICK + pack_tick(self._number, due_ns, steady_now(), inputs, decision))

    def news(self) -> list[Occurrence]:
        """What the process has said since the last call: files saved, or why not."""
        if self._link is None or self._process is None:
            return []
        heard = self._answers(self._link)
        if self._process.poll() is not None:
            self._process = None
            self._problem = "its process ended. Stops are not recorded until the supervisor is "
            self._problem += "started again"
            heard.append(_told(f"no black box: {self._problem}"))
        return heard

    def close(self, failure: str) -> list[Occurrence]:
        """Say farewell and wait a moment for the last file.

        Args:
            failure: What made the loop fail, which is a stop of its own; "" if nothing did.
        """
        if self._link is None or self._process is None:
            return []
        cause = LOOP_FAILED if failure else ""
        self._send(END + json.dumps({"cause": cause, "evidence": failure}).encode())
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_FAREWELL_S)
        heard = self._answers(self._link)
        self._link.close()
        self._link = None
        return heard

    def _send(self, message: bytes) -> None:
        try:
            if self._link is not None:
                self._link.send(message)
        except OSError:
            # Full, too large, or nobody there: never a reason to hold up the loop.
            self._lost += 1

    def _answers(self, link: socket.socket) -> list[Occurrence]:
        heard: list[Occurrence] = []
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while answer := link.recv(LARGEST):
                heard.append(self._heard(json.loads(answer)))
        return heard

    def _heard(self, answer: dict[str, Any]) -> Occurrence:
        self._problem = str(answer["problem"])
        if self._problem:
            return _told(f"the stop of {answer['cause']} is not recorded: {self._problem}")
        self._saved += 1
        return _told(f"stop recorded; to see it: levine record show {answer['file']}")


def _told(text: str) -> Occurrence:
    return Occurrence("BLACK_BOX", Severity.NOTICE, text)


def black_box_head(
    node: Node, settings: BlackBoxSettings, robot: Robot, options: SupervisorOptions
) -> dict[str, object]:
    """What the process has to know: where to write, and what holds for every stop."""
    window = f"{robot.controller.name}/joint_trajectory"
    named = {topic: topic for topic in TYPES} | {WINDOW: window}
    return {
        "root": str(Path(settings.root).resolve()),
        "keep_files": settings.keep_files,
        "keep_mb": settings.keep_mb,
        "reserve_gb": settings.reserve_gb,
        "joint_names": list(robot.joint_names),
        "topics": {topic: node.resolve_topic_name(name) for topic, name in named.items()},
        "document": {
            "robot": {"name": robot.name, "file": str(robot.path), "sha256": robot.sha256},
            "limits": _limits(robot, options),
            "options": _options(options),
            "software": software(),
            "node": node.get_fully_qualified_name(),
        },
    }


def _limits(robot: Robot, options: SupervisorOptions) -> dict[str, object]:
    """What each joint may do, where that comes from, and what nobody published."""
    limits = options.limits
    found: dict[str, object] = {}
    for i, name in enumerate(limits.names):
        joint = robot.joints[name]
        found[name] = {
            "position": [float(limits.lower[i]), float(limits.upper[i])],
            "velocity": float(limits.velocity[i]),
            "acceleration": float(limits.acceleration[i]),
            "jerk": float(limits.jerk[i]),
            "effort": joint.effort,
            "role": joint.role,
            "source": dict(joint.source),
            "placeholder": list(joint.placeholder),
        }
    return found


def _options(options: SupervisorOptions) -> dict[str, object]:
    """The supervisor's timing and tolerances, which are limits, too."""
    plain: dict[str, object] = {}
    for field in fields(options):
        name, value = field.name, getattr(options, field.name)
        if isinstance(value, (bool, int, float)):
            plain[name] = value
    return plain | {"home": np.asarray(options.home).tolist()}


def software() -> dict[str, str]:
    """Versions of what runs here."""
    try:
        own = version(PACKAGE)
    except PackageNotFoundError:
        own = "not installed"
    return {
        PACKAGE: own,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "ros_distro": os.environ.get("ROS_DISTRO", "unknown"),
        "rmw": os.environ.get("RMW_IMPLEMENTATION", "default"),
    }
