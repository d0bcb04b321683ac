# SPDX-License-Identifier: Apache-2.0
"""A gamepad through the kernel's event interface (Linux).

    left shoulder   dead-man
    left stick      hand forward/back, left/right
    right stick     hand up/down, turn about z
    triggers        gripper: right closes, left opens
    start, select   hand back, pause
    east (B)        protective stop

Events and their codes are a stable interface of the kernel (Documentation/input/input.rst,
include/uapi/linux/input-event-codes.h) that the standard library can read; bindings to it have to
be compiled on every robot.

Options:
    path: Such as /dev/input/event3; empty: the first device with a dead-man and two sticks.
    dead_zone: Share of a stick's way that is nothing.
"""

from __future__ import annotations

import array
import fcntl
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from levine_policy_node.core.dead_man import Act
from levine_policy_node.core.units import SteadyNs
from levine_policy_node.devices.device import DeviceContext, DeviceLostError, Reading, Speeds
from levine_policy_node.devices.joystick import deflection, hand_rates
from levine_policy_node.errors import SystemDependencyError

EVENT = struct.Struct("llHHi")
"""struct input_event: seconds, microseconds, type, code, value."""

EV_SYN, EV_KEY, EV_ABS = 0, 1, 3
SYN_DROPPED = 3
ABS_X, ABS_Y, ABS_Z, ABS_RX, ABS_RY, ABS_RZ = range(6)
BTN_EAST, BTN_TL, BTN_SELECT, BTN_START = 0x131, 0x136, 0x13A, 0x13B
STICKS = (ABS_X, ABS_Y, ABS_RX, ABS_RY)
TRIGGERS = (ABS_Z, ABS_RZ)

_ACTS: Mapping[int, Act] = {
    BTN_START: Act.HANDBACK,
    BTN_SELECT: Act.PAUSE,
    BTN_EAST: Act.STOP,
}
_ABS_INFO = struct.Struct("6i")
_KEYS_BYTES = 96
_LARGEST_READ = 64 * EVENT.size

Ranges = Mapping[int, tuple[int, int]]
"""Least and largest value of each axis."""


class Gamepad:
    """State of a gamepad, kept from its events.

    Attributes:
        name: Of the source tag.
    """

    name = "gamepad"

    def __init__(self, stream: int, ranges: Ranges, speeds: Speeds, dead_zone: float) -> None:
        """Read events from now on.

        Args:
            stream: File descriptor of the events.
            ranges: Of the axes.
            speeds: At full deflection.
            dead_zone: Share of a stick's way that is nothing.
        """
        os.set_blocking(stream, False)
        self._stream, self._ranges = stream, ranges
        self._speeds, self._dead_zone = speeds, dead_zone
        self._axes = {code: _centre(code, ranges) for code in (*STICKS, *TRIGGERS)}
        self._held = False
        self._rest = b""

    def read(self, now_ns: SteadyNs) -> Reading:
        """What the events since the last call amount to."""
        acts: set[Act] = set()
        for kind, code, value in self._events():
            if kind == EV_SYN and code == SYN_DROPPED:
                # What was lost may be the release of the dead-man.
                self._held = False
            elif kind == EV_KEY and code == BTN_TL:
                self._held = value != 0
            elif kind == EV_KEY and value == 1 and code in _ACTS:
                acts.add(_ACTS[code])
            elif kind == EV_ABS and code in self._axes:
                self._axes[code] = value
        x, y, turn, up = (-self._share(c) for c in (ABS_Y, ABS_X, ABS_RX, ABS_RY))
        motion = hand_rates(
            np.array([x, y, up]),
            np.array([0.0, 0.0, turn]),
            self._pulled(ABS_Z) - self._pulled(ABS_RZ),
            self._speeds,
        )
        return Reading(now_ns, self._held, motion, frozenset(acts))

    def close(self) -> None:
        """Close the device."""
        os.close(self._stream)

    def _events(self) -> list[tuple[int, int, int]]:
        try:
            data = os.read(self._stream, _LARGEST_READ)
        except BlockingIOError:
            return []
        except OSError as error:
            raise DeviceLostError(f"gamepad: gone ({error})") from error
        if not data:
            raise DeviceLostError("gamepad: gone")
        data = self._rest + data
        whole = len(data) - len(data) % EVENT.size
        self._rest = data[whole:]
        return [event[2:] for event in EVENT.iter_unpack(data[:whole])]

    def _share(self, code: int) -> float:
        low, high = self._ranges[code]
        return deflection(2.0 * (self._axes[code] - low) / (high - low) - 1.0, self._dead_zone)

    def _pulled(self, code: int) -> float:
        """How far a trigger is pulled, 0 to 1; one that the gamepad lacks is not."""
        if code not in self._ranges:
            return 0.0
        low, high = self._ranges[code]
        return deflection((self._axes[code] - low) / (high - low), self._dead_zone)


def _centre(code: int, ranges: Ranges) -> int:
    if code not in ranges:
        return 0
    low, high = ranges[code]
    return low if code in TRIGGERS else (low + high + 1) // 2


def make(context: DeviceContext) -> Gamepad:
    """Open a gamepad.

    Raises:
        SystemDependencyError: If there is none, or it may not be read.
    """
    settings = context.settings(path="", dead_zone=0.1)
    chosen = str(settings["path"])
    paths = [Path(chosen)] if chosen else sorted(Path("/dev/input").glob("event*"))
    problems: list[str] = []
    for path in paths:
        try:
            stream = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
            continue
        ranges = _ranges_of(stream)
        if ranges is not None:
            return Gamepad(stream, ranges, context.speeds, float(settings["dead_zone"]))
        os.close(stream)
        problems.append(f"{path}: not a gamepad with a left shoulder button and two sticks")
    found = "; ".join(problems) or "/dev/input has no event devices"
    raise SystemDependencyError(
        f"no gamepad: {found}. Plug one in, and let this user read it (group input)"
    )


def _ranges_of(stream: int) -> dict[int, tuple[int, int]] | None:
    """Ranges of the axes that count, or None if it is another kind of device."""
    keys = array.array("B", bytes(_KEYS_BYTES))
    try:
        fcntl.ioctl(stream, _ioctl_read(0x20 + EV_KEY, _KEYS_BYTES), keys)
        if not keys[BTN_TL // 8] >> (BTN_TL % 8) & 1:
            return None
        ranges: dict[int, tuple[int, int]] = {}
        for code in (*STICKS, *TRIGGERS):
            info = array.array("B", bytes(_ABS_INFO.size))
            fcntl.ioctl(stream, _ioctl_read(0x40 + code, _ABS_INFO.size), info)
            _, low, high, *_ = _ABS_INFO.unpack(info.tobytes())
            if high > low:
                ranges[code] = (low, high)
    except OSError:
        return None
    return ranges if all(code in ranges for code in STICKS) else None


def _ioctl_read(number: int, size: int) -> int:
    """_IOC(_IOC_READ, 'E', number, size) of include/uapi/asm-generic/ioctl.h."""
    return (2 << 30) | (size << 16) | (ord("E") << 8) | number
