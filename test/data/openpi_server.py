# SPDX-License-Identifier: Apache-2.0
"""A policy server on loopback, in the manner of openpi's `serving/websocket_policy_server.py`.

Metadata first, then an answer for each observation; a policy that raises sends its traceback as a
text and closes. One thread does everything, so while a policy computes no ping is answered, as
there. Messages are packed here once more, so that what the package reads and writes is not
compared with itself.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import onnxruntime
import websockets
import yaml
from bundle_factory import document
from websockets.asyncio.server import serve

Answer = Mapping[str, Any] | bytes | str | None
"""A message; bytes or a text as they are; or None for none at all."""


def pack(message: Any) -> bytes:
    def default(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return {
                b"__ndarray__": True,
                b"data": value.tobytes(),
                b"dtype": value.dtype.str,
                b"shape": value.shape,
            }
        raise TypeError(type(value))

    return msgpack.packb(message, default=default)


def unpack(data: bytes) -> Any:
    def hook(value: dict[Any, Any]) -> Any:
        if b"__ndarray__" not in value:
            return value
        return np.ndarray(value[b"shape"], np.dtype(value[b"dtype"]), value[b"data"])

    return msgpack.unpackb(data, object_hook=hook)


class OpenpiServer:
    """Serves `policy` until it is stopped.

    Args:
        policy: From an observation to an answer; it may block.
        metadata: Sent first; bytes or a text are sent as they are.
        port: To listen on; 0 for any that is free.
        ping_interval: Between pings [s].

    Attributes:
        seen: Observations, in the order they came.
        requests: Headers of every connection.
    """

    def __init__(
        self,
        policy: Callable[[Any], Answer],
        metadata: Answer = None,
        port: int = 0,
        ping_interval: float | None = None,
    ) -> None:
        self.policy = policy
        self.metadata: Answer = {} if metadata is None else metadata
        self.seen: list[Any] = []
        self.requests: list[Mapping[str, str]] = []
        self.port = port
        self._ping_interval = ping_interval
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(5.0)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def latency(self) -> float:
        """That of the first connection, once a ping was answered [s]; 0 before."""
        return max((each.latency for each in self._server.connections), default=0.0)

    def abort(self) -> None:
        """Break every connection without a goodbye, also while the policy computes."""
        for connection in list(self._server.connections):
            connection.transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Vanish without a goodbye, as a process that is killed does."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(5.0)

    def send(self, message: bytes) -> None:
        """Send what nobody asked for, to everyone who is connected."""
        for connection in list(self._server.connections):
            asyncio.run_coroutine_threadsafe(connection.send(message), self._loop).result(5.0)

    def __enter__(self) -> OpenpiServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._server = await serve(
            self._handle,
            "127.0.0.1",
            self.port,
            compression=None,
            max_size=None,
            close_timeout=0,
            ping_interval=self._ping_interval,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        self._server.server.close()
        for connection in list(self._server.connections):
            connection.transport.abort()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _handle(self, connection: Any) -> None:
        self.requests.append(connection.request.headers)
        await _send(connection, self.metadata)
        try:
            async for data in connection:
                await _send(connection, self._answer(unpack(data)))
        except websockets.ConnectionClosed:
            pass
        except Exception:  # noqa: BLE001  as there
            await connection.send(traceback.format_exc())
            await connection.close(1011, "Internal server error.")

    def _answer(self, observation: Any) -> Answer:
        self.seen.append(observation)
        begin_s = time.monotonic()
        answer = self.policy(observation)
        if not isinstance(answer, Mapping):
            return answer
        return {**answer, "server_timing": {"infer_ms": (time.monotonic() - begin_s) * 1e3}}


async def _send(connection: Any, answer: Answer) -> None:
    if isinstance(answer, Mapping):
        await connection.send(pack(answer))
    elif answer is not None:
        await connection.send(answer)


def graph_policy(model: bytes, output: str = "action") -> Callable[[Any], Answer]:
    """Run a graph on what comes, with the batch axis that the protocol has not."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    def infer(observation: Any) -> Answer:
        feed = {each.name: observation[each.name][None] for each in session.get_inputs()}
        return {"actions": session.run([output], feed)[0][0]}

    return infer


def write_remote(directory: Path, url: str, **changes: Any) -> Path:
    """The ramp policy's bundle, but run by a server."""
    changes = {"remote": {"url": url}, **changes}
    decoder = {"type": "direct", "output": "actions"}
    described = document(**{"graphs": None, "decoder": decoder, **changes})
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "policy.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
    return directory
