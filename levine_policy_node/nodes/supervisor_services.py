# SPDX-License-Identifier: Apache-2.0
"""The services by which a person acts on the supervisor, and who may call them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from levine_policy_node.core.faults import Severity
from levine_policy_node.core.modes import Event
from levine_policy_node.core.supervision import Occurrence, Reply
from levine_policy_node.ros.callers import Callers

_TRIGGERS = {
    "arm": Event.ARM,
    "disarm": Event.DISARM,
    "engage": Event.ENGAGE,
    "pause": Event.PAUSE,
    "resume": Event.RESUME,
    "stop": Event.STOP,
    "reset": Event.RESET,
    "home": Event.HOME,
}
_TAKEOVER = "takeover"
# Whoever it is may ask for less motion.
_ANYBODYS = frozenset({Event.DISARM, Event.PAUSE, Event.STOP})
_NOBODYS_REQUEST = 0


class SupervisorServices:
    """Services under `supervisor/`; in the executor's thread."""

    def __init__(
        self,
        node: Node,
        callers: Callers,
        ask: Callable[[Event], Reply],
        tell: Callable[[Occurrence], None],
    ) -> None:
        """Offer the services.

        Args:
            node: Which has them.
            callers: Who may ask for motion.
            ask: Brings an act to the loop and its reply back.
            tell: Told of an act that was not brought there.
        """
        self._callers, self._ask, self._tell = callers, ask, tell
        for name, act in _TRIGGERS.items():
            node.create_service(Trigger, f"supervisor/{name}", partial(self._trigger, name, act))
        node.create_service(SetBool, f"supervisor/{_TAKEOVER}", self._take_over)

    def _trigger(
        self, name: str, act: Event, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        del request
        reply = self._reply(name, act)
        response.success, response.message = reply.accepted, reply.message
        return response

    def _take_over(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        reply = self._reply(_TAKEOVER, Event.TAKEOVER if request.data else Event.HANDBACK)
        response.success, response.message = reply.accepted, reply.message
        return response

    def _reply(self, name: str, act: Event) -> Reply:
        stranger = "" if act in _ANYBODYS else self._callers.stranger(f"supervisor/{name}")
        if not stranger:
            return self._ask(act)
        self._tell(Occurrence("CALLER_REFUSED", Severity.NOTICE, f"{act.value}: {stranger}"))
        return Reply(_NOBODYS_REQUEST, accepted=False, message=stranger)
