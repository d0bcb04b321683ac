# SPDX-License-Identifier: Apache-2.0
"""The keyboard of a terminal: jog the hand or a joint while a key is held.

    w s  a d  q e     hand forward/back, left/right, up/down
    i k  j l  u o     hand about x, y, z
    [ ]               gripper
    1 to 9, then - =  choose a joint, jog it
    space             hold without moving
    h                 hand back to the policy
    p, x              pause, protective stop

A terminal tells no releases, but it repeats a key that is held. So a key is held from its first
press until it could have been repeated, and after a repeat for a little longer than the next one
takes. Motion is for `_TAP_S` after each: a tap is a small step.
"""

from __future__ import annotations

import os
import sys
import termios
import tty
from collections.abc import Mapping
from typing import Any

import numpy as np

from levine_policy_node.core.dead_man import Act
from levine_policy_node.core.units import SteadyNs, nanoseconds
from levine_policy_node.devices.device import (
    DeviceContext,
    DeviceLostError,
    Motion,
    Reading,
)
from levine_policy_node.devices.joystick import hand_rates, joint_rates
from levine_policy_node.errors import ConfigError

_AXES: Mapping[str, tuple[int, float]] = {
    "w": (0, 1.0), "s": (0, -1.0), "a": (1, 1.0), "d": (1, -1.0), "q": (2, 1.0), "e": (2, -1.0),
    "i": (3, 1.0), "k": (3, -1.0), "j": (4, 1.0), "l": (4, -1.0), "u": (5, 1.0), "o": (5, -1.0),
    "]": (6, 1.0), "[": (6, -1.0),
}  # fmt: skip
_ACTS: Mapping[str, Act] = {"h": Act.HANDBACK, "p": Act.PAUSE, "x": Act.STOP}
_HOLD = " "
_JOG: Mapping[str, float] = {"-": -1.0, "=": 1.0}
_LARGEST_READ = 1024


class Keyboard:
    """A terminal in a mode in which every key comes at once; it is given back by `close`.

    Attributes:
        name: Of the source tag.
    """

    name = "keyboard"

    def __init__(self, context: DeviceContext, terminal: int | None = None) -> None:
        settings = context.settings(first_repeat_s=0.7, repeat_s=0.15, tap_s=0.1)
        self._first_ns = nanoseconds(float(settings["first_repeat_s"]))
        self._repeat_ns = nanoseconds(float(settings["repeat_s"]))
        self._tap_ns = nanoseconds(float(settings["tap_s"]))
        self._names, self._speeds = context.joint_names, context.speeds
        self._terminal = sys.stdin.fileno() if terminal is None else terminal
        if not os.isatty(self._terminal):
            raise ConfigError(
                "keyboard",
                "",
                "standard input is no terminal",
                "Start the operator by itself in one: ros2 run levine_policy_node operator",
            )
        self._before: list[Any] = termios.tcgetattr(self._terminal)
        tty.setcbreak(self._terminal)
        os.set_blocking(self._terminal, False)
        self._joint = self._names[0]
        self._key, self._pressed_ns, self._held_until_ns = "", SteadyNs(0), SteadyNs(0)

    def read(self, now_ns: SteadyNs) -> Reading:
        """What the keys since the last call ask for."""
        acts = frozenset(act for key in self._keys() if (act := self._take(key, now_ns)))
        held = now_ns < self._held_until_ns
        moving = held and now_ns - self._pressed_ns <= self._tap_ns
        return Reading(now_ns, held, self._motion(self._key if moving else ""), acts)

    def close(self) -> None:
        """Give the terminal back as it was."""
        os.set_blocking(self._terminal, True)
        termios.tcsetattr(self._terminal, termios.TCSADRAIN, self._before)

    def _keys(self) -> str:
        try:
            data = os.read(self._terminal, _LARGEST_READ)
        except BlockingIOError:
            return ""
        except OSError as error:
            raise DeviceLostError(f"keyboard: the terminal is gone ({error})") from error
        if not data:
            raise DeviceLostError("keyboard: the terminal was closed")
        return data.decode("ascii", errors="ignore").lower()

    def _take(self, key: str, now_ns: SteadyNs) -> Act | None:
        if key.isdigit():
            if 1 <= int(key) <= len(self._names):
                self._joint = self._names[int(key) - 1]
            return None
        if key in _ACTS:
            return _ACTS[key]
        if key in _AXES or key in _JOG or key == _HOLD:
            again = key == self._key and now_ns < self._held_until_ns
            stays_ns = self._repeat_ns if again else self._first_ns
            self._key, self._pressed_ns = key, now_ns
            self._held_until_ns = SteadyNs(now_ns + stays_ns)
        return None

    def _motion(self, key: str) -> Motion:
        if key in _JOG:
            return joint_rates({self._joint: _JOG[key]}, self._speeds)
        shares = np.zeros(7)
        if key in _AXES:
            axis, share = _AXES[key]
            shares[axis] = share
        return hand_rates(shares[:3], shares[3:6], float(shares[6]), self._speeds)


def make(context: DeviceContext) -> Keyboard:
    """Make the device on the terminal of this process."""
    return Keyboard(context)
