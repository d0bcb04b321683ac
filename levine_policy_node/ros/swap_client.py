# SPDX-License-Identifier: Apache-2.0
"""Ask a running executor for another policy, and wait for what becomes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from std_msgs.msg import String

from levine_policy_node.errors import LevineError
from levine_policy_node.ros import qos
from levine_policy_node.ros.operator_client import CALL_TIMEOUT_S, OperatorClient

FINAL = frozenset({"done", "refused", "replaced"})
FIND_TIMEOUT_S = 10.0
NODE = "policy_executor"

Value = str | bool | int | float


class SwapError(LevineError, RuntimeError):
    """There is no executor, or it did not say what became of the request."""


class SwapClient:
    """Sets the parameter `policy` and follows `policy/swap`.

    Attributes:
        states: The newest state of each request that was heard of, by number.
    """

    def __init__(self, operator: OperatorClient) -> None:
        self._operator = operator
        self.states: dict[int, dict[str, Any]] = {}
        node = operator.node
        node.create_subscription(String, "policy/swap", self._on_state, qos.OUTCOMES)
        self._set = node.create_client(SetParameters, f"{NODE}/set_parameters")

    def set(self, name: str, value: Value) -> str:
        """Set one parameter of the executor; why it was refused, or "".

        Raises:
            SwapError: If there is no executor, or it does not reply.
        """
        self.find(FIND_TIMEOUT_S)
        request = SetParameters.Request(parameters=[Parameter(name=name, value=_value(value))])
        future = self._set.call_async(request)
        if not self._operator.spin_until(future.done, CALL_TIMEOUT_S):
            raise SwapError(f"{NODE} did not reply within {CALL_TIMEOUT_S:.0f} s")
        reply = future.result()
        if reply is None:
            raise SwapError(f"{NODE} went away while it was asked")
        result = reply.results[0]
        return "" if result.successful else str(result.reason) or "refused without a reason"

    def find(self, timeout_s: float) -> None:
        """Wait until there is an executor.

        Raises:
            SwapError: If there is none after `timeout_s` [s].
        """
        found = lambda: self._set.service_is_ready() and bool(self.states)  # noqa: E731
        if not self._operator.spin_until(found, timeout_s):
            raise SwapError(
                f"no {NODE} answers in namespace '{self._operator.node.get_namespace()}': start "
                "it with 'levine up', and give the same ROS_DOMAIN_ID and --namespace"
            )

    def request(self, bundle: str) -> int:
        """Ask for a policy; the number of the request.

        Raises:
            SwapRefusedError: If it was refused at once; the message says why.
            SwapError: If there is no executor.
        """
        self.find(FIND_TIMEOUT_S)
        before = max(self.states, default=0)
        refusal = self.set("policy", bundle)
        if refusal:
            raise SwapRefusedError(refusal)

        def number() -> int:
            newer = [n for n, s in self.states.items() if n > before and s["policy"] == bundle]
            return min(newer, default=0)

        if not self._operator.spin_until(lambda: number() > 0, CALL_TIMEOUT_S):
            raise SwapError(f"{NODE} says nothing of the request on policy/swap")
        return number()

    def wait(
        self,
        number: int,
        timeout_s: float,
        on_news: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """Wait for the end of a request; its last state, which may be no end after the time-out.

        Args:
            number: Of the request.
            timeout_s: How long to wait [s].
            on_news: Called with each new state.
        """
        told = ""

        def ended() -> bool:
            nonlocal told
            state = self.states[number]
            news = f"{state['state']} {state['reason']}"
            if news != told and on_news is not None:
                on_news(state)
            told = news
            return state["state"] in FINAL

        self._operator.spin_until(ended, timeout_s)
        return self.states[number]

    def _on_state(self, message: String) -> None:
        state = json.loads(message.data)
        self.states[int(state["request"])] = state


class SwapRefusedError(SwapError):
    """The bundle does not verify for this robot."""


def _value(value: Value) -> ParameterValue:
    if isinstance(value, bool):
        return ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=value)
    if isinstance(value, int):
        return ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=value)
    if isinstance(value, float):
        return ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)
    return ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)
