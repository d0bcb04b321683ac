# SPDX-License-Identifier: Apache-2.0
"""How one policy takes another's place: a state machine that decides, and touches nothing.

* One policy is active at every moment; a candidate is loaded beside it, never two.
* The candidate runs in shadow, then takes over: at standstill, or at a seam while the arm moves if
  that is wanted and it agreed with the active policy on every one of the last observations.
* Whatever goes wrong, the active policy stays.
* The newest request wins. Loading cannot be interrupted, so a request that comes meanwhile waits
  for it; one that waits is replaced by a newer one.

Requests have growing numbers, and a policy has the number of the request that brought it. The
policy that the node began with has number 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum


class Phase(str, Enum):
    """What the candidate is doing."""

    IDLE = "idle"
    LOADING = "loading"
    SHADOWING = "shadowing"
    WAITING = "waiting"


class Ending(str, Enum):
    """What became of a request."""

    DONE = "done"
    REFUSED = "refused"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class SwapOptions:
    """When a candidate may take over.

    Attributes:
        observations: How many observations it runs in shadow; 0 for none, and then never in
            motion.
        in_motion: Whether it may take over while the arm moves.
        agreement_rad: In motion, the largest distance between the chunks of both on any of the
            last `observations` observations [rad].
    """

    observations: int = 5
    in_motion: bool = False
    agreement_rad: float = 0.05


@dataclass(frozen=True, slots=True)
class Load:
    """Verify, load and warm up what this request asks for; answer with Loaded or Failed."""

    number: int


@dataclass(frozen=True, slots=True)
class Switch:
    """Put this candidate in the place of the active policy, now."""

    number: int


@dataclass(frozen=True, slots=True)
class Free:
    """Free this policy once no inference uses it any more."""

    number: int


@dataclass(frozen=True, slots=True)
class End:
    """Tell what became of a request."""

    number: int
    ending: Ending
    reason: str = ""


Action = Load | Switch | Free | End


@dataclass(frozen=True, slots=True)
class Requested:
    """Somebody asks for another policy."""

    number: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """A candidate is warm."""

    number: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A candidate cannot be loaded, or must not take over."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Compared:
    """A candidate has inferred in shadow; its chunk was this far from the active one's [rad]."""

    number: int
    worst_rad: float


@dataclass(frozen=True, slots=True)
class Moment:
    """A candidate might take over now.

    Attributes:
        moving: Whether the arm moves or may be moved at any time.
        seam: Whether a chunk of the active policy has just been placed.
    """

    moving: bool
    seam: bool


SwapEvent = Requested | Loaded | Failed | Compared | Moment


@dataclass(frozen=True, slots=True)
class SwapState:
    """Where a swap is.

    Attributes:
        active: Number of the policy that commands.
        phase: Of the candidate.
        candidate: Its number, None without one.
        queued: A newer request, which waits until the candidate is loaded.
        compared: Distances on the newest observations, at most `observations` of them [rad].
    """

    active: int = 0
    phase: Phase = Phase.IDLE
    candidate: int | None = None
    queued: int | None = None
    compared: tuple[float, ...] = ()


Step = tuple[SwapState, tuple[Action, ...]]


def step(state: SwapState, event: SwapEvent, options: SwapOptions) -> Step:
    """The state after an event, and what is to be done, in this order."""
    if isinstance(event, Requested):
        return _requested(state, event.number)
    if isinstance(event, Moment):
        return _moment(state, event, options)
    if event.number != state.candidate:
        return state, ()  # Of a candidate that is no more.
    if isinstance(event, Failed):
        return _failed(state, event)
    if isinstance(event, Loaded):
        return _loaded(state, event.number, options)
    return _compared(state, event.worst_rad, options), ()


def wants_shadow(state: SwapState, options: SwapOptions) -> bool:
    """Whether the candidate should infer from the next observation, too."""
    if state.phase is Phase.WAITING:
        # It may yet come to agree, and what it said long ago does not count.
        return options.in_motion and options.observations > 0
    return state.phase is Phase.SHADOWING


def obstacle(state: SwapState, event: Moment, options: SwapOptions) -> str:
    """Why a candidate that waits does not take over at this moment, or ""."""
    if not event.moving:
        return ""
    if not options.in_motion:
        return "the arm moves: waits for standstill"
    if options.observations == 0:
        return "no shadow: waits for standstill"
    if len(state.compared) < options.observations:
        return "in shadow"
    # Written so that NaN does not agree.
    beyond = [rad for rad in state.compared if not rad <= options.agreement_rad]
    if beyond:
        return (
            f"differs by {max(beyond):.3f} rad, more than swap_agreement "
            f"({options.agreement_rad:g} rad): waits for standstill"
        )
    return "" if event.seam else "waits for a seam"


def _requested(state: SwapState, number: int) -> Step:
    if state.candidate is None:
        return _load(state, number), (Load(number),)
    newer = f"a newer request came ({number})"
    if state.phase is Phase.LOADING:
        ended = () if state.queued is None else (End(state.queued, Ending.REPLACED, newer),)
        return replace(state, queued=number), ended
    old = state.candidate
    return (
        _load(state, number),
        (Free(old), End(old, Ending.REPLACED, newer), Load(number)),
    )


def _loaded(state: SwapState, number: int, options: SwapOptions) -> Step:
    if state.phase is not Phase.LOADING:
        return state, ()
    if state.queued is not None:
        reason = f"a newer request came ({state.queued})"
        ended = (Free(number), End(number, Ending.REPLACED, reason))
        return _load(state, state.queued), (*ended, Load(state.queued))
    phase = Phase.SHADOWING if options.observations > 0 else Phase.WAITING
    return replace(state, phase=phase), ()


def _failed(state: SwapState, event: Failed) -> Step:
    free = () if state.phase is Phase.LOADING else (Free(event.number),)
    ended = (*free, End(event.number, Ending.REFUSED, event.reason))
    if state.queued is not None:
        return _load(state, state.queued), (*ended, Load(state.queued))
    return SwapState(active=state.active), ended


def _compared(state: SwapState, worst_rad: float, options: SwapOptions) -> SwapState:
    if state.phase not in {Phase.SHADOWING, Phase.WAITING} or options.observations == 0:
        return state
    compared = (*state.compared, worst_rad)[-options.observations :]
    done = len(compared) == options.observations
    phase = Phase.WAITING if done else state.phase
    return replace(state, phase=phase, compared=compared)


def _moment(state: SwapState, event: Moment, options: SwapOptions) -> Step:
    number = state.candidate
    if number is None or state.phase is not Phase.WAITING or obstacle(state, event, options):
        return state, ()
    actions = (Switch(number), Free(state.active), End(number, Ending.DONE))
    return SwapState(active=number), actions


def _load(state: SwapState, number: int) -> SwapState:
    return SwapState(active=state.active, phase=Phase.LOADING, candidate=number)
