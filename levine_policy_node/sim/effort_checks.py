# SPDX-License-Identifier: Apache-2.0
"""Whether the efforts the arm is told are within their bounds, and change no faster than they may.

The sender's clock is not this one's, so efforts are differenced as if they came one period apart.
Who misses a period is allowed no more for it, since the drives go on pushing with the last effort;
who has been silent for their timeout begins at 0, since they have let go.
"""

from __future__ import annotations

import numpy as np

from levine_policy_node.core.effort_limits import EffortOptions
from levine_policy_node.core.units import FloatArray, SteadyNs, seconds
from levine_policy_node.sim.limit_checks import Findings, Kind, Violation

_TOLERANCE = 1e-6
# When exactly the drives let go is for each side to judge by its own clock.
_SURE_SHARES = (0.5, 1.5)


class EffortCheck:
    """Judges a stream of efforts."""

    def __init__(self, names: tuple[str, ...], options: EffortOptions, period_ns: int) -> None:
        """Check against `options`.

        Args:
            names: Joints, in the order of `options`.
            options: Bounds.
            period_ns: Time between two commands [ns].
        """
        self._names = names
        self._options = options
        self._step = options.rate * seconds(period_ns)
        self._last: FloatArray | None = None
        self._last_ns = SteadyNs(0)

    def begin(self) -> None:
        """Start over with drives that hold the arm by themselves."""
        self._last = None

    def check(self, efforts: FloatArray, received_ns: SteadyNs) -> Findings:
        """Judge the next efforts (J,) [N m], which came at `received_ns`."""
        time_s = seconds(received_ns)
        finite = np.isfinite(efforts)
        if not finite.all():
            bad = [self._names[i] for i in np.flatnonzero(~finite)]
            found = [Violation("effort", name, "setpoint", time_s, None, np.inf) for name in bad]
            return Findings(tuple(found))
        changes = [np.abs(efforts - before) for before in self._before(received_ns)]
        change = changes[int(np.argmin([np.max(c / self._step) for c in changes]))]
        self._last, self._last_ns = np.array(efforts), received_ns
        largest = self._beyond("effort", np.abs(efforts), self._options.largest, time_s)
        scale = self._options.rate / self._step
        rate = self._beyond("effort_rate", change * scale, self._options.rate, time_s)
        return Findings(largest[0] + rate[0], (largest[1], rate[1]))

    def _before(self, received_ns: SteadyNs) -> list[FloatArray]:
        """What the drives may have been pushing with until now."""
        still = np.zeros(len(self._names))
        if self._last is None:
            return [still]
        silent = seconds(received_ns - self._last_ns) / self._options.timeout_s
        if silent < _SURE_SHARES[0]:
            return [self._last]
        return [still] if silent > _SURE_SHARES[1] else [self._last, still]

    def _beyond(
        self, kind: Kind, value: FloatArray, bound: FloatArray, time_s: float
    ) -> tuple[tuple[Violation, ...], tuple[Kind, float]]:
        ratio = value / bound
        found = [
            Violation(kind, self._names[i], "setpoint", time_s, float(value[i]), float(bound[i]))
            for i in np.flatnonzero(ratio > 1.0 + _TOLERANCE)
        ]
        return tuple(found), (kind, float(ratio.max()))
