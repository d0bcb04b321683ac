# SPDX-License-Identifier: Apache-2.0
"""What the process does that tries a bundle and is thrown away; `trial_server` forks it.

It says the bundle's hash as its last line, or one line of what is wrong and exits with `REFUSED`.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from levine_policy_node.errors import ConfigError, InferenceError, LevineError
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.bundle import Bundle, load_bundle
from levine_policy_node.runtime.onnx_graphs import OnnxGraphs
from levine_policy_node.runtime.onnx_loader import OnnxOptions, offered_places
from levine_policy_node.runtime.policy_loader import load_policy
from levine_policy_node.runtime.remote_access import RemoteAccess
from levine_policy_node.runtime.tensor_info import TensorInfo
from levine_policy_node.runtime.trial_server import REFUSED
from levine_policy_node.runtime.trust import Trust

_MAX_WRITTEN_BYTES = 64 * 1024
_DTYPES = {"tensor(bool)": "bool", "tensor(double)": "float64"}


def run(text: str) -> int:
    """Try the bundle that the request, a JSON text, describes; returns the exit code."""
    request: dict[str, Any] = json.loads(text)
    options = OnnxOptions(
        provider=request["provider"],
        threads=request["threads"],
        timeout_s=request["inference_timeout_s"],
    )
    try:
        on_cpu = offered_places(options.provider)[0] == "cpu"
        memory = int(request["memory_bytes"]) if on_cpu else None
        limit_process(float(request["timeout_s"]), memory, options.threads)
        # What vouches for the bytes was checked by whoever compares the hash.
        bundle = load_bundle(request["bundle"], Trust("off", max_bytes=request["max_bytes"]))
        if bundle.document.remote is None:
            run_on_zeros(bundle, options)
        if request["robot"] is not None:
            access = RemoteAccess(tuple(request["remote_hosts"]))
            load_policy(bundle, load_robot(request["robot"]), options, access).close()
    except LevineError as error:
        return _refuse(" ".join(str(error).split()))
    except MemoryError:
        return _refuse(f"{request['bundle']}: needs more memory than a trial may use")
    sys.stdout.write(f"\n{bundle.sha256}\n")
    sys.stdout.flush()
    return 0


def limit_process(timeout_s: float, memory_bytes: int | None, threads: int) -> None:
    """Limit what this process may use from now on.

    Args:
        timeout_s: On the clock, and of processor time for each thread [s].
        memory_bytes: Address space beyond what is in use already [byte]; None for any.
        threads: Threads of a run.
    """
    processor_s = math.ceil(time.process_time() + timeout_s * threads)
    resource.setrlimit(resource.RLIMIT_CPU, (processor_s, processor_s + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_WRITTEN_BYTES, _MAX_WRITTEN_BYTES))
    if memory_bytes is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        total = pages * os.sysconf("SC_PAGE_SIZE") + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (total, total))
    # Nobody catches it: it ends the process inside of ONNX Runtime, too.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)


def run_on_zeros(bundle: Bundle, options: OnnxOptions) -> None:
    """Load every graph and run it once on zeros.

    A graph whose inputs may have any size can refuse the sizes chosen here; it must only end.

    Raises:
        ConfigError: If a graph cannot be loaded.
        InferenceError: If one fails, or does not end.
    """
    graphs = OnnxGraphs(bundle, options)
    try:
        for role in graphs.roles:
            feed = {name: _zeros(info) for name, info in graphs.inputs(role).items()}
            given = {name: value for name, value in feed.items() if value is not None}
            if len(given) < len(feed):
                continue
            fixed = all(
                isinstance(size, int)
                for info in graphs.inputs(role).values()
                for size in info.shape
            )
            begin_s = time.monotonic()
            try:
                with graphs.inference():
                    graphs.run(role, given)
            except InferenceError:
                if fixed or time.monotonic() - begin_s >= options.timeout_s:
                    raise
    finally:
        graphs.close()


def _zeros(info: TensorInfo) -> npt.NDArray[Any] | None:
    """Zeros as declared, of size 1 where any goes; None for what is no number."""
    name = _DTYPES.get(info.dtype, info.dtype)
    if name.startswith("tensor("):
        return None
    shape = [size if isinstance(size, int) else 1 for size in info.shape]
    try:
        return np.zeros(shape, dtype=name)
    except ValueError as error:
        raise ConfigError("graph", "", f"has an impossible input ({info})"[:200]) from error


def _refuse(reason: str) -> int:
    sys.stdout.write(f"\n{reason[:600]}\n")
    sys.stdout.flush()
    return REFUSED
