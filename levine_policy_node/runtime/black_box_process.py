# SPDX-License-Identifier: Apache-2.0
"""The black box: a small process beside the supervisor that keeps its last seconds.

It is started by the supervisor and gets every tick through a pair of sockets. The control loop
therefore never meets a disk, and what it did before it was killed is still here: when the sockets
close without a farewell, that is a stop, too. It ends by itself when the supervisor has ended.

Messages to it: `H` and a JSON document (once, first), `T` and a packed tick, `E` and a JSON
document (farewell). Messages from it: a JSON document per incident.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from levine_policy_node.core.black_box import DIED, BlackBox
from levine_policy_node.core.tick_record import unpack_tick
from levine_policy_node.runtime.stop_saver import Saved, StopSaver, Surroundings
from levine_policy_node.runtime.stop_store import StopStore

HEAD, TICK, END = b"H", b"T", b"E"
LARGEST = 1 << 20
"""No message is longer [bytes]."""

# A disk that does not answer for so long will not.
_LAST_WAIT_S = 20.0


def main(arguments: list[str]) -> int:
    """Serve the supervisor at the other end of the socket whose number is given."""
    # Ends with the supervisor, and not before it has said what there is to say.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # The supervisor's own urgency is for its loop.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    gc.freeze()
    with socket.socket(fileno=int(arguments[0])) as link:
        head = link.recv(LARGEST)
        if head[:1] != HEAD:
            return 1
        return _serve(link, json.loads(head[1:]))


def _serve(link: socket.socket, head: Mapping[str, Any]) -> int:
    def tell(saved: Saved) -> None:
        document = {"cause": saved.stop.cause, "file": saved.file, "problem": saved.problem}
        # Whoever does not read it any more, or not in time, has other worries.
        with contextlib.suppress(OSError):
            link.send(json.dumps(document).encode(), socket.MSG_DONTWAIT)

    store = StopStore(Path(head["root"]), head["keep_files"], head["keep_mb"], head["reserve_gb"])
    around = Surroundings(tuple(head["joint_names"]), head["topics"], head["document"])
    saver = StopSaver(store, around, tell)
    box = BlackBox()
    cause, evidence = DIED, "the process ended without a farewell"
    buffer = bytearray(LARGEST)
    while message := _received(link, buffer):
        if message[:1] == TICK:
            for step in box.add(unpack_tick(message[1:]), len(message)):
                saver.take(step)
        elif message[:1] == END:
            farewell = json.loads(message[1:])
            cause, evidence = farewell["cause"], farewell["evidence"]
            break
    for step in box.finish(cause, evidence):
        saver.take(step)
    return 0 if saver.close(_LAST_WAIT_S) else 1


def _received(link: socket.socket, buffer: bytearray) -> bytes:
    """The next message, b"" when there will be none."""
    try:
        return bytes(memoryview(buffer)[: link.recv_into(buffer)])
    except ConnectionError:
        return b""


if __name__ == "__main__":
    # Also past a thread that waits for a disk.
    os._exit(main(sys.argv[1:]))
