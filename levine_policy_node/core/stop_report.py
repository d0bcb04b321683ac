# SPDX-License-Identifier: Apache-2.0
"""What can be said about a stop in figures: how far, how fast, how long, from what."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.modes import ACTIVE
from levine_policy_node.core.quintic import JointPoint
from levine_policy_node.core.shaper import brake
from levine_policy_node.core.stop_record import StopRecord, Track
from levine_policy_node.core.units import FloatArray, SteadyNs

# An arm stands when it is slower than this; used where the file does not say [rad/s].
_REST_VELOCITY = 0.1


@dataclass(frozen=True, slots=True)
class JointStop:
    """How one joint came to rest; [rad], [rad/s].

    Attributes:
        name: Joint name.
        at: Measured position when the stop began; None if nothing was measured.
        moved: How far it was from there when the arm stood, with sign.
        speed: Measured speed when the stop began, with sign.
        fastest: Largest measured speed since.
        limit: Largest speed allowed.
        error: Largest distance from the command since.
    """

    name: str
    at: float | None
    moved: float | None
    speed: float | None
    fastest: float | None
    limit: float
    error: float | None


@dataclass(frozen=True, slots=True)
class StopReport:
    """A stop in figures; times in [s] relative to it.

    Attributes:
        source: Who commanded when it began, "" if nobody did.
        rest_s: When the arm stood as measured; None if it is not seen to.
        commanded_rest_s: When the command stood; None if it is not seen to.
        predicted_s: When the command should stand by the limits; None if that is not known.
        joints: One entry per joint.
        ages_ms: Age of each input when the stop began; None if it was never heard.
        late_ms: How late the tick was that decided the stop.
        chunk_age_ms: Time since the last chunk; None if none is in the file.
        modes: Mode before it, and every mode since with its time.
        policies: Policies that are seen in the file, by source tag.
        seconds_before: How much of the time before the stop is in the file.
        seconds_after: And after it.
        missing_ticks: Ticks that are not in the file though they should be.
    """

    source: str
    rest_s: float | None
    commanded_rest_s: float | None
    predicted_s: float | None
    joints: tuple[JointStop, ...]
    ages_ms: Mapping[str, float | None]
    late_ms: float | None
    chunk_age_ms: float | None
    modes: tuple[tuple[float, str], ...]
    policies: tuple[str, ...]
    seconds_before: float
    seconds_after: float
    missing_ticks: int


def report_of(record: StopRecord) -> StopReport:
    """Work out what a stop's file says."""
    limits: Mapping[str, Any] = record.metadata.get("limits", {})
    options: Mapping[str, Any] = record.metadata.get("options", {})
    rest_velocity = float(options.get("rest_velocity", _REST_VELOCITY))
    arm = np.array([limits.get(n, {}).get("role", "arm") == "arm" for n in record.joint_names])
    again_s = moved_again(record)
    measured, command = record.measured.before(again_s), record.command.before(again_s)
    rest_s = rest_time(measured, rest_velocity, arm)
    # A supervisor that died decided nothing any more; its last tick tells most.
    last = record.ticks[-1] if record.ticks else None
    decided = next((t for t in record.ticks if t["time_s"] >= 0.0), last)
    times = [tick["time_s"] for tick in record.ticks]
    came = [time_s for time_s, _ in record.chunks if time_s <= 0.0]
    tags = [tag for _, tag in record.chunks] + [*record.command.sources]
    before = record.command.until(-1e-9)
    return StopReport(
        source=record.command.sources[before] if before >= 0 else "",
        rest_s=rest_s,
        commanded_rest_s=rest_time(command, 1e-6, np.ones_like(arm)),
        predicted_s=predicted_rest(record, limits, options),
        joints=tuple(
            _joint(name, j, (measured, command), rest_s, limits.get(name, {}))
            for j, name in enumerate(record.joint_names)
        ),
        ages_ms=decided["age_ms"] if decided is not None else {},
        late_ms=decided["late_ms"] if decided is not None else None,
        chunk_age_ms=-1e3 * came[-1] if came else None,
        modes=_modes(record),
        policies=tuple(dict.fromkeys(tag for tag in tags if tag.startswith("policy:"))),
        seconds_before=-min(times, default=0.0),
        seconds_after=max(times, default=0.0),
        missing_ticks=int(record.end.get("missing_ticks", 0)),
    )


