# SPDX-License-Identifier: Apache-2.0
"""How a person's device leads the arm in HUMAN, and what of the policy is dead after a handback.

A takeover brakes the arm from its commanded position, velocity and acceleration, and the place
where that brake ends is what the device's present position stands for: nothing but a change of
what the device says moves the arm from there. The difference between the two places, the offset,

* fades for a device that is absolute, such as a leader arm, at a bounded speed, until arm and
  leader agree;
* stays for a device that is relative (its source tag ends in `#relative`), such as a gamepad, and
  grows at the ends of the range, so that the way back begins at once.

A joint that the device does not name is held where the brake ends: a policy that goes on with one
arm while a person moves the other sees what it was never taught, and nothing of what watches a
policy counts in HUMAN. What nobody leads does not move. A joint that is named later, or again, is
taken over like the first ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.units import NS_PER_S, BoolArray, FloatArray, SteadyNs, nanoseconds

_EPOCH_NS = nanoseconds(0.25)

RELATIVE = "#relative"
"""How the source tag of a device ends whose positions mean changes only."""

# Peak slope of the quintic step 10 u^3 - 15 u^4 + 6 u^5 (Flash and Hogan, 1985).
_STEEPEST = 1.875
_SHORTEST_FADE_S = 0.3
# A relative device says nothing that is farther away than this many times the range of a joint.
_SANE_RANGES = 10.0


@dataclass(frozen=True, slots=True)
class TakeoverOptions:
    """How an absolute device takes over.

    Attributes:
        tolerance: A takeover is refused while a joint of the device is farther than this from
            the arm [rad]; 0 refuses none, and the difference fades.
        fade_share: Speed of that, as a share of each joint's velocity limit.
    """

    tolerance: float = 0.0
    fade_share: float = 0.25


FADING = TakeoverOptions()


@dataclass(frozen=True, slots=True)
class Target:
    """The operator's newest joint target (J,) [rad] with its source tag.

    A position is NaN where the operator names no such joint.
    """

    position: FloatArray
    source: str
    received_ns: SteadyNs

    @property
    def named(self) -> BoolArray:
        """Mask (J,) of the joints that are led."""
        return np.isfinite(self.position)

    @property
    def relative(self) -> bool:
        """Whether only changes of the positions mean something."""
        return self.source.endswith(RELATIVE)


@dataclass(frozen=True, slots=True, eq=False)
class Lead:
    """A person's hold on the arm; arrays have shape (J,).

    Attributes:
        source: Tag of the device that took over; no other is listened to until the next takeover.
        heard_ns: When its newest target came.
        goal: Where each joint is wanted [rad].
        named: Which joints the newest target names.
        offset: What was between arm and device when each joint was taken over [rad].
        since_ns: When that was.
        fade_s: How long it takes to fade [s]; infinite if it stays.
    """

    source: str
    heard_ns: SteadyNs
    goal: FloatArray
    named: BoolArray
    offset: FloatArray
    since_ns: npt.NDArray[np.int64]
    fade_s: FloatArray


@dataclass(frozen=True, slots=True)
class Handback:
    """A handback whose first chunk has not come yet.

    Our executor begins a new epoch, which the tag tells. What of the old one was on its way may
    begin a little after the handback; a policy that has no epochs is waited for that long.

    Attributes:
        source: Tag of the chunks from before; their epoch is over.
        since_ns: When it was.
    """

    source: str
    since_ns: SteadyNs

    def kills(self, source: str, start_ns: int) -> bool:
        """Whether a chunk, by its tag and start, was planned before the handback."""
        return source == self.source and start_ns < self.since_ns + _EPOCH_NS


def taken_by(
    target: Target,
    rest: FloatArray,
    now_ns: SteadyNs,
    limits: JointLimits,
    options: TakeoverOptions,
) -> Lead:
    """Let a device take over an arm that will come to rest at `rest` (J,) [rad]."""
    joints = len(rest)
    nobody = Lead(
        target.source,
        target.received_ns,
        rest,
        np.zeros(joints, dtype=np.bool_),
        np.zeros(joints),
        np.zeros(joints, dtype=np.int64),
        np.full(joints, np.inf),
    )
    return led_on(nobody, target, now_ns, limits, options)


def led_on(
    lead: Lead, target: Target, now_ns: SteadyNs, limits: JointLimits, options: TakeoverOptions
) -> Lead:
    """Where the arm is wanted, now that the device says `target`.

    A target of another device changes nothing.
    """
    if target.source != lead.source:
        return lead
    named, said = target.named, _sane(target, limits)
    new = named & ~lead.named
    if new.any():
        lead = _anchored(lead, said, new, now_ns, limits, None if target.relative else options)
    left = _left((int(now_ns) - lead.since_ns) / NS_PER_S / lead.fade_s)
    wanted = np.where(named, said + left * lead.offset, lead.goal)
    goal = np.clip(wanted, limits.lower, limits.upper)
    offset = lead.offset + (goal - wanted) if target.relative else lead.offset
    return replace(lead, heard_ns=target.received_ns, goal=goal, named=named, offset=offset)


def _anchored(
    lead: Lead,
    said: FloatArray,
    new: BoolArray,
    now_ns: SteadyNs,
    limits: JointLimits,
    fading: TakeoverOptions | None,
) -> Lead:
    """Take over the joints of the mask `new` (J,) where they are wanted already."""
    offset = np.where(new, lead.goal - said, lead.offset)
    fade_s = np.inf
    if fading is not None:
        # All of them together, so that the hand goes straight.
        speed = fading.fade_share * limits.velocity
        slowest_s = float(np.max(_STEEPEST * np.abs(offset[new]) / speed[new]))
        fade_s = max(_SHORTEST_FADE_S, slowest_s)
    return replace(
        lead,
        offset=offset,
        since_ns=np.where(new, int(now_ns), lead.since_ns),
        fade_s=np.where(new, fade_s, lead.fade_s),
    )


def _sane(target: Target, limits: JointLimits) -> FloatArray:
    """What a device says, in the range of the arm, or where adding an offset loses nothing."""
    far = _SANE_RANGES * (limits.upper - limits.lower) if target.relative else 0.0
    return np.clip(target.position, limits.lower - far, limits.upper + far)


def _left(u: FloatArray) -> FloatArray:
    """What is left of an offset at a share `u` of its fade; without a jump in acceleration."""
    u = np.clip(u, 0.0, 1.0)
    return np.asarray(1.0 - u**3 * (10.0 + u * (6.0 * u - 15.0)))


def misaligned(
    target: Target, commanded: FloatArray, names: tuple[str, ...], options: TakeoverOptions
) -> str:
    """Say which joint of an absolute device is too far from the arm to take over, or return "".

    Args:
        target: Newest one of the device.
        commanded: Where the arm is told to be (J,) [rad].
        names: Of the joints.
        options: Whether that matters.
    """
    if options.tolerance <= 0.0 or target.relative:
        return ""
    apart = np.where(target.named, np.abs(target.position - commanded), 0.0)
    worst = int(np.argmax(apart))
    if apart[worst] <= options.tolerance:
        return ""
    return (
        f"{names[worst]} of {target.source} is {apart[worst]:.3f} from the arm "
        f"(limit {options.tolerance:g}); bring it nearer"
    )
