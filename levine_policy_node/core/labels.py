# SPDX-License-Identifier: Apache-2.0
"""What each sample of an episode is worth to each way of learning from interventions.

A recording holds what happened and no judgement of it: nothing of this is baked in. These are
pure functions over N samples in order of time, so that a better rule needs no new recording.

    mode and source of the command -> `phases` -> everything else

Codes, as exports store them:

* `ControlSource`: who commanded the sample, from the source tag of `supervisor/command`.
* `Phase`: 0 policy, 1 human, 2 paused, 3 handover, 4 reset (the home motion).
* Sirius (Liu et al. 2022, `robomimic` fork): -1 demonstration, 0 policy, 1 intervention,
  -10 shortly before an intervention.
* IWR (Mandlekar et al. 2020): intervention samples weigh as much as all others together.
* RLIF (Luo et al. 2023): reward -1 where the policy was last before it was taken over, else 0.
* HG-DAgger (Kelly et al. 2019): only what a person drove is learned from.
* Evo-RL: 0 policy, 1 human, 2 between the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum, IntFlag

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.motions import HOME_SOURCE
from levine_policy_node.core.plan import HOLD, STOP
from levine_policy_node.core.units import BoolArray, FloatArray, nanoseconds

IntArray = npt.NDArray[np.int64]

SIRIUS_DEMONSTRATION, SIRIUS_POLICY, SIRIUS_INTERVENTION, SIRIUS_BEFORE = -1, 0, 1, -10
SIRIUS_WINDOW_S = 0.75
"""15 steps at 20 Hz, as in the published code."""

SIRIUS_WEIGHTS = {
    SIRIUS_DEMONSTRATION: 10.0,
    SIRIUS_POLICY: 1.0,
    SIRIUS_INTERVENTION: 10.0,
    SIRIUS_BEFORE: 0.1,
}
"""Defaults of the published code."""

_POLICY_TAG, _OPERATOR_TAG = "policy:", "operator:"


class ControlSource(IntEnum):
    """Who commanded a sample."""

    NONE = -1
    POLICY = 0
    HUMAN = 1
    HOLD = 2
    STOP = 3
    HOME = 4


class Phase(IntEnum):
    """What was going on."""

    POLICY = 0
    HUMAN = 1
    PAUSED = 2
    HANDOVER = 3
    RESET = 4


class Verdict(IntFlag):
    """What the supervisor did about what it was asked for (`filter_flags`)."""

    AS_ASKED = 0
    ALTERED = 1
    SLOWED = 2
    CUT = 4
    REFUSED = 8


VERDICT_EVENTS = {
    "CHUNK_SLOWED": Verdict.SLOWED,
    "CHUNK_CUT": Verdict.CUT,
    "TARGET_CUT": Verdict.CUT,
    "CHUNK_REFUSED": Verdict.REFUSED,
    "BAD_CHUNK": Verdict.REFUSED,
}
"""Events of `supervisor/events` that are verdicts."""


def control_source(tag: str) -> ControlSource:
    """Read the source tag of a command, such as `policy:<name>@<hash8>#<epoch>`."""
    if tag == HOME_SOURCE:
        return ControlSource.HOME
    if tag.startswith(_POLICY_TAG):
        return ControlSource.POLICY
    if tag.startswith(_OPERATOR_TAG):
        return ControlSource.HUMAN
    return {HOLD: ControlSource.HOLD, STOP: ControlSource.STOP}.get(tag, ControlSource.NONE)


def newest_before(times_ns: IntArray, stamps_ns: IntArray) -> IntArray:
    """Index of the newest stamp not after each time (N,), -1 where there is none.

    Args:
        times_ns: Times (N,) [ns].
        stamps_ns: Stamps (M,) [ns] in order.
    """
    return np.searchsorted(stamps_ns, times_ns, side="right").astype(np.int64) - 1


def phases(modes: Sequence[str], sources: IntArray) -> IntArray:
    """Phase (N,) of each sample.

    A mode begins with a handover: until the command has changed hands, at most the few tens of
    milliseconds that the controller already has. After that a policy that starves still has the
    arm.

    Args:
        modes: Mode of each sample, as `supervisor/mode` says it.
        sources: `ControlSource` of each command (N,).
    """
    found = np.full(len(sources), Phase.PAUSED, dtype=np.int64)
    for begin, end in _runs(modes):
        part = sources[begin:end]
        if modes[begin] == "POLICY":
            taken = part == ControlSource.POLICY
            found[begin:end] = _since(taken, np.full(len(part), Phase.POLICY))
        elif modes[begin] == "HUMAN":
            drives = np.maximum.accumulate(part == ControlSource.HUMAN)
            taken = drives | (part == ControlSource.HOME)
            # Where it ends, a home motion holds.
            found[begin:end] = _since(taken, np.where(drives, Phase.HUMAN, Phase.RESET))
    return found


def intervened(phase: IntArray) -> BoolArray:
    """Which samples (N,) a person drove after a policy had acted (`is_intervention`)."""
    return (phase == Phase.HUMAN) & _acted(phase)


def demonstrated(phase: IntArray) -> BoolArray:
    """Which samples (N,) a person drove before any policy acted."""
    return (phase == Phase.HUMAN) & ~_acted(phase)


def sirius_labels(
    times_ns: IntArray, phase: IntArray, window_s: float = SIRIUS_WINDOW_S
) -> IntArray:
    """Sirius's label (N,) of each sample; what nobody drove counts as the policy's.

    The window ends with the last sample the policy drove before it was taken over, which after a
    stop lies before the stop, and it never reaches back over an earlier intervention.

    Args:
        times_ns: Times (N,) [ns] in order.
        phase: `Phase` (N,).
        window_s: Length of the window [s].
    """
    labels = np.full(len(phase), SIRIUS_POLICY, dtype=np.int64)
    labels[demonstrated(phase)] = SIRIUS_DEMONSTRATION
    labels[intervened(phase)] = SIRIUS_INTERVENTION
    for since, last in _onsets(phase):
        part = slice(since, last + 1)
        near = times_ns[last] - times_ns[part] < nanoseconds(window_s)
        labels[part][near & (phase[part] == Phase.POLICY)] = SIRIUS_BEFORE
    return labels


def sirius_weights(labels: IntArray) -> FloatArray:
    """Weight (N,) that Sirius's published code gives samples with these labels."""
    weights = np.ones(len(labels))
    for label, weight in SIRIUS_WEIGHTS.items():
        weights[labels == label] = weight
    return weights


