# SPDX-License-Identifier: Apache-2.0
"""The judge: whether what was sent is safe, told from the trace alone.

It shares no code with what it judges: the gate reasons with Bezier control points and divided
differences, this solves each segment's quintic and samples it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import FloatArray, StampNs
from levine_policy_node.dst.trace import Record, Trace
from levine_policy_node.sim.limit_checks import SetpointCheck

_MOVING = {"POLICY", "HUMAN", "STOPPING"}
_SILENT = {"INIT", "DISARMED", "FAULT", "ESTOP"}
# Relative to the limit. A position near 3 rad that is the sum of a few pieces is rounded to 1e-15,
# which the third difference over a segment of 0.2 ms enlarges by 7e12.
_EXCESS = 1e-6
_ROUNDING = 1e-15
_SAMPLES = np.linspace(0.0, 1.0, 9)
_AT_REST_RAD_S = 0.02
_STANDS_RAD = 1e-9


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a trace; empty if nothing is.

    Attributes:
        problems: In words, each naming a time.
        commands: How many commands were judged.
    """

    problems: tuple[str, ...]
    commands: int


def judge(
    trace: Trace, limits: JointLimits, *, rests: bool = True, smooth: bool = True
) -> Verdict:
    """Judge what was sent.

    Args:
        trace: Of a run.
        limits: What the arm may be asked to do.
        rests: Whether the arm must be at rest at the end.
        smooth: Whether what the controller made of it must be within the limits, too.
    """
    windows = [(record, record.values[1]) for record in trace.of("window")]
    problems = [
        *_windows(windows, limits),
        *_commands(trace.of("command"), limits),
        *_permitted(trace),
        *(_rest(trace) if rests else []),
        *(_setpoints(trace, limits) if smooth else []),
    ]
    return Verdict(tuple(problems[:10]), len(windows) + len(trace.of("command")))


def _windows(windows: list[tuple[Record, Timeline[int]]], limits: JointLimits) -> list[str]:
    problems: list[str] = []
    for record, window in windows:
        values = (window.positions, window.velocities, window.accelerations)
        if not all(np.isfinite(v).all() for v in values):
            problems.append(_at(record, "a value is not finite"))
        elif np.any(window.velocities[-1] != 0.0) or np.any(window.accelerations[-1] != 0.0):
            problems.append(_at(record, "the window does not end at rest"))
    if problems:
        return problems
    longer = [(record, window) for record, window in windows if len(window.times_s) > 1]
    if not longer:
        return []
    owner = np.concatenate([np.full(len(w.times_s) - 1, i) for i, (_, w) in enumerate(longer)])
    spans = np.concatenate([np.diff(w.times_s) for _, w in longer])
    ends = [
        np.concatenate([getattr(w, kind)[cut] for _, w in longer])
        for cut in (slice(None, -1), slice(1, None))
        for kind in ("positions", "velocities", "accelerations")
    ]
    for name, excess in _excess(spans, ends, limits).items():
        bad = np.flatnonzero(~(excess <= 0.0))
        if len(bad) > 0:
            record = longer[int(owner[bad[0]])][0]
            problems.append(_at(record, f"{name} is {excess[bad[0]]:.3g} beyond its limit"))
    return problems


def _excess(
    spans: FloatArray, ends: list[FloatArray], limits: JointLimits
) -> dict[str, FloatArray]:
    """How far each segment (N,) goes beyond each kind of limit; not positive if it does not."""
    p0, v0, a0, p1, v1, a1 = ends
    h = spans[:, None]
    # p(u) = p0 + h v0 u + h^2 a0 u^2 / 2 + c3 u^3 + c4 u^4 + c5 u^5, u in [0, 1]; the rest of the
    # end state fixes the last three coefficients.
    gap = p1 - p0 - h * v0 - 0.5 * h**2 * a0
    slope = h * (v1 - v0) - h**2 * a0
    bend = h**2 * (a1 - a0)
    solved = np.linalg.solve(
        np.array([[1.0, 1.0, 1.0], [3.0, 4.0, 5.0], [6.0, 12.0, 20.0]]),
        np.stack([gap, slope, bend]).reshape(3, -1),
    ).reshape(3, *gap.shape)
    curve = np.stack([p0, h * v0, 0.5 * h**2 * a0, *solved])
    found: dict[str, FloatArray] = {}
    rounding = _ROUNDING * 200.0
    for order, (name, limit) in enumerate(
        (
            ("position", None),
            ("velocity", limits.velocity),
            ("acceleration", limits.acceleration),
            ("jerk", limits.jerk),
        )
    ):
        values = np.tensordot(_powers(order), curve, axes=1) / h**order
        if limit is None:
            over = np.maximum(values - limits.upper, limits.lower - values) - 1e-9
        else:
            over = np.abs(values) - limit * (1.0 + _EXCESS) - rounding / h**order
        found[name] = over.max(axis=(0, 2))
    return found


