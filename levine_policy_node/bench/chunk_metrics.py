# SPDX-License-Identifier: Apache-2.0
"""How smooth, how right and how late a command is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from levine_policy_node.bench.chunk_stream import Motion, Played
from levine_policy_node.core.units import FloatArray

_MRAD = 1000.0
_MS = 1000.0
_LAG_TICKS = 60
_SWITCH_WINDOW_S = 0.6
_BETWEEN = (0.05, 0.95)


@dataclass(frozen=True, slots=True)
class ArmMetrics:
    """Of the arm's joints.

    Attributes:
        rms_jerk: Third difference of the command [rad/s^3].
        rms_accel: Second difference [rad/s^2].
        accel_p999: 99.9th percentile of the absolute second difference [rad/s^2].
        max_step_mrad: Largest difference between a step of the command and the motion's [mrad].
        rmse_mrad: Distance from the motion at the same time [mrad].
        lag_ms: Delay at which the command resembles the motion most [ms].
        shape_rmse_mrad: Distance from the motion that long ago [mrad].
        starved_pct: Share of ticks at which there was nothing left to send [%].
    """

    rms_jerk: float
    rms_accel: float
    accel_p999: float
    max_step_mrad: float
    rmse_mrad: float
    lag_ms: float
    shape_rmse_mrad: float
    starved_pct: float


@dataclass(frozen=True, slots=True)
class GripperMetrics:
    """Of the channel that switches between 0 and 1.

    Attributes:
        gripper_late_ms: Mean time from a switch of the motion to the command's [ms].
        gripper_worst_ms: The largest [ms].
        gripper_smear_ms: Mean time per switch in which the command is neither open nor closed, or
            beyond either [ms].
        gripper_crossings: Mean number of switches the command makes for one; 1 is right.
        gripper_overshoot_pct: Furthest the command goes beyond open or closed [%].
    """

    gripper_late_ms: float
    gripper_worst_ms: float
    gripper_smear_ms: float
    gripper_crossings: float
    gripper_overshoot_pct: float


def measure_arm(played: Played, motion: Motion) -> ArmMetrics:
    """Compare what was sent to the joints with the motion."""
    command = played.commands[:, :-1]
    tick_s = _tick(played.times_s)
    truth = motion.arm(played.times_s)
    acceleration = np.diff(command, n=2, axis=0) / tick_s**2
    lag_s = find_lag(command, played.times_s, motion)
    steps = np.diff(command, axis=0) - np.diff(truth, axis=0)
    return ArmMetrics(
        rms_jerk=_rms(np.diff(acceleration, axis=0) / tick_s),
        rms_accel=_rms(acceleration),
        accel_p999=float(np.percentile(np.abs(acceleration), 99.9)),
        max_step_mrad=float(np.max(np.abs(steps))) * _MRAD,
        rmse_mrad=_rms(command - truth) * _MRAD,
        lag_ms=lag_s * _MS,
        shape_rmse_mrad=_rms(command - motion.arm(played.times_s - lag_s)) * _MRAD,
        starved_pct=100.0 * float(np.mean(played.starved)),
    )


def find_lag(command: FloatArray, times_s: FloatArray, motion: Motion) -> float:
    """Delay of the command behind the motion, by cross-correlation [s].

    Between ticks the peak is that of a parabola through the three best scores.

    Args:
        command: Shape (N, J) [rad].
        times_s: Evenly spaced ticks (N,) [s].
        motion: What the command follows.
    """
    tick_s, count = _tick(times_s), len(times_s)
    around = times_s[0] + tick_s * np.arange(-_LAG_TICKS, count + _LAG_TICKS)
    wide = motion.arm(around)
    centred = command - command.mean(axis=0)
    scores = np.empty(2 * _LAG_TICKS + 1)
    for n in range(len(scores)):
        shifted = wide[n : n + count]
        shifted = shifted - shifted.mean(axis=0)
        scores[n] = np.vdot(centred, shifted) / math.sqrt(np.vdot(shifted, shifted))
    best = int(np.clip(np.argmax(scores), 1, len(scores) - 2))
    before, peak, after = scores[best - 1 : best + 2]
    bend = before - 2.0 * peak + after
    between = 0.5 * (before - after) / bend if bend < 0.0 else 0.0
    # Score n is that of the motion `n - _LAG_TICKS` ticks later.
    return (_LAG_TICKS - best - between) * tick_s


def measure_gripper(played: Played, motion: Motion) -> GripperMetrics:
    """Compare the last column with the switches of the motion."""
    times_s, value = played.times_s, played.commands[:, -1]
    begin, end = times_s[0] + _SWITCH_WINDOW_S, times_s[-1] - _SWITCH_WINDOW_S
    closed = value >= 0.5
    crossings_s = times_s[1:][closed[1:] != closed[:-1]]
    late: list[float] = []
    between: list[float] = []
    crossings: list[int] = []
    for switch_s in motion.switches_s[(motion.switches_s > begin) & (motion.switches_s < end)]:
        near = np.abs(times_s - switch_s) < _SWITCH_WINDOW_S
        outside = (value[near] < -_BETWEEN[0]) | (value[near] > 1.0 + _BETWEEN[0])
        inside = (value[near] > _BETWEEN[0]) & (value[near] < _BETWEEN[1])
        between.append(np.count_nonzero(inside | outside) * _tick(times_s))
        here = crossings_s[np.abs(crossings_s - switch_s) < _SWITCH_WINDOW_S]
        crossings.append(len(here))
        # The last crossing is when the gripper has made up its mind.
        late.append(float(here[-1] - switch_s) if len(here) else _SWITCH_WINDOW_S)
    if not late:
        return GripperMetrics(math.nan, math.nan, math.nan, math.nan, math.nan)
    return GripperMetrics(
        gripper_late_ms=float(np.mean(late)) * _MS,
        gripper_worst_ms=float(np.max(late)) * _MS,
        gripper_smear_ms=float(np.mean(between)) * _MS,
        gripper_crossings=float(np.mean(crossings)),
        gripper_overshoot_pct=100.0 * float(max(np.max(value) - 1.0, -np.min(value), 0.0)),
    )


def _tick(times_s: FloatArray) -> float:
    return float(times_s[-1] - times_s[0]) / (len(times_s) - 1)


def _rms(values: FloatArray) -> float:
    return math.sqrt(float(np.mean(values**2)))
