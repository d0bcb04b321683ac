# SPDX-License-Identifier: Apache-2.0
"""What stands between a topic and a callback, so that no message ends the loop or holds it up.

Floods are counted and thinned out; messages that cannot be used are counted and said. What cannot
be deserialized at all the middleware drops by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.node import Node

from levine_policy_node.core.message_rate import MessageRate
from levine_policy_node.ros.clocks import steady_now
from levine_policy_node.ros.messages import MessageError

# Somebody who keeps coming back as a new publisher must not grow the memory.
_SENDERS_KEPT = 32

Info = Mapping[str, Any]


class MessageGuard:
    """Guards the callbacks of one node; they run in one thread.

    Attributes:
        refused: How many messages of each topic could not be used.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._rates: list[MessageRate] = []
        self.refused: Counter[str] = Counter()

    def guarded(
        self,
        topic: str,
        agreed_hz: float,
        callback: Callable[[Any, Info], None],
        *,
        thinned: bool = True,
    ) -> Any:
        """Wrap a callback, for `create_subscription`.

        Args:
            topic: For the texts.
            agreed_hz: Three times as many messages are a flood [Hz].
            callback: Takes a message and its MessageInfo; may raise MessageError.
            thinned: Whether what is beyond that is not handed on. Never for an e-stop.
        """
        rate, sent = MessageRate(topic, agreed_hz), _SentCount()
        self._rates.append(rate)

        def take(message: Any, info: Info) -> None:
            within = rate.add(sent.new(info), steady_now())
            if not within and thinned:
                return
            try:
                callback(message, info)
            except MessageError as error:
                self.refused[topic] += 1
                self._node.get_logger().warning(f"{topic}: {error}", throttle_duration_sec=5.0)

        return take

    def flood(self) -> str:
        """Which topic carries too many messages now, or ""."""
        now_ns = steady_now()
        return next((text for rate in self._rates if (text := rate.flood(now_ns))), "")


class _SentCount:
    """How many messages were sent, lost ones included: publishers number theirs."""

    def __init__(self) -> None:
        self._newest: dict[bytes, int] = {}

    def new(self, info: Info) -> int:
        """Messages since the last of this publisher, 1 where that is not known."""
        number, sender = info.get("publication_sequence_number"), info.get("publisher_gid")
        if number is None or sender is None:
            return 1
        identity = bytes(sender["data"])
        before = self._newest.pop(identity, number - 1)
        while len(self._newest) >= _SENDERS_KEPT:
            self._newest.pop(next(iter(self._newest)))
        self._newest[identity] = number
        return max(1, number - before)
