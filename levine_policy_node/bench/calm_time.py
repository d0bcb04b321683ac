# SPDX-License-Identifier: Apache-2.0
"""Tells what was counted while the machine ran from what was counted while it was held up.

Nodes tell their counters once a second. A second in which a core of the machine stood still for
more than a tick says nothing about the runtime; nor does one in which the simulated arm heard its
commands too late, which a real one, with a computer of its own, would not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from levine_policy_node.core.units import NS_PER_S
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import ros_now, stamp_from_msg

_TICK_S = 0.01
# What a late machine did is seen up to so much later.
_AFTER_S = 0.25


@dataclass(slots=True)
class Counted:
    """What a counter counted.

    Attributes:
        calm: While nothing was held up.
        held_up: Else.
    """

    calm: int = 0
    held_up: int = 0


@dataclass(frozen=True, slots=True)
class _Second:
    begin_s: float
    end_s: float
    held_up: bool


@dataclass(slots=True)
class _Teller:
    """A node that tells a counter."""

    key: str
    late_key: str
    counted: Counted = field(default_factory=Counted)
    last: tuple[float, int, int] | None = None


class CalmTime:
    """Listens to `/diagnostics` for as long as `node` spins.

    Attributes:
        missed_ticks: Of the supervisor.
        limit_violations: Of the commands, as the simulated arm counted them.
    """

    def __init__(self, node: Node, late_s: Callable[[float], float]) -> None:
        """Begin to listen.

        Args:
            node: Of the benchmark.
            late_s: How long a core was held up at most since a time on the monotonic clock.
        """
        self._node = node
        self._late_s = late_s
        self._seconds: list[_Second] = []
        self._tellers = {
            "safety_supervisor": _Teller("missed_ticks", ""),
            "sim_arm": _Teller("limit_violations", "late"),
        }
        self.missed_ticks = self._tellers["safety_supervisor"].counted
        self.limit_violations = self._tellers["sim_arm"].counted
        node.create_subscription(
            DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.DIAGNOSTICS
        )

    @property
    def told_s(self) -> float:
        """Until when every counter is known, on the monotonic clock [s]."""
        told = [teller.last for teller in self._tellers.values()]
        return min((0.0 if last is None else last[0]) for last in told)

    @property
    def held_up_share(self) -> float:
        """Share of the seconds in which something was held up."""
        return sum(s.held_up for s in self._seconds) / max(len(self._seconds), 1)

    def was_calm(self, begin_s: float, end_s: float) -> bool:
        """Whether nothing was held up between two times on the monotonic clock."""
        return not any(
            second.held_up and second.begin_s <= end_s and begin_s <= second.end_s
            for second in self._seconds
        )

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        age_ns = ros_now(self._node) - stamp_from_msg(message.header.stamp)
        told_s = time.monotonic() - age_ns / NS_PER_S
        for status in message.status:
            teller = self._tellers.get(status.name.rsplit("/", 1)[-1])
            if teller is not None:
                values = {v.key: v.value for v in status.values}
                self._count(teller, values, told_s)

    def _count(self, teller: _Teller, values: dict[str, str], now_s: float) -> None:
        count, late = int(values[teller.key]), int(values.get(teller.late_key, 0))
        if teller.last is not None:
            begin_s, count_before, late_before = teller.last
            held_up = late > late_before or self._late_s(begin_s - _AFTER_S) > _TICK_S
            self._seconds.append(_Second(begin_s, now_s, held_up))
            if held_up:
                teller.counted.held_up += count - count_before
            else:
                teller.counted.calm += count - count_before
        teller.last = now_s, count, late
