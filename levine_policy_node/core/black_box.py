# SPDX-License-Identifier: Apache-2.0
"""The last seconds before a stop and those after it: when one began, why, and what belongs to it.

`BlackBox` is given every tick and keeps the newest few seconds. A stop opens an incident with what
it has kept; the incident goes on until the arm stands and a moment longer, so that the braking is
in it. Another stop meanwhile belongs to the same incident.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from levine_policy_node.core.faults import Severity
from levine_policy_node.core.modes import LATCHED, STOP_ORDER, Event, Mode
from levine_policy_node.core.tick_record import Tick
from levine_policy_node.core.units import nanoseconds

OPERATOR = "OPERATOR_"
DIED = "SUPERVISOR_DIED"
LOOP_FAILED = "LOOP_FAILED"

_RANKS = {mode.value: rank for rank, mode in enumerate(STOP_ORDER)}
_LATCHED = frozenset(mode.value for mode in LATCHED)
_STOPPING = Mode.STOPPING.value
_PAUSED = Mode.PAUSED.value
_OPERATOR_STOPS = frozenset({Event.PAUSE.value, Event.DISARM.value, Event.STOP.value})


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop that began.

    Attributes:
        cause: Name of the fault, `OPERATOR_` and the act, or how the supervisor ended.
        evidence: What was seen, in figures.
        time_ns: The tick it began with, on the steady clock.
        ros_offset_ns: ROS clock minus steady clock at that tick.
        before: Mode before it.
        mode: Mode it led to, with the target of the stop.
    """

    cause: str
    evidence: str
    time_ns: int
    ros_offset_ns: int
    before: str
    mode: str

    @property
    def by_operator(self) -> bool:
        """Whether a person asked for it."""
        return self.cause.startswith(OPERATOR)


@dataclass(frozen=True, slots=True)
class Begun:
    """An incident begins with a stop; `ticks` are those that were kept, oldest first."""

    stop: Stop
    ticks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True)
class More:
    """A further tick of the open incident."""

    tick: Tick


@dataclass(frozen=True, slots=True)
class Over:
    """The open incident is complete; `stops` are all that belong to it."""

    stops: tuple[Stop, ...]


Step: TypeAlias = "Begun | More | Over"


@dataclass(frozen=True, slots=True)
class BlackBoxOptions:
    """How much is kept.

    Attributes:
        before_s: Kept of the time before a stop [s].
        after_s: An incident goes on at least so long after its last stop [s].
        longest_s: An incident that stops again and again is cut so long after its first stop [s].
        capacity: Bound of the memory of the ticks that are kept, as packed [bytes].
    """

    before_s: float = 5.0
    after_s: float = 1.0
    longest_s: float = 10.0
    capacity: int = 32 << 20


class BlackBox:
    """Keeps ticks and says what becomes of them; knows neither clock nor disk."""

    def __init__(self, options: BlackBoxOptions | None = None) -> None:
        self._options = options or BlackBoxOptions()
        self._kept: deque[tuple[Tick, int]] = deque()
        self._size = 0
        self._stops: list[Stop] = []

    @property
    def kept(self) -> int:
        """Number of ticks in memory."""
        return len(self._kept)

    @property
    def last(self) -> Tick | None:
        """The newest tick, None before the first."""
        return self._kept[-1][0] if self._kept else None

    def add(self, tick: Tick, size: int) -> Sequence[Step]:
        """Take in the next tick.

        Args:
            tick: Later than those before it.
            size: Bytes it takes.

        Returns:
            What is to be written now, in order; nothing while no incident is open.
        """
        stop = stop_begun(self.last, tick)
        self._keep(tick, size)
        if stop is None and not self._stops:
            return ()
        first = not self._stops
        if stop is not None:
            self._stops.append(stop)
        step = Begun(self._stops[0], self._ticks()) if first else More(tick)
        return (step, *self._end(forced=False))

    def finish(self, cause: str, evidence: str) -> Sequence[Step]:
        """Take in that no further tick will come.

        Args:
            cause: `DIED` or `LOOP_FAILED`, which is a stop of its own; "" after an orderly end.
            evidence: What is known about it.
        """
        steps: list[Step] = []
        last = self.last
        if cause and last is not None:
            stop = Stop(
                cause, evidence, last.sent_ns, last.ros_offset_ns, last.full_mode, "no supervisor"
            )
            if not self._stops:
                steps.append(Begun(stop, self._ticks()))
            self._stops.append(stop)
        return (*steps, *self._end(forced=True))

    def _keep(self, tick: Tick, size: int) -> None:
        self._kept.append((tick, size))
        self._size += size
        oldest_ns = tick.due_ns - nanoseconds(self._options.before_s)
        while len(self._kept) > 1 and (
            self._kept[0][0].due_ns < oldest_ns or self._size > self._options.capacity
        ):
            self._size -= self._kept.popleft()[1]

    def _ticks(self) -> tuple[Tick, ...]:
        return tuple(tick for tick, _ in self._kept)

    def _end(self, *, forced: bool) -> tuple[Over, ...]:
        if not self._stops or not (forced or self._is_over()):
            return ()
        stops, self._stops = tuple(self._stops), []
        return (Over(stops),)

    def _is_over(self) -> bool:
        tick, options = self.last, self._options
        if tick is None:
            return True
        if tick.due_ns - self._stops[0].time_ns >= nanoseconds(options.longest_s):
            return True
        passed_ns = tick.due_ns - self._stops[-1].time_ns
        return tick.mode != _STOPPING and passed_ns >= nanoseconds(options.after_s)


def stop_begun(before: Tick | None, tick: Tick) -> Stop | None:
    """The stop that began with `tick`, or became more severe with it; None if none did.

    The end of a motion that was asked for, such as `home`, is no stop.
    """
    rank = _rank(tick)
    if rank < 0 or rank <= (_rank(before) if before is not None else -1):
        return None
    found = _cause(before, tick)
    if found is None:
        return None
    was = before.full_mode if before is not None else Mode.INIT.value
    return Stop(*found, tick.due_ns, tick.ros_offset_ns, was, tick.full_mode)


def _rank(tick: Tick) -> int:
    """How severe the stop is that this tick is in; -1 if it is in none."""
    if tick.mode == _STOPPING:
        return _RANKS.get(tick.target, 0)
    return _RANKS[tick.mode] if tick.mode in _LATCHED else -1


def _cause(before: Tick | None, tick: Tick) -> tuple[str, str] | None:
    """The worst fault that came up in this tick, else the operator's act, else an older fault."""
    new = [o for o in tick.occurrences if o[1] > Severity.NOTICE]
    if new:
        name, _, text = max(new, key=lambda occurrence: occurrence[1])
        return name, tick.faults[name][1] if name in tick.faults else text
    for act, accepted, _ in reversed(tick.acts):
        if accepted and act in _OPERATOR_STOPS:
            return f"{OPERATOR}{act.upper()}", f"{act} was asked for"
    said = next((text for name, _, text in tick.occurrences if name == "MODE"), "")
    for name, (_, text) in tick.faults.items():
        if said.endswith(text):
            return name, text
    if before is not None and before.mode == Mode.HUMAN.value and tick.target == _PAUSED:
        return None
    return "STOPPED", said
