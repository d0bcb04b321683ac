# SPDX-License-Identifier: Apache-2.0
"""A websocket of which every call ends at its deadline.

The protocol is that of the package `websockets` without its input and output: its own client reads
proxies from the environment, follows redirects to other hosts and sends without a time limit.
"""

from __future__ import annotations

import importlib
import logging
import socket
import ssl
import time
from collections import deque
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from levine_policy_node.errors import RemoteError

_READ_BYTES = 1 << 16
_MOST_READS = 64
# To answer a ping or to say goodbye; more than a local buffer never waits for.
_ASIDE_S = 0.05
_PORTS = {"ws": 80, "wss": 443}

# The package logs headers, and there may be a key in them: a logger that nobody can turn up.
_SILENT = logging.Logger("websocket", level=logging.CRITICAL + 1)  # noqa: LOG001


class WebSocket:
    """One connection. Used by one thread at a time; `close` by any.

    Args:
        url: `ws://` or `wss://`.
        headers: Added to the request.
        timeout_s: For connecting and greeting [s].
        max_bytes: Largest message that is accepted [byte].

    Raises:
        RemoteError: If nobody answers there in time, or not as a websocket.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], timeout_s: float, max_bytes: int
    ) -> None:
        client: Any = importlib.import_module("websockets.client")
        uri: Any = importlib.import_module("websockets.uri")
        self._frames: Any = importlib.import_module("websockets.frames")
        self._messages: deque[bytes | str] = deque()
        self._parts = bytearray()
        self._is_text = False
        deadline_s = time.monotonic() + timeout_s
        self._socket = _connected(url, deadline_s)
        try:
            self._protocol = client.ClientProtocol(
                uri.parse_uri(url), max_size=max_bytes, logger=_SILENT
            )
            self._greet(headers, deadline_s)
        except BaseException:
            self._socket.close()
            raise

    def send(self, message: bytes, deadline_s: float) -> None:
        """Send a binary message.

        Args:
            message: The bytes.
            deadline_s: When it must be on its way, on the monotonic clock [s].

        Raises:
            RemoteError: If the connection is lost or does not take it in time.
        """
        self._check_open()
        self._protocol.send_binary(message)
        self._flush(deadline_s)

    def receive(self, deadline_s: float) -> bytes | str:
        """The next message: bytes, or a text.

        Raises:
            RemoteError: If the connection is lost, or none comes before `deadline_s` [s].
        """
        while not self._messages:
            self._check_open()
            self._read(deadline_s)
        return self._messages.popleft()

    def attend(self) -> bool:
        """Answer pings and notice an end, without waiting.

        Returns:
            Whether there is a message.

        Raises:
            RemoteError: If the connection is lost.
        """
        try:
            for _ in range(_MOST_READS):
                self._check_open()
                self._read(None)
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        return bool(self._messages)

    def close(self) -> None:
        """Say goodbye, if that needs no waiting, and close; safe to call twice."""
        try:
            if self._protocol.state.name == "OPEN":
                self._protocol.send_close(1000)
                self._flush(time.monotonic() + _ASIDE_S)
        except RemoteError:
            pass  # it is gone, which is all right
        finally:
            self._socket.close()

    def _greet(self, headers: Mapping[str, str], deadline_s: float) -> None:
        request = self._protocol.connect()
        for name, value in headers.items():
            request.headers[name] = value
        self._protocol.send_request(request)
        self._flush(deadline_s)
        while self._protocol.state.name == "CONNECTING":
            self._read(deadline_s)
            problem = self._protocol.handshake_exc
            if problem is not None:
                raise RemoteError(f"no websocket answers there ({_short(problem)})")

    def _check_open(self) -> None:
        if self._protocol.state.name != "OPEN":
            if self._protocol.state.name == "CLOSING":
                # It does not say why before the end, and nobody waits for that here.
                self._protocol.receive_eof()
            raise RemoteError(f"the connection was closed ({_short(self._protocol.close_exc)})")

    def _read(self, deadline_s: float | None) -> None:
        """Take in what is there, or comes before `deadline_s` [s]; None not to wait."""
        try:
            self._socket.settimeout(0.0 if deadline_s is None else _left_s(deadline_s))
            data = self._socket.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            raise
        except TimeoutError as error:
            raise RemoteError("it did not answer in time") from error
        except OSError as error:
            raise RemoteError(f"the connection was lost ({_short(error)})") from error
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        # Before what has to be said to it: a server that fails sends the reason and closes.
        for event in self._protocol.events_received():
            self._take(event)
        self._flush(time.monotonic() + _ASIDE_S)

    def _take(self, event: Any) -> None:
        """Put frames together to messages."""
        opcode = self._frames.Opcode
        kind = getattr(event, "opcode", None)
        if kind in {opcode.TEXT, opcode.BINARY}:
            self._parts = bytearray()
            self._is_text = kind == opcode.TEXT
        elif kind != opcode.CONT:
            return
        self._parts += event.data
        if event.fin:
            whole = bytes(self._parts)
            text = whole.decode(errors="replace") if self._is_text else whole
            self._messages.append(text)
            self._parts = bytearray()

    def _flush(self, deadline_s: float) -> None:
        try:
            for data in self._protocol.data_to_send():
                if data:
                    self._socket.settimeout(_left_s(deadline_s))
                    self._socket.sendall(data)
                else:
                    self._socket.shutdown(socket.SHUT_WR)
        except TimeoutError as error:
            raise RemoteError("it did not take the message in time") from error
        except OSError as error:
            # What it said before it went is worth more than that it went.
            if not self._messages:
                raise RemoteError(f"the connection was lost ({_short(error)})") from error


def _connected(url: str, deadline_s: float) -> socket.socket:
    """A socket to the host itself: no proxy, no redirect."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    plain: socket.socket | None = None
    try:
        plain = socket.create_connection((host, port), timeout=_left_s(deadline_s))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if parts.scheme == "ws":
            return plain
        plain.settimeout(_left_s(deadline_s))
        return ssl.create_default_context().wrap_socket(plain, server_hostname=host)
    except (OSError, UnicodeError) as error:  # a name that can be none
        if plain is not None:
            plain.close()
        raise RemoteError(f"cannot connect ({_short(error)})") from error


def _left_s(deadline_s: float) -> float:
    """What is left [s]; never 0, which would mean not to wait.

    Raises:
        TimeoutError: If nothing is.
    """
    left_s = deadline_s - time.monotonic()
    if left_s <= 0.0:
        raise TimeoutError("its time is up")
    return left_s


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(c if c.isprintable() else "?" for c in text)[:200]