def _powers(order: int) -> FloatArray:
    """The derivative of 1, u, ... u^5 at every sample, shape (S, 6)."""
    table = np.zeros((len(_SAMPLES), 6))
    for power in range(order, 6):
        factor = float(np.prod(np.arange(power - order + 1, power + 1)))
        table[:, power] = factor * _SAMPLES ** (power - order)
    return table


def _commands(commands: list[Record], limits: JointLimits) -> list[str]:
    problems: list[str] = []
    for record in commands:
        position = record.values[1]
        inside = (position >= limits.lower - 1e-9) & (position <= limits.upper + 1e-9)
        if not inside.all():
            problems.append(_at(record, "a position is outside its range or not finite"))
    for before, after in pairwise(commands):
        gap_s = (after.time_ns - before.time_ns) / 1e9
        # A window of silence is judged where it ends: the arm was armed anew.
        if gap_s > 0.2:
            continue
        speed = np.abs(after.values[1] - before.values[1]) / gap_s
        if not np.all(speed <= limits.velocity * (1.0 + 1e-3) + 1e-9):
            problems.append(_at(after, "two commands are farther apart than the velocity limit"))
    return problems


def _setpoints(trace: Trace, limits: JointLimits) -> list[str]:
    """What the servos were told, cycle by cycle, as the witness of `sim_arm` judges it."""
    cycles = trace.of("cycle")
    if not cycles:
        return []
    check = SetpointCheck(limits)
    check.begin(cycles[0].values[0], StampNs(cycles[0].time_ns))
    return [
        _at(cycle, f"setpoint of {v.joint}: {v.kind} {v.value} (limit {v.limit:g})")
        for cycle in cycles[1:]
        for v in check.check(cycle.values[0], StampNs(cycle.time_ns)).violations
    ]


def _permitted(trace: Trace) -> list[str]:
    """Motion only in the modes that move, and silence where nothing is to be sent."""
    problems: list[str] = []
    mode, held, entered_ns = "INIT", None, 0
    for record in trace.of("mode", "command", "window", "process"):
        if record.kind == "process":
            if record.values == ("supervisor", "started"):
                mode, held = "INIT", None
            continue
        if record.kind == "mode":
            mode, held, entered_ns = record.values[0].partition("(")[0], None, record.time_ns
            continue
        said = record.values[0].partition("(")[0]
        if record.kind == "window":
            # The mode a window was decided in; its last brake is sent as the mode changes.
            if said in _SILENT and mode not in _MOVING and record.time_ns > entered_ns:
                problems.append(_at(record, f"a window was sent in {said}"))
            continue
        if said in _SILENT:
            problems.append(_at(record, f"a command was sent in {said}"))
        elif said not in _MOVING:
            if held is not None and np.max(np.abs(record.values[1] - held)) > _STANDS_RAD:
                problems.append(_at(record, f"the command moved in {said}"))
            held = record.values[1]
    return problems


def _rest(trace: Trace) -> list[str]:
    cycles = trace.of("cycle")
    if not cycles:
        return ["the arm never ran"]
    last = cycles[-1]
    speed = float(np.max(np.abs(last.values[2])))
    return [] if speed <= _AT_REST_RAD_S else [_at(last, f"the arm moves at {speed:.3f} rad/s")]


def _at(record: Record, text: str) -> str:
    return f"{record.time_ns / 1e9:.3f} s: {text}"