def iwr_weights(is_intervention: BoolArray) -> FloatArray:
    """Weight (N,) that makes interventions half of what is drawn; N is the whole data set."""
    count = int(np.count_nonzero(is_intervention))
    weights = np.ones(len(is_intervention))
    if 0 < count < len(weights):
        weights[is_intervention] = (len(weights) - count) / count
    return weights


def rlif_rewards(phase: IntArray) -> FloatArray:
    """Reward (N,): -1 on the last sample a policy drove before each takeover, else 0."""
    rewards = np.zeros(len(phase))
    for _, last in _onsets(phase):
        rewards[last] = -1.0
    return rewards


def evo_rl_states(phase: IntArray) -> IntArray:
    """Evo-RL's state (N,): 0 policy, 1 human, 2 the arm changes hands."""
    states = np.zeros(len(phase), dtype=np.int64)
    states[phase == Phase.HUMAN] = 1
    states[phase == Phase.HANDOVER] = 2
    return states


def verdict_flags(
    times_ns: IntArray, event_ns: IntArray, flags: IntArray, chunk_ns: IntArray
) -> IntArray:
    """Verdicts (N,) that held at each time: from the event on, until the next chunk came.

    Args:
        times_ns: Times (N,) [ns].
        event_ns: Times of verdicts (M,) [ns] in order, see `VERDICT_EVENTS`.
        flags: Their `Verdict` (M,).
        chunk_ns: When chunks were received (K,) [ns] in order.
    """
    found = np.zeros(len(times_ns), dtype=np.int64)
    for since_ns, flag in zip(event_ns, flags, strict=True):
        later = chunk_ns[chunk_ns > since_ns]
        held = times_ns >= since_ns
        if len(later):
            held &= times_ns < later[0]
        found[held] |= flag
    return found


def altered(proposals: FloatArray, commands: FloatArray, tolerance: float) -> BoolArray:
    """Where (N,) what was sent is not what was asked for.

    Args:
        proposals: Asked for (N, J) [rad]; NaN where it is not known, which is no alteration.
        commands: Sent (N, J) [rad].
        tolerance: Largest distance that counts as the same [rad].
    """
    return np.asarray((np.abs(proposals - commands) > tolerance).any(axis=1))


def _acted(phase: IntArray) -> BoolArray:
    """Whether a policy has acted up to each sample."""
    return np.maximum.accumulate(phase == Phase.POLICY) if len(phase) else phase.astype(bool)


def _onsets(phase: IntArray) -> Iterator[tuple[int, int]]:
    """For each intervention: first sample after the one before it, last one a policy drove."""
    driven = intervened(phase)
    begins = np.flatnonzero(driven & ~np.concatenate(([False], driven[:-1])))
    since = 0
    for begin in begins:
        policy = np.flatnonzero(phase[since:begin] == Phase.POLICY)
        if len(policy):
            yield since, since + int(policy[-1])
        since = int(begin)


def _since(taken: BoolArray, then: IntArray) -> IntArray:
    """`then` from the first sample that is taken on, a handover before it."""
    return np.where(np.maximum.accumulate(taken), then, Phase.HANDOVER).astype(np.int64)


def _runs(values: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Begin and end of each stretch of equal values."""
    begin = 0
    for i in range(1, len(values) + 1):
        if i == len(values) or values[i] != values[begin]:
            yield begin, i
            begin = i
