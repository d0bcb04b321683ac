# SPDX-License-Identifier: Apache-2.0
"""Swaps as parameters: a set is verified at once, and set back if it comes to nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from levine_policy_node.core.swap import SwapOptions
from levine_policy_node.errors import said
from levine_policy_node.nodes.policy_swap import PolicySwap
from levine_policy_node.runtime.bundle import Bundle

# A set waits so long for verification, and the heartbeat goes on meanwhile. Hashing what takes
# longer (some 50 MB) goes on in its thread, and a refusal comes as an event.
_PATIENCE_S = 0.1
_BEAT_S = 0.01
_OPTIONS = {"shadow_observations", "swap_in_motion", "swap_agreement"}


class SwapParameters:
    """Turns sets of `policy` into requests; everything happens in the thread that spins.

    Args:
        node: Whose parameters.
        swap: Where requests go.
        verify: Reads a bundle and checks that it is for this robot; called in a thread.
        beat: Called every 10 ms while a set waits.
    """

    def __init__(
        self,
        node: Node,
        swap: PolicySwap,
        verify: Callable[[str], Bundle],
        beat: Callable[[], None],
    ) -> None:
        self._node = node
        self._swap = swap
        self._verify = verify
        self._beat = beat
        self._number = 0
        self._verified: Future[Bundle] = Future()
        self._restoring = False
        node.add_on_set_parameters_callback(self._on_set)
        node.add_post_set_parameters_callback(self._on_changed)
        swap.choose(self._options())

    def close(self) -> None:
        """Leave the parameters alone."""
        self._node.remove_post_set_parameters_callback(self._on_changed)
        self._node.remove_on_set_parameters_callback(self._on_set)

    def restore(self) -> None:
        """Name the active policy again after a request that came to nothing."""
        if not self._swap.idle:
            return
        name = self._swap.active_name
        if self._node.get_parameter("policy").value == name:
            return
        self._restoring = True
        self._node.set_parameters([Parameter("policy", value=name)])
        self._restoring = False

    def _on_set(self, parameters: list[Parameter[Any]]) -> SetParametersResult:
        names = [str(each.value) for each in parameters if each.name == "policy"]
        if self._restoring or not names:
            return SetParametersResult(successful=True)
        self._verified = verified = _in_thread(self._verify, names[-1])
        deadline_s = time.monotonic() + _PATIENCE_S
        while not verified.done() and time.monotonic() < deadline_s:
            threading.Event().wait(_BEAT_S)
            self._beat()
        error = verified.exception() if verified.done() else None
        if error is not None:
            return SetParametersResult(successful=False, reason=said(error))
        return SetParametersResult(successful=True)

    def _on_changed(self, parameters: list[Parameter[Any]]) -> None:
        if any(each.name in _OPTIONS for each in parameters):
            self._swap.choose(self._options())
        names = [str(each.value) for each in parameters if each.name == "policy"]
        if names and not self._restoring:
            self._number += 1
            self._swap.request(self._number, names[-1], self._verified)

    def _options(self) -> SwapOptions:
        value = self._node.get_parameter
        return SwapOptions(
            observations=int(value("shadow_observations").value),
            in_motion=bool(value("swap_in_motion").value),
            agreement_rad=float(value("swap_agreement").value),
        )


def _in_thread(verify: Callable[[str], Bundle], name: str) -> Future[Bundle]:
    future: Future[Bundle] = Future()

    def run() -> None:
        try:
            future.set_result(verify(name))
        except Exception as error:  # noqa: BLE001  told to whoever set the parameter
            future.set_exception(error)

    threading.Thread(target=run, name="verify_bundle", daemon=True).start()
    return future
