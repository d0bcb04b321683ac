# SPDX-License-Identifier: Apache-2.0
"""The part of a robot file that is about a controller which takes efforts.

A forward_command_controller goes on with the last effort for ever when messages stop, and no
message can make it safe to abandon, as a braking tail makes a trajectory. So such a controller is
accepted only from a robot that says how soon its own side notices silence, and that carries its
own weight: without efforts it then comes to rest, and with efforts of 0 it does not fall.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import numpy as np
from pydantic import Field

from levine_policy_node.core.effort_limits import EffortOptions
from levine_policy_node.strict_model import Strict


class Hold(Strict):
    """How one joint is held and braked by efforts, and how fast its effort may change."""

    stiffness: float = Field(ge=0)
    damping: float = Field(gt=0)
    rate: float = Field(gt=0)


class CommandInterface(Strict):
    """What a controller takes, and what it needs to take efforts.

    Attributes:
        interface: What it is sent: positions, or efforts.
        command_timeout_s: After so long without a message the robot itself stops pushing and
            brakes [s].
        gravity_compensated: Whether the robot carries its own weight, so that an effort of 0
            means no motion.
        hold: For each joint, how it is held: `stiffness` [N m/rad], `damping` [N m s/rad] and
            the `rate` at which its effort may change [N m/s].
    """

    interface: Literal["position", "effort"] = "position"
    command_timeout_s: float | None = Field(default=None, ge=0.02, le=0.5)
    gravity_compensated: bool = False
    hold: dict[str, Hold] | None = None


class JointEffort(Protocol):
    """What is needed of a joint."""

    @property
    def effort(self) -> float | None:
        """Largest effort [N m]."""
        ...


def interface_problem(
    kind: str, controller: CommandInterface, joints: Mapping[str, JointEffort]
) -> str:
    """Say why this robot may not be sent what its controller takes, or return "".

    Args:
        kind: Type of the controller.
        controller: Of the robot file.
        joints: Of the robot file.
    """
    if controller.interface == "position":
        given = {"command_timeout_s", "gravity_compensated", "hold"} & controller.model_fields_set
        return f"controller.{min(given)}: only with interface: effort" if given else ""
    if kind != "forward_command":
        return "controller.interface: efforts need type forward_command"
    if controller.command_timeout_s is None:
        return (
            "controller.command_timeout_s: is missing, and an effort controller goes on pushing "
            "for ever when commands stop. Give the time after which this robot itself brakes; if "
            "it has none, it cannot be used with efforts"
        )
    if not controller.gravity_compensated:
        return (
            "controller.gravity_compensated: must be true with interface effort: no effort for "
            "the arm's own weight is added here, so the arm would fall when a policy stops"
        )
    missing = [name for name, joint in joints.items() if joint.effort is None]
    if missing:
        return f"joints.{missing[0]}.effort: is missing, and efforts are bounded by it"
    if set(controller.hold or {}) != set(joints):
        return f"controller.hold: give exactly the joints {', '.join(joints)}"
    return ""


def effort_options(
    controller: CommandInterface, joints: Mapping[str, JointEffort]
) -> EffortOptions | None:
    """Bounds and gains in joint order; None for a controller that takes positions."""
    hold = controller.hold
    timeout_s = controller.command_timeout_s
    if controller.interface != "effort" or hold is None or timeout_s is None:
        return None
    return EffortOptions(
        largest=np.array([joint.effort or 0.0 for joint in joints.values()]),
        rate=np.array([hold[name].rate for name in joints]),
        stiffness=np.array([hold[name].stiffness for name in joints]),
        damping=np.array([hold[name].damping for name in joints]),
        timeout_s=timeout_s,
    )
