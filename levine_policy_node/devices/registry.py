# SPDX-License-Identifier: Apache-2.0
"""Which devices there are: those that ship, and those of entry points."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from levine_policy_node.devices.device import Device, DeviceContext
from levine_policy_node.errors import UnknownNameError

GROUP = "levine_policy_node.devices"
SHIPPED = ("gamepad", "keyboard", "leader", "spacemouse", "topics")

Make = Callable[[DeviceContext], Device]


def device_names() -> tuple[str, ...]:
    """Names of every device that can be made here."""
    return tuple(sorted({*SHIPPED, *_others()}))


def make_device(name: str, context: DeviceContext) -> Device:
    """Make the device of this name; its libraries are imported now and no earlier.

    Raises:
        UnknownNameError: If there is none.
        LevineError: If it cannot be opened; says what to do.
    """
    if name in SHIPPED:
        module = importlib.import_module(f"{__package__}.{name}")
        return cast("Make", module.make)(context)
    others = _others()
    if name not in others:
        raise UnknownNameError("parameters of operator", "device", name, device_names())
    return cast("Make", others[name].load())(context)


def _others() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
