# SPDX-License-Identifier: Apache-2.0
"""Tells what was counted while the machine ran from what was counted while it was held up.

Nodes tell their counters once a second. A second in which a core of the machine stood still for
more than a tick says nothing about the runtime; nor does one in which the simulated arm heard its
commands too late, which a real one, with a computer of its own, would not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from levine_policy_node.core.units import NS_PER_S
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import ros_now, stamp_from_msg
from levine_policy_node.ros.diagnostics import diagnostics_from_msg

_TICK_S = 0.01
# What a late machine did is seen up to so much later.
_AFTER_S = 0.25


@dataclass(frozen=True, slots=True)
class Counted:
    """What a counter counted.

    Attributes:
        calm: While nothing was held up.
        held_up: Else.
    """

    calm: int = 0
    held_up: int = 0


Span = tuple[float, float]
"""From and until when, on the monotonic clock [s]."""


@dataclass(frozen=True, slots=True)
class _Second:
    begin_s: float
    end_s: float
    count: int
    held_up: bool

    def overlaps(self, spans: Iterable[Span]) -> bool:
        return any(self.begin_s <= end and begin <= self.end_s for begin, end in spans)


@dataclass(slots=True)
class _Teller:
    """A node that tells a counter."""

    key: str
    late_key: str
    seconds: list[_Second] = field(default_factory=list[_Second])
    last: tuple[float, int, int] | None = None

    def counted(self, spans: Sequence[Span]) -> Counted:
        meant = [second for second in self.seconds if second.overlaps(spans)]
        calm = sum(second.count for second in meant if not second.held_up)
        return Counted(calm, sum(second.count for second in meant) - calm)


class CalmTime:
    """Listens to `/diagnostics` for as long as `node` spins."""

    def __init__(self, node: Node, late_s: Callable[[float], float]) -> None:
        """Begin to listen.

        Args:
            node: Of the benchmark.
            late_s: How long a core was held up at most since a time on the monotonic clock.
        """
        self._node = node
        self._late_s = late_s
        self._supervisor = _Teller("missed_ticks", "")
        self._arm = _Teller("limit_violations", "late")
        self._tellers = {"safety_supervisor": self._supervisor, "sim_arm": self._arm}
        node.create_subscription(
            DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.DIAGNOSTICS
        )

    @property
    def told_s(self) -> float:
        """Until when every counter is known, on the monotonic clock [s]."""
        told = [teller.last for teller in self._tellers.values()]
        return min((0.0 if last is None else last[0]) for last in told)

    @property
    def began_s(self) -> float:
        """When the last second began that every counter is known of [s]."""
        return min((t.seconds[-1].begin_s if t.seconds else 0.0) for t in self._tellers.values())

    def missed_ticks(self, spans: Sequence[Span]) -> Counted:
        """Ticks of the supervisor in the seconds that overlap one of `spans`."""
        return self._supervisor.counted(spans)

    def limit_violations(self, spans: Sequence[Span]) -> Counted:
        """Of the commands, as the simulated arm counted them, in those seconds."""
        return self._arm.counted(spans)

    def held_up_share(self, spans: Sequence[Span]) -> float:
        """Share of those seconds in which something was held up."""
        held_up = [
            s.held_up for t in self._tellers.values() for s in t.seconds if s.overlaps(spans)
        ]
        return sum(held_up) / max(len(held_up), 1)

    def was_calm(self, span: Span) -> bool:
        """Whether nothing was held up in the seconds that overlap `span`."""
        seconds = (second for teller in self._tellers.values() for second in teller.seconds)
        return not any(second.held_up and second.overlaps([span]) for second in seconds)

    def is_calm(self) -> bool:
        """Whether nothing was held up in the last second that was told of."""
        last = [teller.seconds[-1] for teller in self._tellers.values() if teller.seconds]
        return bool(last) and not any(second.held_up for second in last)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        age_ns = ros_now(self._node) - stamp_from_msg(message.header.stamp)
        told_s = time.monotonic() - age_ns / NS_PER_S
        for name, values in diagnostics_from_msg(message).items():
            if name in self._tellers:
                self._count(self._tellers[name], values, told_s)

    def _count(self, teller: _Teller, values: dict[str, str], now_s: float) -> None:
        count, late = int(values[teller.key]), int(values.get(teller.late_key, 0))
        if teller.last is not None:
            begin_s, count_before, late_before = teller.last
            held_up = late > late_before or self._late_s(begin_s - _AFTER_S) > _TICK_S
            teller.seconds.append(_Second(begin_s, now_s, count - count_before, held_up))
        teller.last = now_s, count, late
