# SPDX-License-Identifier: Apache-2.0
"""Two hosts on one machine: network namespaces, and a link between them that delays and loses.

Frames are carried by a process of ours, since not every kernel can delay and lose by itself. That
needs Linux and root; nothing outside of the namespaces changes.

`python -m levine_policy_node.bench.bad_link NIC NIC DELAY_MS JITTER_MS LOSS SEED` carries.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import heapq
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from levine_policy_node.errors import SystemDependencyError

_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17
_ALL_FRAMES = 0x0003
_LARGEST_FRAME = 1 << 16
_OWN_NETWORK = Path("/proc/thread-self/ns/net")
_ENDS = ("to_a", "to_b")
_NAMED = Path("/run/netns")


@dataclass(frozen=True, slots=True)
class Quality:
    """What a link does to frames, each way.

    Attributes:
        delay_ms: Shortest delay [ms].
        jitter_ms: Up to so much is added [ms]; frames overtake each other.
        loss: Share that is lost.
    """

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0


class TwoHosts:
    """Namespaces of two hosts, joined by a link; a context manager.

    Attributes:
        names: Of the namespaces.
        addresses: Of the hosts.
    """

    def __init__(self, quality: Quality, seed: int = 0) -> None:
        self._quality = quality
        self._seed = seed
        mark = os.getpid() % 100_000
        self.names = (f"levine{mark}a", f"levine{mark}b")
        self.addresses = ("10.213.7.1", "10.213.7.2")
        self._between = f"levine{mark}m"
        self._carrier: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> TwoHosts:
        try:
            for name in (*self.names, self._between):
                _ip("netns", "add", name)
            for host, address, nic in zip(self.names, self.addresses, _ENDS, strict=True):
                self._wire(host, address, nic)
            self._carry()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        if self._carrier is not None:
            self._carrier.kill()
            self._carrier.wait()
        for name in (*self.names, self._between):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def cut(self, *, connected: bool = False) -> None:
        """Pull the plug of the first host, or put it back."""
        with inside(self._between):
            _plug(_ENDS[0], connected=connected)

    def _wire(self, host: str, address: str, nic: str) -> None:
        ends = ["type", "veth", "peer", "name", nic, "netns", self._between]
        _ip("link", "add", "eth0", "netns", host, *ends)
        _ip("-n", host, "address", "add", f"{address}/24", "dev", "eth0")
        for namespace, name in ((host, "lo"), (host, "eth0"), (self._between, nic)):
            _ip("-n", namespace, "link", "set", name, "up")
        _ip("-n", host, "route", "add", "224.0.0.0/4", "dev", "eth0")
        with inside(host):
            _compute_checksums("eth0")

    def _carry(self) -> None:
        q = self._quality
        figures = [str(v) for v in (q.delay_ms, q.jitter_ms, q.loss, self._seed)]
        command = [sys.executable, "-m", "levine_policy_node.bench.bad_link", *_ENDS, *figures]
        self._carrier = subprocess.Popen(
            ["ip", "netns", "exec", self._between, *command], stdout=subprocess.PIPE
        )
        if self._carrier.stdout is None or not self._carrier.stdout.readline():
            raise SystemDependencyError("frames cannot be carried between namespaces here")


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """Put this thread, and what it starts, into a namespace for a while."""
    before = os.open(_OWN_NETWORK, os.O_RDONLY)
    there = os.open(_NAMED / name, os.O_RDONLY)
    try:
        _enter(there)
        yield
    finally:
        _enter(before)
        os.close(there)
        os.close(before)


def why_not() -> str:
    """Say why namespaces cannot be used here, or return ""."""
    if sys.platform != "linux":
        return "network namespaces need Linux"
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        with TwoHosts(Quality()) as hosts:
            return "" if _reaches(hosts) else "frames do not pass between namespaces here"
    except (SystemDependencyError, OSError) as error:
        return str(error)


def _reaches(hosts: TwoHosts) -> bool:
    """Whether a datagram gets across."""
    with inside(hosts.names[1]):
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with inside(hosts.names[0]):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with receiver, sender:
        receiver.bind((hosts.addresses[1], 0))
        receiver.settimeout(2.0)
        try:
            sender.sendto(b"?", receiver.getsockname())
            return receiver.recv(1) == b"?"
        except OSError:
            return False


def _enter(namespace: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(namespace, _CLONE_NEWNET) != 0:
        raise SystemDependencyError(f"setns: {os.strerror(ctypes.get_errno())}")


def _ip(*arguments: str) -> None:
    try:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise SystemDependencyError("ip is missing. Install iproute2") from error
    if done.returncode != 0:
        raise SystemDependencyError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _plug(nic: str, *, connected: bool) -> None:
    """Set an interface up or down at once; `ip` would take its time to start."""
    name = nic.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        found = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, struct.pack("16sH14x", name, 0))
        flags = struct.unpack("16sH14x", found)[1]
        flags = flags | _IFF_UP if connected else flags & ~_IFF_UP
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", name, flags))


def _compute_checksums(nic: str) -> None:
    """Let the kernel fill in checksums: there is no hardware that would, and frames are copied."""
    value = ctypes.create_string_buffer(struct.pack("II", _ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP", nic.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCETHTOOL, request)


def carry(nics: tuple[str, str], quality: Quality, seed: int) -> None:
    """Carry frames between two interfaces for ever."""
    rng = random.Random(seed)
    sockets: list[socket.socket] = []
    for nic in nics:
        end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_FRAMES))
        end.bind((nic, 0))
        end.settimeout(0.0)
        sockets.append(end)
    waiting: list[tuple[float, int, int, bytes]] = []
    count = 0
    print("carrying", flush=True)  # noqa: T201  whoever started this waits for it
    while True:
        timeout_s = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 1.0
        for ready in select.select(sockets, [], [], timeout_s)[0]:
            for frame in _received(ready):
                if rng.random() >= quality.loss:
                    delay_ms = quality.delay_ms + rng.uniform(0.0, quality.jitter_ms)
                    due = time.monotonic() + delay_ms / 1e3
                    heapq.heappush(waiting, (due, count, 1 - sockets.index(ready), frame))
                    count += 1
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, to, frame = heapq.heappop(waiting)
            # Into a cable that is pulled out.
            with contextlib.suppress(OSError):
                sockets[to].send(frame)


def _received(end: socket.socket) -> list[bytes]:
    frames: list[bytes] = []
    with contextlib.suppress(OSError):
        while True:
            frame, address = end.recvfrom(_LARGEST_FRAME)
            if address[2] != socket.PACKET_OUTGOING:
                frames.append(frame)
    return frames


if __name__ == "__main__":
    numbers = [float(text) for text in sys.argv[3:6]]
    carry((sys.argv[1], sys.argv[2]), Quality(*numbers), int(sys.argv[6]))
