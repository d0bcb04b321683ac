# SPDX-License-Identifier: Apache-2.0
"""How much later one recorded signal shows a motion than another.

The estimate is the delay d that maximises the correlation of `measured(t)` with
`reference(t - d)`, which is the least-squares fit of a shifted, scaled reference and, for white
noise, the maximum-likelihood estimate (Knapp and Carter, 1976). The reference is evaluated at the
instants of the measurement, so neither signal has to be sampled evenly and the slower one is never
interpolated. Both are band-limited: the reference by a zero-phase Gaussian, and from both a slow
drift (a parabola over the recording) is taken out.

A motion that passes through a lag (a servo, a filter) has no single delay; what is found then is
the mean over the motion's frequencies, weighted by the speed at each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.smoothing import smoothed
from levine_policy_node.core.units import FloatArray

JOINT_QUALITY = 0.9
"""Below this the joint did not do what it was told."""

CAMERA_QUALITY = 0.8
"""Below this the picture shows something else than the arm; noise alone reaches about 0.6."""

_GRID_S = 0.005
_SMOOTHING_S = 0.02
_FINEST_S = 2e-5
_DRIFT_DEGREE = 2
_COMPONENTS = 3
_GOLDEN = (5.0**0.5 - 1.0) / 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Signal:
    """Samples of one scalar.

    Attributes:
        times_s: Shape (N,) [s], strictly increasing, on a clock that the compared signals share.
        values: Shape (N,), any unit.
    """

    times_s: FloatArray
    values: FloatArray

    def __post_init__(self) -> None:
        if self.times_s.ndim != 1 or self.times_s.shape != self.values.shape:
            raise ValueError("signal: times and values must be of one length")
        if not bool(np.all(np.diff(self.times_s) > 0.0)):
            raise ValueError("signal: times must strictly increase")


@dataclass(frozen=True, slots=True)
class DelayEstimate:
    """A delay and how far it can be believed.

    Attributes:
        delay_s: How much later the measurement shows the motion than the reference [s].
        quality: Correlation of both at that delay, 0 (unrelated) to 1 (the same motion).
    """

    delay_s: float
    quality: float


def estimate_delay(
    reference: Signal,
    measured: Signal,
    search_s: tuple[float, float] = (-0.1, 1.0),
    *,
    either_sign: bool = False,
) -> DelayEstimate:
    """Find by how much `measured` lags behind `reference`.

    Args:
        reference: The motion; at rest before and after, where it is held. Sampled at 20 Hz or
            more for motions up to a few hertz.
        measured: The same motion, scaled and shifted in time and value. It should reach past the
            end of the motion by the longest delay that is searched.
        search_s: Smallest and largest delay to try [s].
        either_sign: Whether `measured` may also run in the opposite direction.

    Returns:
        The best delay inside `search_s`; quality 0 where either signal does not change.
    """
    if len(reference.times_s) < 2 or len(measured.times_s) <= _DRIFT_DEGREE + 1:
        return DelayEstimate(0.0, 0.0)
    grid_s, motion = _band_limited(reference)
    drift = _drift_basis(measured.times_s)
    wanted = _unit(_without(drift, measured.values))

    def likeness(delay_s: float) -> float:
        shifted = np.interp(measured.times_s - delay_s, grid_s, motion)
        correlation = float(_unit(_without(drift, shifted)) @ wanted)
        return abs(correlation) if either_sign else max(correlation, 0.0)

    steps = max(int(np.ceil((search_s[1] - search_s[0]) / _GRID_S)), 1)
    tried_s = np.linspace(*search_s, steps + 1)
    best_s = float(tried_s[int(np.argmax([likeness(float(d)) for d in tried_s]))])
    delay_s = _highest(
        likeness, max(best_s - _GRID_S, search_s[0]), min(best_s + _GRID_S, search_s[1])
    )
    return DelayEstimate(delay_s, min(likeness(delay_s), 1.0))


def estimate_camera_delay(
    reference: Signal,
    times_s: FloatArray,
    frames: FloatArray,
    search_s: tuple[float, float] = (-0.1, 1.0),
) -> DelayEstimate:
    """Find by how much the stamps of a camera are later than the motion in its pictures.

    Args:
        reference: Measured position of the one joint that moves.
        times_s: Stamps of the frames, shape (N,) [s], strictly increasing, on the same clock.
        frames: Grey values of the frames made small, shape (N, P).
        search_s: Smallest and largest delay to try [s].

    Returns:
        The best delay; a positive one has to be subtracted from the stamps. The quality is low
        where the camera does not see the arm.
    """
    best = DelayEstimate(0.0, 0.0)
    for values in motion_signals(frames).T:
        found = estimate_delay(reference, Signal(times_s, values), search_s, either_sign=True)
        if found.quality > best.quality:
            best = found
    return best


def motion_signals(frames: FloatArray) -> FloatArray:
    """What changes most in a sequence of pictures, as a few scalars per picture.

    These are the first principal components over time. Each picture's mean is removed first, so
    that a flicker of the light is no motion. A component's sign means nothing.

    Args:
        frames: Grey values, shape (N, P).

    Returns:
        Shape (N, K), K at most 3, the strongest first; K is 0 where nothing changes.
    """
    level = frames - frames.mean(axis=1, keepdims=True)
    left, strength, _ = np.linalg.svd(level - level.mean(axis=0), full_matrices=False)
    # Rounding of grey values leaves far more than this in anything that moves.
    kept = strength[:_COMPONENTS] > 1e-6 * max(float(np.linalg.norm(level)), 1e-12)
    return np.asarray(left[:, :_COMPONENTS][:, kept] * strength[:_COMPONENTS][kept])


def _band_limited(signal: Signal) -> tuple[FloatArray, FloatArray]:
    """The signal on an even grid, without what is faster than an arm moves."""
    begin_s, end_s = float(signal.times_s[0]), float(signal.times_s[-1])
    count = max(round((end_s - begin_s) / _GRID_S), 1)
    grid_s = np.linspace(begin_s, end_s, count + 1)
    even = np.interp(grid_s, signal.times_s, signal.values)
    step_s = (end_s - begin_s) / count
    return grid_s, smoothed(even[:, np.newaxis], step_s, np.array([_SMOOTHING_S]))[:, 0]


def _drift_basis(times_s: FloatArray) -> FloatArray:
    """Orthonormal columns that span the slow drift, shape (N, degree + 1)."""
    span = np.linspace(-1.0, 1.0, 2)
    scaled = np.interp(times_s, times_s[[0, -1]], span)
    return np.linalg.qr(np.vander(scaled, _DRIFT_DEGREE + 1))[0]


def _without(basis: FloatArray, values: FloatArray) -> FloatArray:
    return values - basis @ (basis.T @ values)


def _unit(values: FloatArray) -> FloatArray:
    """Scale to length 1; what does not change beyond rounding becomes 0."""
    length = float(np.linalg.norm(values))
    return values / length if length > 1e-9 else np.zeros_like(values)


def _highest(curve: Callable[[float], float], low: float, high: float) -> float:
    """Where a curve with one maximum in [low, high] is highest: golden-section search."""
    inner, outer = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    left, right = curve(inner), curve(outer)
    while high - low > _FINEST_S:
        if left > right:
            high, outer, right = outer, inner, left
            inner = high - _GOLDEN * (high - low)
            left = curve(inner)
        else:
            low, inner, left = inner, outer, right
            outer = low + _GOLDEN * (high - low)
            right = curve(outer)
    return 0.5 * (low + high)
