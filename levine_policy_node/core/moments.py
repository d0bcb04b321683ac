# SPDX-License-Identifier: Apache-2.0
"""What a policy with a memory sees: the present and moments before it, one period apart.

Times count, not inferences. A policy that infers after eight rows still sees two observations that
are one row apart, as in training, and the action before the present is the row that was due then.
Nothing from before the policy took over is seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from levine_policy_node.core.observation import Observation
from levine_policy_node.core.units import NS_PER_S, FloatArray, StampNs, seconds
from levine_policy_node.errors import ObservationError


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """One instant of an episode.

    Attributes:
        observation: What was measured.
        step: Periods since the policy took over, from 0.
        previous: The action of the period before, as the network gave it, shape (A,); zeros at
            the beginning.
        start: Joint positions when the policy took over, shape (J,) [rad]; None for now.
    """

    observation: Observation
    step: int = 0
    previous: FloatArray = field(default_factory=lambda: np.zeros(0))
    start: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Played:
    """Actions of one inference, shape (T, A); the first is for the time of the observation."""

    observed_ns: int
    actions: FloatArray


class Moments:
    """Remembers what was observed and done since the policy took over.

    Args:
        steps: How many moments the policy sees, the present one included.
        period_s: Time between them [s].
        columns: Columns of the action.
    """

    def __init__(self, steps: int, period_s: float, columns: int) -> None:
        self._steps = steps
        self._period_ns = max(round(period_s * NS_PER_S), 1)
        self._columns = columns
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next observation is the first."""
        self._began_ns: int | None = None
        self._start: FloatArray | None = None
        self._seen: list[Observation] = []
        self._played: list[_Played] = []

    def recall(self, observation: Observation) -> tuple[Moment, ...]:
        """The moments that `observation` ends, oldest first; at the beginning fewer than `steps`.

        Those in between inferences come from `observation.past`.

        Raises:
            ObservationError: If nothing was observed within a period of a moment.
        """
        now_ns = int(observation.stamp_ns)
        if self._seen and now_ns < int(self._seen[-1].stamp_ns):
            self.reset()  # the clock went back
        if self._began_ns is None:
            self._began_ns = now_ns
            self._start = observation.joint_positions.copy()
        step = round((now_ns - self._began_ns) / self._period_ns)
        moments = [Moment(observation, step, self._action_before(now_ns), self._start)]
        for back in range(1, min(self._steps, step + 1)):
            wanted_ns = max(now_ns - back * self._period_ns, self._began_ns)
            nearest = self._nearest(observation, wanted_ns)
            previous = self._action_before(wanted_ns)
            if nearest.goal is None:  # what the streams remember has none
                nearest = replace(nearest, goal=observation.goal)
            moments.append(Moment(nearest, step - back, previous, self._start))
        self._seen = [*self._seen, replace(observation, past=())][-self._steps :]
        return tuple(reversed(moments))

    def played(self, observed_ns: StampNs, actions: FloatArray) -> None:
        """Note the actions of an inference.

        Args:
            observed_ns: Stamp of the observation they were inferred from.
            actions: Shape (T, A), in the network's unit; the first is for that time.
        """
        if len(actions) == 0:
            return
        oldest_ns = int(observed_ns) - (self._steps + 1) * self._period_ns
        still = [p for p in self._played if p.observed_ns >= oldest_ns]
        # What was played at the oldest moment may have been inferred long before it.
        before = [p for p in self._played if p.observed_ns < oldest_ns][-1:]
        self._played = [*before, *still, _Played(int(observed_ns), actions)]

    def _nearest(self, observation: Observation, wanted_ns: int) -> Observation:
        began_ns = self._began_ns or 0
        known = [o for o in (*self._seen, *observation.past) if int(o.stamp_ns) >= began_ns]
        known = known or [observation]
        nearest = min(known, key=lambda o: abs(int(o.stamp_ns) - wanted_ns))
        distance_ns = abs(int(nearest.stamp_ns) - wanted_ns)
        if distance_ns > self._period_ns:
            ago_s = seconds(int(observation.stamp_ns) - wanted_ns)
            raise ObservationError(
                f"the policy sees the past, and nothing was observed {ago_s:.3g} s ago, nor "
                f"within {seconds(self._period_ns):.3g} s of it"
            )
        return nearest

    def _action_before(self, stamp_ns: int) -> FloatArray:
        """The action that was due one period before `stamp_ns`."""
        due_ns = stamp_ns - self._period_ns
        half_ns = self._period_ns // 2
        begun = [played for played in self._played if played.observed_ns <= due_ns + half_ns]
        if not begun:
            return np.zeros(self._columns)
        row = round((due_ns - begun[-1].observed_ns) / self._period_ns)
        return begun[-1].actions[min(max(row, 0), len(begun[-1].actions) - 1)]
