# SPDX-License-Identifier: Apache-2.0
"""A bundle is tried in a process that may die of it, before that of a robot loads it.

The child reads the bundle anew, limits itself, makes the sessions and runs every graph; that it
read the same bytes is seen from the hash it reports. Whatever it does to itself (a crash inside
ONNX Runtime, memory, time without end) becomes one line here.

Loading Python, NumPy and ONNX Runtime takes ten times as long as the trial of a small policy, and
of a computer whose policy moves an arm meanwhile. So one process (`trial_server`) loads them once
and each trial is a fork of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from levine_policy_node.errors import BundleError
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.onnx_loader import OnnxOptions
from levine_policy_node.runtime.remote_access import RemoteAccess
from levine_policy_node.runtime.trial_server import LARGEST, REFUSED

_ROOT = Path(__file__).resolve().parents[2]
_SERVER = "levine_policy_node.runtime.trial_server"
_CHILD = "levine_policy_node.runtime.trial_child"
# Of the weights: as read, as handed over, as the session keeps them, as it rearranges them.
_COPIES = 4
# For policy.yaml and what else is read besides weights.
_SLACK_BYTES = 16 * 1024**2
_NICENESS = 19
# Python and ONNX Runtime are loaded before the child's own clock begins.
_START_S = 30.0
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


class Trials:
    """Tries one bundle after the other; the process it forks them from starts with the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None

    def try_bundle(
        self,
        bundle: Bundle,
        robot: Robot | None = None,
        options: OnnxOptions | None = None,
        limits: TrialLimits | None = None,
        access: RemoteAccess | None = None,
    ) -> None:
        """Load and run a bundle in a process of its own.

        Of a policy on a server the child reads the answers first: to plausible observations,
        where there is a robot.

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
        with self._lock:
            code, last = self._ask(request, _patience_s(limits))
        if code != 0 or last != bundle.sha256:
            raise BundleError(str(bundle.path), "", _reason(code, last, limits))

    def close(self) -> None:
        """End the process; the next trial would start another."""
        with self._lock:
            self._end()

    def _ask(self, request: Mapping[str, object], patience_s: float) -> tuple[int | None, str]:
        """The child's exit code (negative: a signal; None: it took too long) and its last line."""
        reused = self._server is not None
        code, last = self._answer(request, patience_s)
        if reused and self._server is None and code is not None:
            # It runs nothing of a bundle, so that it has died says nothing about this one.
            return self._answer(request, patience_s)
        return code, last

    def _answer(self, request: Mapping[str, object], patience_s: float) -> tuple[int | None, str]:
        """See `_ask`; a server that is of no more use is ended."""
        server, link = self._running()
        link.settimeout(patience_s)
        try:
            link.send(json.dumps(request).encode())
            reply = link.recv(LARGEST)
        except TimeoutError:
            self._end()
            return None, ""
        except OSError:
            reply = b""
        if not reply:
            code = server.wait(patience_s)
            self._end()
            return code or None, ""
        told = json.loads(reply)
        return int(told["code"]), str(told["last"])

    def _running(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        if self._server is not None and self._link is not None and self._server.poll() is None:
            return self._server, self._link
        self._end()
        link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            server = _start(theirs.fileno())
        self._server, self._link = server, link
        return server, link

    def _end(self) -> None:
        if self._link is not None:
            self._link.close()
        if self._server is not None:
            # With the child, if there is one.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
        self._server = self._link = None


def try_bundle(
    bundle: Bundle,
    robot: Robot | None = None,
    options: OnnxOptions | None = None,
    limits: TrialLimits | None = None,
    access: RemoteAccess | None = None,
) -> None:
    """Try a single bundle; see `Trials.try_bundle`."""
    with contextlib.closing(Trials()) as trials:
        trials.try_bundle(bundle, robot, options, limits, access)


def _start(link: int) -> subprocess.Popen[bytes]:
    # The working directory is on the path of a module that is run: never that of a bundle.
    search = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    # Forks of a process with threads may hang: NumPy's library would start some.
    settings = {"PYTHONPATH": os.pathsep.join(search), "OPENBLAS_NUM_THREADS": "1"}
    server = subprocess.Popen(
        [sys.executable, "-B", "-m", _SERVER, str(link), _CHILD],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={**os.environ, **settings},
        pass_fds=(link,),
        start_new_session=True,
    )
    # From its first import on, or it would be as urgent as the policy that moves the arm.
    with contextlib.suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, server.pid, _NICENESS)
    return server


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
