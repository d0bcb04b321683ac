# SPDX-License-Identifier: Apache-2.0
"""A bundle is tried in a process that may die of it, before that of a robot loads it.

The child reads the bundle anew, limits itself, makes the sessions and runs every graph; that it
read the same bytes is seen from the hash it reports. Whatever it does to itself (a crash inside
ONNX Runtime, memory, time without end) becomes one line here.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from levine_policy_node.errors import BundleError
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.onnx_loader import OnnxOptions
from levine_policy_node.runtime.remote_access import RemoteAccess
from levine_policy_node.runtime.trial_child import REFUSED

_ROOT = Path(__file__).resolve().parents[2]
_MODULE = "levine_policy_node.runtime.trial_child"
# Of the weights: as read, as handed over, as the session keeps them, as it rearranges them.
_COPIES = 4
# For policy.yaml and what else is read besides weights.
_SLACK_BYTES = 16 * 1024**2
_NICENESS = 19
# Python and ONNX Runtime are loaded before the child's own clock begins.
_START_S = 30.0
_MAX_OUTPUT_BYTES = 64 * 1024
_SIGNALS = {
    signal.SIGXCPU: "used more than {limits.timeout_s:g} s of processor time",
    signal.SIGALRM: "took longer than {limits.timeout_s:g} s",
    signal.SIGKILL: "was killed (too much memory or processor time)",
}


@dataclass(frozen=True, slots=True)
class TrialLimits:
    """What a bundle may use while it is tried.

    Attributes:
        timeout_s: Processor time of a thread, and time on the clock [s].
        memory_bytes: Address space beyond that of the empty process and four times the bundle; on
            a GPU it is not limited, because CUDA reserves more than any limit [byte].
    """

    timeout_s: float = 60.0
    memory_bytes: int = 4 * 1024**3


def try_bundle(
    bundle: Bundle,
    robot: Robot | None = None,
    options: OnnxOptions | None = None,
    limits: TrialLimits | None = None,
    access: RemoteAccess | None = None,
) -> None:
    """Load and run a bundle in a process of its own.

    Of a policy on a server the child reads the answers first: to plausible observations, where
    there is a robot.

    Args:
        bundle: What was read and verified here; nothing of it has been run.
        robot: The robot it is for; without one the graphs are loaded and run on zeros only.
        options: How the graphs will be run.
        limits: What the child may use.
        access: Which servers it may ask; those on this computer unless given.

    Raises:
        BundleError: If the child refused it, died, took too long, or read other bytes.
    """
    options, limits = options or OnnxOptions(), limits or TrialLimits()
    size = sum(map(len, bundle.files.values()))
    request = {
        "bundle": str(bundle.location),
        "robot": None if robot is None else str(robot.path.resolve()),
        "provider": options.provider,
        "threads": options.threads,
        "inference_timeout_s": options.timeout_s,
        "timeout_s": limits.timeout_s,
        "memory_bytes": limits.memory_bytes + _COPIES * size,
        "max_bytes": size + _SLACK_BYTES,
        "remote_hosts": (access or RemoteAccess()).hosts,
    }
    with tempfile.TemporaryFile() as output:
        code = _run(request, output, limits)
        output.seek(0)
        said = output.read(_MAX_OUTPUT_BYTES).decode(errors="replace").strip().splitlines()
    last = said[-1] if said else ""
    if code == 0 and last == bundle.sha256:
        return
    raise BundleError(str(bundle.path), "", _reason(code, last, limits))


def _run(request: Mapping[str, object], output: IO[bytes], limits: TrialLimits) -> int | None:
    """Exit code of the child, negative for a signal, or None if it took too long."""
    # The working directory is on the path of a module that is run: never that of a bundle.
    search = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    child = subprocess.Popen(
        [sys.executable, "-B", "-m", _MODULE, json.dumps(request)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(search)},
        start_new_session=True,
    )
    # From its first import on, or it would be as urgent as the policy that moves the arm.
    with contextlib.suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, child.pid, _NICENESS)
    try:
        return child.wait(_patience_s(limits))
    except subprocess.TimeoutExpired:
        return None
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _patience_s(limits: TrialLimits) -> float:
    """The child ends itself after its time; this is for one that no longer can [s]."""
    return 2.0 * limits.timeout_s + _START_S


def _reason(code: int | None, last: str, limits: TrialLimits) -> str:
    if code == REFUSED and last:
        return last[:500]
    if code is None:
        return f"refused: its trial took longer than {_patience_s(limits):g} s"
    if code == 0:
        return "refused: its files changed between reading and trying them"
    if code < 0:
        known = _SIGNALS.get(signal.Signals(-code))
        what = known.format(limits=limits) if known else f"crashed ({signal.Signals(-code).name})"
        return f"refused: its trial {what}"
    return f"refused: its trial failed (exit code {code}). {last[:200]}".rstrip(". ")
