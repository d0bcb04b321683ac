# SPDX-License-Identifier: Apache-2.0
"""Whatever is at the other end, a call ends in time and with one line."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from levine_policy_node.errors import RemoteError
from levine_policy_node.runtime.web_socket import WebSocket

pytest.importorskip("websockets")

PATIENT_S = 10.0
MAX_BYTES = 1000


@contextlib.contextmanager
def host(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A TCP server that does with each connection what `serve` says."""
    listening = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection, contextlib.suppress(OSError):
                    serve(connection)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(PATIENT_S)


def refusal(url: str, timeout_s: float = PATIENT_S) -> str:
    with pytest.raises(RemoteError) as caught:
        WebSocket(url, {}, timeout_s, MAX_BYTES)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert "cannot connect" in refusal(f"ws://127.0.0.1:{port}")
    assert "cannot connect" in refusal("ws://no-such-host.invalid:8000")
    assert "cannot connect" in refusal("ws://no..host:8000")


@settings(max_examples=40)
@given(st.binary(max_size=300))
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")
@example(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
@example(b"HTTP/1.1 302 Found\r\nLocation: ws://192.0.2.1/\r\n\r\n")
@example(b"\x00" * 300)
def test_what_is_no_websocket_is_refused(answer):
    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(answer)

    with host(serve) as url:
        refusal(url)


def test_a_redirect_is_not_followed():
    asked = threading.Event()
    with host(lambda connection: asked.set()) as elsewhere:

        def serve(connection: socket.socket) -> None:
            connection.recv(4096)
            connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: {elsewhere}\r\n\r\n".encode())

        with host(serve) as url:
            assert "302" in refusal(url)
    assert not asked.is_set()


def test_proxies_of_the_environment_are_not_asked(monkeypatch):
    asked = threading.Event()
    with host(lambda connection: asked.set()) as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, proxy.replace("ws", "http"))
        with host(lambda connection: connection.close()) as url:
            refusal(url)
    assert not asked.is_set()


def test_a_host_that_says_nothing_and_one_that_drips_end_in_time():
    ended = threading.Event()

    def silent(connection: socket.socket) -> None:
        ended.wait(PATIENT_S)

    def drip(connection: socket.socket) -> None:
        while not ended.wait(0.01):
            connection.sendall(b"H")

    for serve in (silent, drip):
        ended.clear()
        with host(serve) as url:
            begin_s = time.monotonic()
            assert "in time" in refusal(url, timeout_s=0.2)
            assert time.monotonic() - begin_s < PATIENT_S / 2
            ended.set()


def test_a_server_that_does_not_read_ends_in_time_too():
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=greet_and_wait, args=(listener, ended))
        thread.start()
        client = WebSocket(f"ws://127.0.0.1:{listener.getsockname()[1]}", {}, PATIENT_S, MAX_BYTES)
        begin_s = time.monotonic()
        with pytest.raises(RemoteError, match="in time"):
            client.send(bytes(64 << 20), begin_s + 0.3)
        assert time.monotonic() - begin_s < PATIENT_S / 2
        client.close()
        ended.set()
        thread.join(PATIENT_S)


def greet_and_wait(listener: socket.socket, ended: threading.Event) -> None:
    """Accept one connection of a client, and read nothing of what it sends."""
    from websockets.server import ServerProtocol

    protocol = ServerProtocol()
    connection, _ = listener.accept()
    with connection:
        requests = []
        while not requests:
            protocol.receive_data(connection.recv(4096))
            requests = protocol.events_received()
        protocol.send_response(protocol.accept(requests[0]))
        connection.sendall(b"".join(protocol.data_to_send()))
        ended.wait(PATIENT_S)


@pytest.mark.parametrize("fragments", [1, 3])
def test_messages_and_their_limit(fragments):
    from websockets.sync.server import serve

    def answer(connection) -> None:
        for size in (MAX_BYTES // 2, MAX_BYTES // 2, 2 * MAX_BYTES):
            whole = bytes(size)
            part = size // fragments + 1
            connection.send(whole[i : i + part] for i in range(0, size, part))

    with serve(answer, "127.0.0.1", 0, close_timeout=0.1) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        client = WebSocket(url, {}, PATIENT_S, MAX_BYTES)
        deadline_s = time.monotonic() + PATIENT_S
        for _ in range(2):
            assert client.receive(deadline_s) == bytes(MAX_BYTES // 2)
        with pytest.raises(RemoteError, match="closed"):
            client.receive(deadline_s)
        client.close()
        client.close()
        server.shutdown()
    thread.join(PATIENT_S)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
def test_a_server_that_nobody_vouches_for_is_not_asked(tmp_path, monkeypatch):
    from websockets.sync.server import serve

    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *subject, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def echo(connection) -> None:
        for message in connection:
            connection.send(message)

    with serve(echo, "localhost", 0, ssl=context, close_timeout=0.1) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        port = server.socket.getsockname()[1]
        assert "CERTIFICATE_VERIFY_FAILED" in refusal(f"wss://localhost:{port}")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert "mismatch" in refusal(f"wss://127.0.0.1:{port}").lower()
        client = WebSocket(f"wss://localhost:{port}", {}, PATIENT_S, MAX_BYTES)
        assert not client.attend()
        deadline_s = time.monotonic() + PATIENT_S
        client.send(b"private", deadline_s)
        assert client.receive(deadline_s) == b"private"
        assert not client.attend()
        client.close()
        server.shutdown()
    thread.join(PATIENT_S)
