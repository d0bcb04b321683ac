# SPDX-License-Identifier: Apache-2.0
"""What systemd hears, on a socket as systemd makes it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from levine_policy_node.core.units import SteadyNs
from levine_policy_node.runtime.service_manager import ServiceManager

MS = 1_000_000


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@levine-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind("\0" + address[1:] if address[0] == "@" else address)
        server.setblocking(False)
        yield server, address


def heard(server: socket.socket) -> list[bytes]:
    received: list[bytes] = []
    with suppress(BlockingIOError):
        while True:
            received.append(server.recv(256))
    return received


def test_ready_once_and_the_watchdog_four_times_within_its_time(systemd):
    server, address = systemd
    manager = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    assert heard(server) == []
    for tick in range(100):
        manager.ticked(SteadyNs(tick * 10 * MS))
    assert heard(server) == [b"READY=1"] + [b"WATCHDOG=1"] * 4
    manager.close()
    manager.close()
    assert heard(server) == [b"STOPPING=1"]
    manager.ticked(SteadyNs(10**12))
    assert heard(server) == []


def test_without_a_watchdog_only_ready(systemd):
    server, address = systemd
    for more in ({}, {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}):
        manager = ServiceManager({"NOTIFY_SOCKET": address, **more})
        for tick in range(100):
            manager.ticked(SteadyNs(tick * 100 * MS))
        assert heard(server) == [b"READY=1"]


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all"])
def test_without_a_service_manager_nothing_happens(address):
    manager = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000"})
    manager.ticked(SteadyNs(1))
    manager.close()


def test_a_service_manager_that_does_not_read_holds_nothing_up(systemd):
    server, address = systemd
    manager = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "4"})
    for tick in range(2000):
        manager.ticked(SteadyNs(tick * MS))
    assert heard(server)[0] == b"READY=1"
