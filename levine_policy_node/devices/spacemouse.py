# SPDX-License-Identifier: Apache-2.0
"""A 3Dconnexion SpaceMouse through `pyspacemouse` (extra `spacemouse`; needs hidapi).

The cap moves and turns the hand. The left button is the dead-man; with it held, the right one
closes the gripper, and twice quickly hands back.

Options:
    dead_zone: Share of the cap's way that is nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from levine_policy_node.core.dead_man import Act
from levine_policy_node.core.units import SteadyNs, nanoseconds
from levine_policy_node.devices.device import DeviceContext, DeviceLostError, Reading, Speeds
from levine_policy_node.devices.joystick import deflection, hand_rates
from levine_policy_node.errors import SystemDependencyError

_TWICE_NS = nanoseconds(0.4)
# Reports that wait are read until none is left, but a flood of them must not hold up the rest.
_READS = 64


class SpaceMouse:
    """State of the cap and two buttons.

    Attributes:
        name: Of the source tag.
    """

    name = "spacemouse"

    def __init__(self, driver: Any, speeds: Speeds, dead_zone: float) -> None:
        """Read an open device of pyspacemouse, in the axes of ROS (REP 103)."""
        self._driver, self._speeds, self._dead_zone = driver, speeds, dead_zone
        self._right = False
        self._right_ns = SteadyNs(-_TWICE_NS)
        self._opens = False

    def read(self, now_ns: SteadyNs) -> Reading:
        """What the cap and the buttons say."""
        state = self._newest()
        linear = [deflection(v, self._dead_zone) for v in (state.x, state.y, state.z)]
        angular = [deflection(v, self._dead_zone) for v in (state.roll, state.pitch, state.yaw)]
        buttons = [*state.buttons, 0, 0]
        acts = self._pressed(bool(buttons[1]), now_ns)
        gripper = (1.0 if self._opens else -1.0) if self._right else 0.0
        motion = hand_rates(np.array(linear), np.array(angular), gripper, self._speeds)
        return Reading(now_ns, bool(buttons[0]), motion, acts)

    def close(self) -> None:
        """Close the device."""
        self._driver.close()

    def _newest(self) -> Any:
        try:
            state = self._driver.read()
            for _ in range(_READS):
                before = state.t
                state = self._driver.read()
                if state.t == before:
                    break
        except Exception as error:
            raise DeviceLostError(f"spacemouse: gone ({error})") from error
        return state

    def _pressed(self, right: bool, now_ns: SteadyNs) -> frozenset[Act]:  # noqa: FBT001
        again = right and not self._right
        twice = again and now_ns - self._right_ns <= _TWICE_NS
        if again:
            self._right_ns = now_ns
            self._opens = not self._opens
        self._right = right
        return frozenset({Act.HANDBACK}) if twice else frozenset()


def make(context: DeviceContext) -> SpaceMouse:
    """Open the first SpaceMouse.

    Raises:
        SystemDependencyError: If pyspacemouse or hidapi is missing, or no device is there.
    """
    settings = context.settings(dead_zone=0.05)
    try:
        library: Any = importlib.import_module("pyspacemouse")
    except (ImportError, OSError, AttributeError) as error:
        raise SystemDependencyError(
            f"the spacemouse needs pyspacemouse and hidapi ({error}). Install them: "
            "pip install 'levine_policy_node[spacemouse]' and apt install libhidapi-hidraw0"
        ) from error
    try:
        driver = library.open(nonblocking=True, axis_convention="ros")
    except Exception as error:
        raise SystemDependencyError(
            f"no spacemouse: {error}. Plug one in, and let this user read /dev/hidraw*"
        ) from error
    return SpaceMouse(driver, context.speeds, float(settings["dead_zone"]))
