# SPDX-License-Identifier: Apache-2.0
"""Run nodes in this process until a signal, with clear errors and exit codes."""

from __future__ import annotations

import gc
import inspect
import signal
import sys
import threading
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from levine_policy_node.errors import LevineError
from levine_policy_node.parentage import end_with_parent
from levine_policy_node.ros.security import in_one_line, require_security
from levine_policy_node.ros.spin import Spinner

EXIT_OK = 0
EXIT_USAGE = 2
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _spin(nodes: Sequence[Node], stop: threading.Event) -> None:
    Spinner(nodes).spin(stop)


def run(
    factory: Callable[[], Sequence[Node]],
    argv: list[str] | None = None,
    spin: Callable[[Sequence[Node], threading.Event], None] = _spin,
) -> int:
    """Create nodes, spin them in one thread until SIGINT or SIGTERM, and clean up.

    `factory` is called after rclpy is initialised; a node may define `close()`, which is called
    before it is destroyed. `spin` runs the nodes' callbacks until the event is set. A
    `LevineError` ends the process with one line and exit code 2.

    Returns:
        The process exit code.
    """
    try:
        require_security()
        with in_one_line():
            rclpy.init(args=argv, signal_handler_options=SignalHandlerOptions.NO)
    except LevineError as error:
        return _refuse(error)
    stop = threading.Event()
    for number in _SIGNALS:
        signal.signal(number, lambda _number, _frame: stop.set())
    end_with_parent()
    nodes: Sequence[Node] = ()
    try:
        with in_one_line():
            nodes = factory()
        _know_every_module()
        # What start-up made is never garbage. Looking through it again takes tens of milliseconds
        # with the interpreter lock held, time enough to miss a heartbeat.
        gc.collect()
        gc.freeze()
        # Shutting the context down to end the spinning would pull the publishers from under the
        # nodes' threads, so it is told to stop.
        spin(nodes, stop)
    except ExternalShutdownException:
        pass
    except LevineError as error:
        return _refuse(error)
    finally:
        for node in nodes:
            close = getattr(node, "close", None)
            if close is not None:
                close()
            node.destroy_node()
        rclpy.try_shutdown()
        # Once more would end the process as if it had failed, since on its way out the interpreter
        # forgets handlers; a Ctrl-C comes twice, from the terminal and from `ros2 launch`.
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
    return EXIT_OK


def _know_every_module() -> None:
    """Spare the first message that is logged from looking for its source file.

    To say where it was logged, rclpy has `inspect` resolve the path of every module, once: 30 ms
    of work under the interpreter lock, 160 on a busy machine, just when something is wrong.
    """
    frame = inspect.currentframe()
    if frame is not None:
        inspect.getframeinfo(frame)


def _refuse(error: LevineError) -> int:
    sys.stderr.write(f"error: {error}\n")
    return EXIT_USAGE
