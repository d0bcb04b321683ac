# SPDX-License-Identifier: Apache-2.0
"""A connection to a policy server that is kept up by a thread of its own.

Who asks never waits for a connection: without one, that is the answer. The protocol does not
number its messages, so whenever an answer may still be on its way, the connection is given up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from levine_policy_node.errors import RemoteError
from levine_policy_node.runtime.msgpack_numpy import unpacked
from levine_policy_node.runtime.remote_schema import RemoteSpec
from levine_policy_node.runtime.web_socket import WebSocket

MAX_ANSWER_BYTES = 16 * 1024**2
"""Largest message that is accepted; a chunk of 50 x 32 has 13 kB [byte]."""

_FIRST_RETRY_S = 0.2
_LAST_RETRY_S = 5.0
# How soon a connection that is lost between two inferences is noticed.
_ATTEND_S = 0.5
_CLOSE_S = 2.0
_SCALAR = str | bool | int | float


class RemoteLink:
    """Asks one server, one question at a time.

    Args:
        spec: Where it is, and what it must say of itself.
        headers: Added to the request.

    Raises:
        RemoteError: If it cannot be reached now, or is another.
    """

    def __init__(self, spec: RemoteSpec, headers: Mapping[str, str]) -> None:
        self._spec = spec
        self._headers = headers
        self._first: bytes | None = None
        self._why = ""
        # Held for a question with its answer; the rest is guarded by the condition.
        self._asking = threading.Lock()
        self._condition = threading.Condition()
        self._closed = False
        self._socket: WebSocket | None = self._open()
        self._thread = threading.Thread(target=self._tend, name="remote_link", daemon=True)
        self._thread.start()

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._socket is not None

    def ask(self, message: bytes, timeout_s: float) -> bytes | str:
        """Send a message and wait for the answer: bytes, or a text if the server failed.

        Args:
            message: The question.
            timeout_s: For all of it [s].

        Raises:
            RemoteError: If there is no connection, or no answer in time.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._asking:
            socket = self._socket
            if socket is None:
                raise RemoteError(f"there is no connection: {self._why}")
            try:
                if socket.attend():
                    raise RemoteError("it sent an answer that nobody asked for")
                socket.send(message, deadline_s)
                answer = socket.receive(deadline_s)
            except RemoteError as error:
                self._lost(error)
                raise
            if isinstance(answer, str):
                # openpi's servers say why in words, and close.
                self._lost(RemoteError(f"it failed: {last_line(answer)}"))
            return answer

    def close(self) -> None:
        """End the connection and the thread; safe to call twice."""
        with self._condition:
            self._closed = True
            self._why = "it was closed"
            self._condition.notify_all()
        self._thread.join(_CLOSE_S)
        unused = self._asking.acquire(timeout=_CLOSE_S)
        self._drop()
        if unused:
            self._asking.release()

    def _open(self) -> WebSocket:
        """Connect, and hear what the server says of itself."""
        spec = self._spec
        deadline_s = time.monotonic() + spec.connect_timeout_s
        socket = WebSocket(spec.url, self._headers, spec.connect_timeout_s, MAX_ANSWER_BYTES)
        try:
            said = socket.receive(deadline_s)
            if isinstance(said, str):
                raise RemoteError(f"it failed at once: {last_line(said)}")
            self._check_metadata(said)
        except RemoteError:
            socket.close()
            raise
        return socket

    def _check_metadata(self, said: bytes) -> None:
        metadata = unpacked(said)
        for name, wanted in self._spec.metadata.items():
            found = _plain(metadata.get(name))
            if found != _plain(wanted):
                raise RemoteError(f"its metadata has {name}: {found!r:.60}, not {wanted!r:.60}")
        # Where the bundle does not say which of them tell policies apart, all do.
        if self._first is None:
            self._first = said
        elif said != self._first and not self._spec.metadata:
            raise RemoteError("its metadata is not what it was when the policy was loaded")

    def _tend(self) -> None:
        """Connect again after a loss, ever more rarely; else answer pings."""
        retry_s = _FIRST_RETRY_S
        while self._wait(_ATTEND_S if self.connected else retry_s):
            if self.connected:
                retry_s = _FIRST_RETRY_S
                self._attend()
                continue
            try:
                socket = self._open()
            except RemoteError as error:
                self._why = str(error)
                retry_s = min(2.0 * retry_s, _LAST_RETRY_S)
                continue
            with self._condition:
                if not self._closed:
                    self._socket = socket
                    continue
            socket.close()

    def _wait(self, timeout_s: float) -> bool:
        """Wait, until the connection is lost if there is one; False to end."""
        was_connected = self.connected
        with self._condition:
            self._condition.wait_for(
                lambda: self._closed or (was_connected and not self.connected), timeout_s
            )
            return not self._closed

    def _attend(self) -> None:
        if not self._asking.acquire(blocking=False):
            return  # somebody reads it already
        try:
            if self._socket is not None and self._socket.attend():
                raise RemoteError("it sent an answer that nobody asked for")
        except RemoteError as error:
            self._lost(error)
        finally:
            self._asking.release()

    def _lost(self, error: RemoteError) -> None:
        self._why = str(error)
        self._drop()

    def _drop(self) -> None:
        with self._condition:
            socket, self._socket = self._socket, None
            self._condition.notify_all()
        if socket is not None:
            socket.close()


def last_line(text: str) -> str:
    """The line of a traceback that says what happened, fit to be printed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "".join(c if c.isprintable() else "?" for c in (lines or ["nothing"])[-1])[:300]


def _plain(value: Any) -> Any:
    """A text, a number or a list of them, which can be compared; None for what is neither."""
    if isinstance(value, np.ndarray | np.generic):
        return cast("npt.NDArray[Any]", value).tolist()
    if isinstance(value, list | tuple):
        items = list(cast("tuple[Any, ...]", value))
        return items if all(isinstance(item, _SCALAR) for item in items) else None
    return value if isinstance(value, _SCALAR) else None
