# SPDX-License-Identifier: Apache-2.0
"""A leader arm whose driver publishes joint states: absolute positions, by joint name.

Options:
    topic: sensor_msgs/JointState of the leader.
    dead_man: std_msgs/Bool, repeated: whether the person holds it (a pedal, a switch).
    silent_s: How long that may be silent.
    prefix: What the leader's joint names begin with and the robot's do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

from sensor_msgs.msg import JointState

from levine_policy_node.core.units import SteadyNs
from levine_policy_node.devices.dead_man_topic import SILENT_S, DeadManTopic
from levine_policy_node.devices.device import DeviceContext, JointPositions, Reading
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import steady_now


class Leader:
    """The newest pose of the leader.

    Attributes:
        name: Of the source tag.
    """

    name = "leader"

    def __init__(self, context: DeviceContext) -> None:
        settings = context.settings(
            topic="leader/joint_states",
            dead_man="leader/dead_man",
            prefix="",
            silent_s=SILENT_S,
        )
        self._names = {f"{settings['prefix']}{name}": name for name in context.joint_names}
        self._said: tuple[SteadyNs, JointPositions] | None = None
        self._dead_man = DeadManTopic(
            context.node, str(settings["dead_man"]), float(settings["silent_s"])
        )
        context.node.create_subscription(
            JointState, str(settings["topic"]), self._on_state, qos.JOINT_STATE_IN
        )

    def read(self, now_ns: SteadyNs) -> Reading | None:
        """The newest pose."""
        if self._said is None:
            return None
        said_ns, positions = self._said
        return Reading(said_ns, self._dead_man.held(now_ns), positions)

    def close(self) -> None:
        """The subscriptions go with the node."""

    def _on_state(self, message: JointState) -> None:
        names = cast("Sequence[str]", message.name)
        if len(names) != len(message.position):
            return
        said = zip(names, message.position, strict=True)
        found = {self._names[name]: float(value) for name, value in said if name in self._names}
        # A leader that is partly unreadable says nothing; its age then stops the arm.
        if found and all(math.isfinite(value) for value in found.values()):
            self._said = (steady_now(), JointPositions(found))


def make(context: DeviceContext) -> Leader:
    """Make the device."""
    return Leader(context)
