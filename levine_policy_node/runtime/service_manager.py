# SPDX-License-Identifier: Apache-2.0
"""Tell systemd that the service is up, and that it lives (sd_notify, a datagram on a socket).

The protocol is that of sd_notify(3): with `WatchdogSec=` in the unit, systemd sets NOTIFY_SOCKET
and WATCHDOG_USEC and kills a service that does not send WATCHDOG=1 for so long. Without systemd
nothing happens here.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from levine_policy_node.core.units import SteadyNs

_NS_PER_US = 1_000
# Four times within the time systemd waits; sd_watchdog_enabled(3) advises two.
_SHARE = 4


class ServiceManager:
    """The socket of the service manager.

    A message that cannot be sent is lost: the watchdog must never hold up what it watches.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Connect, if there is a service manager."""
        address = environment.get("NOTIFY_SOCKET", "")
        watchdog_us = environment.get("WATCHDOG_USEC", "")
        pid = environment.get("WATCHDOG_PID", "")
        meant = not pid or pid == str(os.getpid())
        self._period_ns = 0
        if meant and watchdog_us.isdigit():
            self._period_ns = int(watchdog_us) * _NS_PER_US // _SHARE
        self._told_ns: SteadyNs | None = None
        self._ready = False
        self._socket: socket.socket | None = None
        if not address.startswith(("/", "@")):
            return
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        made.setblocking(False)  # noqa: FBT003
        try:
            # A leading @ stands for the zero byte of an abstract address.
            made.connect("\0" + address[1:] if address[0] == "@" else address)
        except OSError:
            made.close()
        else:
            self._socket = made

    def ticked(self, now_ns: SteadyNs) -> None:
        """Note that the loop ran: READY=1 the first time, WATCHDOG=1 as often as is due.

        Call it from the loop that is to be watched and from nowhere else.
        """
        if self._socket is None:
            return
        if not self._ready:
            self._ready = True
            self._send(b"READY=1")
        if self._period_ns == 0:
            return
        if self._told_ns is None or now_ns - self._told_ns >= self._period_ns:
            self._told_ns = now_ns
            self._send(b"WATCHDOG=1")

    def close(self) -> None:
        """Say STOPPING=1; safe to call twice."""
        if self._socket is not None:
            self._send(b"STOPPING=1")
            self._socket.close()
            self._socket = None

    def _send(self, text: bytes) -> None:
        if self._socket is not None:
            try:
                self._socket.send(text)
            except OSError:
                return
