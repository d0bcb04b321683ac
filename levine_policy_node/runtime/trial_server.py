# SPDX-License-Identifier: Apache-2.0
"""The process that has loaded everything a trial needs, and forks a child for each.

It runs nothing of a bundle itself and ends with the process at the other end of its socket. Beside
its own it has one thread, of ONNX Runtime, that only waits.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable

REFUSED = 3
"""Exit code of a child that refused the bundle and says why."""

LARGEST = 64 * 1024
"""No message, and nothing a child says, is longer [byte]."""

_STDOUT = 1


def main(link_number: int, module: str) -> int:
    """Serve until the other end is closed.

    Args:
        link_number: Descriptor of the socket.
        module: Whose `run(text)` tries what a request describes and returns the exit code.
    """
    run: Callable[[str], int] = importlib.import_module(module).run
    with socket.socket(fileno=link_number) as link:
        while request := link.recv(LARGEST):
            reply = _tried(request.decode(), run, link)
            if reply is None:
                return 0
            link.send(json.dumps(reply).encode())
    return 0


def _tried(
    request: str, run: Callable[[str], int], link: socket.socket
) -> dict[str, object] | None:
    """The child's exit code, negative for a signal, and its last line; None if nobody waits."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        link.close()
        os.close(reader)
        os.dup2(writer, _STDOUT)
        _as_child(run, request)
    os.close(writer)
    said = _heard(reader, link)
    os.close(reader)
    if said is None:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if said is None:
        return None
    lines = said.decode(errors="replace").strip().splitlines()
    return {"code": code, "last": lines[-1][:1000] if lines else ""}


def _as_child(run: Callable[[str], int], request: str) -> None:
    code = 1
    try:
        sys.stdout = open(_STDOUT, "w", closefd=False)  # noqa: SIM115  this process only ends
        code = run(request)
        sys.stdout.flush()
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 1
    finally:
        # Nothing of the server's is to be cleaned up by its fork.
        os._exit(code)


def _heard(output: int, link: socket.socket) -> bytes | None:
    """What the child said first, once it has ended; None if the other end is gone."""
    poll = select.poll()
    poll.register(output, select.POLLIN)
    poll.register(link, select.POLLIN)
    said = b""
    while True:
        ready = {number for number, _ in poll.poll()}
        if link.fileno() in ready:
            return None
        heard = os.read(output, LARGEST)
        if not heard:
            return said
        said = (said + heard)[:LARGEST]


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2]))
