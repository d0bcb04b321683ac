# SPDX-License-Identifier: Apache-2.0
"""The newest samples of one stream, in the order of their stamps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from levine_policy_node.core.units import StampNs

# After a stamp that went back, this many samples in order are needed to trust the stream again.
SETTLING_SAMPLES = 5


class Stamped(Protocol):
    """Anything with a capture time."""

    @property
    def stamp_ns(self) -> StampNs:
        """Capture time on the ROS clock [ns]."""
        ...


S = TypeVar("S", bound=Stamped)


@dataclass(frozen=True, slots=True)
class History(Generic[S]):
    """A value that two threads may share: `extended` returns a new history.

    Attributes:
        samples: Oldest first, stamps strictly increasing.
        unsettled: Samples still needed since the stamps last went back; 0 in good order.
    """

    samples: tuple[S, ...] = ()
    unsettled: int = 0

    @property
    def newest(self) -> S | None:
        """The newest sample, or None."""
        return self.samples[-1] if self.samples else None

    def extended(self, sample: S, capacity: int) -> History[S]:
        """Add a sample and keep the newest `capacity`.

        A repeated stamp adds nothing. A stamp that goes back (clock reset, bag restarted) drops
        what was there: old and new stamps cannot be compared.
        """
        newest = self.newest
        if newest is not None and sample.stamp_ns == newest.stamp_ns:
            return self
        if newest is not None and sample.stamp_ns < newest.stamp_ns:
            return History((sample,), SETTLING_SAMPLES - 1)
        return History((*self.samples, sample)[-capacity:], max(0, self.unsettled - 1))