def moved_again(record: StopRecord) -> float:
    """When somebody moved the arm again after the stop, in the same file [s]; infinite if not."""
    active = {mode.value for mode in ACTIVE}
    later = (t["time_s"] for t in record.ticks if t["time_s"] > 0.0 and t["mode"] in active)
    return float(next(later, math.inf))


def rest_time(track: Track, speed: float, joints: np.ndarray) -> float | None:
    """When the last of `joints` (J,) mask became slower than `speed` for good, from the stop on.

    Returns:
        0 if they stood already; None if they still move at the end, or nothing is known.
    """
    since = track.times_s >= 0.0
    if not since.any():
        return None
    fast = (np.abs(track.velocity[since][:, joints]) > speed).any(axis=1)
    times_s = track.times_s[since]
    if not fast.any():
        return 0.0
    last = int(np.flatnonzero(fast)[-1])
    return float(times_s[last + 1]) if last + 1 < len(times_s) else None


def predicted_rest(
    record: StopRecord, limits: Mapping[str, Any], options: Mapping[str, Any]
) -> float | None:
    """When the commanded motion should be over, by the limits in force [s].

    The brake begins once the controller can be told (`lead_s`), from the motion commanded then;
    its acceleration is the change of the commanded velocity over one tick.

    Returns:
        None if no motion was commanded, or the file does not know the limits.
    """
    command, names = record.command, record.joint_names
    windows = bool(options.get("sends_windows", True))
    lead_s = float(options.get("lead_s", 0.0)) if windows else 0.0
    at = command.until(lead_s)
    if at < 1 or set(limits) != set(names):
        return None
    passed_s = float(command.times_s[at] - command.times_s[at - 1])
    change: FloatArray = command.velocity[at] - command.velocity[at - 1]
    acceleration = change / passed_s if passed_s > 0.0 else np.zeros(len(names))
    state = JointPoint(command.position[at], command.velocity[at], acceleration)
    if not np.any(state.velocity):
        return 0.0
    tail = brake(state, joint_limits(names, limits), SteadyNs(0))
    return None if tail is None else float(command.times_s[at]) + tail.duration_s


def joint_limits(names: Sequence[str], limits: Mapping[str, Any]) -> JointLimits:
    """The limits of a file in the order of `names`."""

    def column(kind: str) -> FloatArray:
        return np.array([float(limits[name][kind]) for name in names])

    ranges = np.array([limits[name]["position"] for name in names], dtype=np.float64)
    return JointLimits(
        tuple(names),
        ranges[:, 0],
        ranges[:, 1],
        column("velocity"),
        column("acceleration"),
        column("jerk"),
    )


def _joint(
    name: str,
    j: int,
    tracks: tuple[Track, Track],
    rest_s: float | None,
    limit: Mapping[str, Any],
) -> JointStop:
    measured, command = tracks
    allowed = float(limit.get("velocity", math.nan))
    if len(measured.times_s) == 0:
        return JointStop(name, None, None, None, None, allowed, None)
    begin = max(measured.until(0.0), 0)
    end = len(measured.times_s) - 1 if rest_s is None else max(measured.until(rest_s), begin)
    place = measured.position[:, j]
    speeds: FloatArray = np.abs(measured.velocity[begin:, j])
    return JointStop(
        name,
        at=float(place[begin]),
        moved=float(place[end] - place[begin]),
        speed=float(measured.velocity[begin, j]),
        fastest=float(speeds.max()),
        limit=allowed,
        error=_error(measured, command, j),
    )


def _error(measured: Track, command: Track, j: int) -> float | None:
    """Largest distance of the measured joint from its command since the stop."""
    if len(command.times_s) < 2:
        return None
    shown = (measured.times_s >= 0.0) & (measured.times_s <= command.times_s[-1])
    if not shown.any():
        return None
    wanted = np.interp(measured.times_s[shown], command.times_s, command.position[:, j])
    return float(np.max(np.abs(measured.position[shown, j] - wanted)))


def _modes(record: StopRecord) -> tuple[tuple[float, str], ...]:
    """The mode before the stop and each one since, with the time it began."""
    found: list[tuple[float, str]] = []
    for tick in record.ticks:
        mode = str(tick["mode"])
        if tick["time_s"] < 0.0:
            found = [(float(tick["time_s"]), mode)]
        elif not found or found[-1][1] != mode:
            found.append((float(tick["time_s"]), mode))
    return tuple(found)
