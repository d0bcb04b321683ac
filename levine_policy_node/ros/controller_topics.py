# SPDX-License-Identifier: Apache-2.0
"""What a controller and its manager say about themselves.

The types of ros2_control are used where they are installed with ROS; they are not on PyPI. A
controller's reference may come as a sensor_msgs/JointState on `<controller>/reference`, too: from
`sim_arm`, or from whoever can read its state and repeat it.
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

from rclpy.node import Node
from sensor_msgs.msg import JointState

from levine_policy_node.core.surroundings import Reference
from levine_policy_node.core.units import SteadyNs
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import ros_now, stamp_from_msg, steady_now
from levine_policy_node.ros.message_guard import Info, MessageGuard
from levine_policy_node.ros.messages import by_name

# Controllers publish their state with every update, at up to 1 kHz.
_STATE_HZ = 1000.0
_ACTIVITY_HZ = 20.0
_QUEUED = 16
# One per tick is enough to judge by; each costs 0.1 ms.
_APART_NS = 8_000_000


class ControllerTopics:
    """Listens to a controller's reference and to its manager's activity.

    Attributes:
        heard_ns: When the reference was heard last; None if it never was.
        inactive: What is said of a controller that is not active, or "".
    """

    def __init__(
        self, node: Node, guard: MessageGuard, controller: str, joint_names: Sequence[str]
    ) -> None:
        """Subscribe to what there are types for."""
        self._node = node
        self._name = controller
        self._joints = tuple(joint_names)
        self._references: deque[Reference] = deque(maxlen=_QUEUED)
        self.heard_ns: SteadyNs | None = None
        self._kept_ns: SteadyNs | None = None
        self.inactive = ""
        topic = f"{controller}/reference"
        heard = guard.guarded(topic, _STATE_HZ, self._on_reference)
        node.create_subscription(JointState, topic, heard, qos.JOINT_STATE_IN)
        state = installed_type("control_msgs.msg", "JointTrajectoryControllerState")
        if state is not None:
            topic = f"{controller}/controller_state"
            heard = guard.guarded(topic, _STATE_HZ, self._on_state)
            node.create_subscription(state, topic, heard, qos.JOINT_STATE_IN)
        activity = installed_type("controller_manager_msgs.msg", "ControllerManagerActivity")
        if activity is not None:
            topic = "controller_manager/activity"
            heard = guard.guarded(topic, _ACTIVITY_HZ, self._on_activity)
            node.create_subscription(activity, topic, heard, qos.ACTIVITY)

    def take(self) -> tuple[Reference, ...]:
        """References since the last call, in order."""
        return tuple(self._references.popleft() for _ in range(len(self._references)))

    def _on_reference(self, message: JointState, info: Info) -> None:
        del info
        names = cast("Sequence[str]", message.name)
        self._note(message.header.stamp, names, message.position)

    def _on_state(self, message: Any, info: Info) -> None:
        del info
        # Older releases call the field `desired` and leave `reference` out, or empty.
        fields = (getattr(message, name, None) for name in ("reference", "desired"))
        values = next((f.positions for f in fields if f is not None and len(f.positions)), ())
        self._note(message.header.stamp, message.joint_names, values)

    def _note(self, stamp: Any, names: Sequence[str], values: Sequence[float]) -> None:
        now_ns = steady_now()
        # One that cannot be read does not count as heard.
        position = by_name(self._joints, list(names), values)
        self.heard_ns = now_ns
        if self._kept_ns is not None and now_ns - self._kept_ns < _APART_NS:
            return
        self._kept_ns = now_ns
        since_ns = ros_now(self._node) - stamp_from_msg(stamp)
        self._references.append(Reference(position, SteadyNs(now_ns - since_ns), now_ns))

    def _on_activity(self, message: Any, info: Info) -> None:
        del info
        self.inactive = inactive_text(message.controllers, self._name)


def inactive_text(controllers: Sequence[Any], name: str) -> str:
    """What a controller manager says of a controller that is not active, else "".

    Args:
        controllers: controller_manager_msgs/NamedLifecycleState, of all controllers.
        name: Of ours; it may have a namespace, the manager's names have none.
    """
    plain = name.rsplit("/", 1)[-1]
    states = [c.state.label for c in controllers if c.name == plain]
    if not states:
        return f"the controller manager knows no {plain}"
    return "" if states[0] == "active" else f"{plain} is {states[0]}"


def installed_type(module: str, name: str) -> Any:
    """A message type of a package that need not be installed; None without it."""
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None
