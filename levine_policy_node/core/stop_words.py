# SPDX-License-Identifier: Apache-2.0
"""A stop in words, for somebody who was not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from levine_policy_node.core.black_box import DIED, LOOP_FAILED, OPERATOR
from levine_policy_node.core.faults import RESPONSES, Fault
from levine_policy_node.core.stop_record import StopRecord
from levine_policy_node.core.stop_report import JointStop, StopReport
from levine_policy_node.core.units import NS_PER_S

_FEW = 40
_OWN_ENDS = {
    DIED: "the supervisor's process ended without a farewell",
    LOOP_FAILED: "the supervisor's control loop failed",
}
# Repeated for as long as they last; the first and how many there were tell as much.
_OFTEN = frozenset({"CHUNK_REFUSED", "CHUNK_CUT", "BAD_CHUNK", "OVERRUN"})


def stop_words(record: StopRecord, report: StopReport) -> str:
    """Everything a file says about its stop, as text."""
    parts = [
        _headline(record),
        _course(record, report),
        _events(record),
        _joints(report),
        _inputs(report),
        _limits(record.metadata),
        _provenance(record, report),
    ]
    return "\n\n".join("\n".join(part) for part in parts)


def _headline(record: StopRecord) -> Iterator[str]:
    found = record.metadata
    cause = str(found["cause"])
    yield f"{record.file}"
    yield f"Stop at {_moment(found)}: {cause} ({_meaning(cause)})"
    yield f"  evidence  {found['evidence']}"
    for stop in record.end.get("stops", [])[1:]:
        later_ms = (stop["time_ns"] - found["time_ns"]) / 1e6
        yield f"  then      {stop['cause']} {later_ms:+.0f} ms: {stop['evidence']}"
    if not record.complete:
        yield "  This file was never closed; it is shown as far as it goes."


def _meaning(cause: str) -> str:
    if cause.startswith(OPERATOR):
        return f"an operator called supervisor/{cause.removeprefix(OPERATOR).lower()}"
    if cause in Fault.__members__:
        fault = Fault[cause]
        return f"{fault.value}; demands {RESPONSES[fault].severity.name}"
    return _OWN_ENDS.get(cause, "not a fault of the table")


def _course(record: StopRecord, report: StopReport) -> Iterator[str]:
    modes = " -> ".join(
        mode if i == 0 else f"{mode} ({time_s * 1e3:+.0f} ms)"
        for i, (time_s, mode) in enumerate(report.modes)
    )
    yield f"  modes     {modes}"
    yield f"  source    {report.source or 'nothing was commanded'}"
    if report.rest_s is None:
        yield "  at rest   not seen in this file: the arm moves at its end, or was not measured"
    else:
        yield f"  at rest   {report.rest_s * 1e3:.0f} ms after the stop began (measured)"
    if report.commanded_rest_s is not None:
        predicted = report.predicted_s
        by_limits = "" if predicted is None else f"; by the limits {predicted * 1e3:.0f} ms"
        yield f"  command   at rest {report.commanded_rest_s * 1e3:.0f} ms after it{by_limits}"
    if record.metadata["cause"] in _OWN_ENDS and record.last_window_s is not None:
        rest_ms = record.last_window_s * 1e3
        yield (
            f"  window    the last one sent ends at rest {rest_ms:.0f} ms after it, played "
            "by the controller itself"
        )


def _events(record: StopRecord) -> Iterator[str]:
    yield "What happened, in ms relative to the stop"
    counts: dict[str, int] = {}
    lines: list[str] = []
    for event in record.events:
        counts[event.name] = counts.get(event.name, 0) + 1
        if event.name in _OFTEN and counts[event.name] > 1:
            continue
        lines.append(f"  {event.time_s * 1e3:+8.0f}  {event.name:<18} {event.text}")
    yield from lines[-_FEW:] or ["  nothing was said"]
    for name in sorted(_OFTEN & counts.keys()):
        if counts[name] > 1:
            yield f"            {name} was said {counts[name]} times; only the first is shown"


def _joints(report: StopReport) -> Iterator[str]:
    yield "How each joint came to rest (rad, rad/s; m for a slide)"
    yield (
        f"  {'joint':<16}{'at':>9}{'moved':>9}{'speed':>9}{'fastest':>9}{'of limit':>9}"
        f"{'off command':>13}"
    )
    for joint in report.joints:
        yield _joint(joint)


def _joint(joint: JointStop) -> str:
    if joint.at is None or joint.moved is None or joint.speed is None or joint.fastest is None:
        return f"  {joint.name:<16} not measured"
    share = f"{joint.fastest / joint.limit:9.0%}" if joint.limit > 0.0 else f"{'?':>9}"
    error = f"{joint.error:13.4f}" if joint.error is not None else f"{'-':>13}"
    return (
        f"  {joint.name:<16}{joint.at:9.3f}{joint.moved:+9.3f}{joint.speed:+9.3f}"
        f"{joint.fastest:9.3f}{share}{error}"
    )


def _inputs(report: StopReport) -> Iterator[str]:
    yield "How old the inputs were when it was decided"
    for topic, age_ms in report.ages_ms.items():
        yield f"  {topic:<20} {'never heard' if age_ms is None else f'{age_ms:.0f} ms'}"
    chunk = report.chunk_age_ms
    said = "none in this file" if chunk is None else f"{chunk:.0f} ms"
    yield f"  {'policy/action_chunk':<20} {said}"
    if report.late_ms is not None:
        yield f"  the tick itself was done {report.late_ms:.1f} ms after its time"


def _limits(found: Mapping[str, Any]) -> Iterator[str]:
    yield "Limits in force (* nobody published it; chosen with caution)"
    yield f"  {'joint':<16}{'range':>20}{'velocity':>11}{'acceleration':>14}{'jerk':>10}"
    limits: Mapping[str, Any] = found.get("limits", {})
    for name, limit in limits.items():
        low, high = limit["position"]
        yield (
            f"  {name:<16}{f'{low:.3f} .. {high:.3f}':>20}{_limit(limit, 'velocity'):>11}"
            f"{_limit(limit, 'acceleration'):>14}{_limit(limit, 'jerk'):>10}"
        )
    for text, joints in _sources(limits).items():
        yield f"  source of {', '.join(joints)}: {text}"


def _limit(limit: Mapping[str, Any], kind: str) -> str:
    mark = "*" if kind in limit.get("placeholder", ()) else ""
    return f"{limit[kind]:g}{mark}"


def _sources(limits: Mapping[str, Any]) -> dict[str, list[str]]:
    """Where limits come from: each text once, with the limits it is for."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for name, limit in limits.items():
        for kind, text in limit.get("source", {}).items():
            kinds.setdefault((kind, text), []).append(name)
    found: dict[str, list[str]] = {}
    for (kind, text), names in kinds.items():
        all_of_them = len(names) == len(limits)
        found.setdefault(text, []).append(kind if all_of_them else f"{kind} ({'/'.join(names)})")
    return found


def _provenance(record: StopRecord, report: StopReport) -> Iterator[str]:
    found = record.metadata
    robot: Mapping[str, str] = found.get("robot", {})
    software: Mapping[str, str] = found.get("software", {})
    yield "From"
    name = robot.get("file", "?").rpartition("/")[2]
    yield f"  robot     {robot.get('name', '?')} ({name})"
    yield f"            sha256 {robot.get('sha256', '?')}"
    yield f"  policy    {', '.join(report.policies) or 'none was heard'}"
    yield f"  software  {', '.join(f'{k} {v}' for k, v in software.items())}"
    missing = f", {report.missing_ticks} ticks are missing" if report.missing_ticks else ""
    yield (
        f"  file      {report.seconds_before:.1f} s before the stop and "
        f"{report.seconds_after:.1f} s after it, {len(record.ticks)} ticks{missing}"
    )
    offset_s = int(found["ros_offset_ns"]) / NS_PER_S
    yield f"  clocks    times are steady; ROS clock = steady clock + {offset_s:.6f} s at the stop"


def _moment(found: Mapping[str, Any]) -> str:
    time_s = (int(found["time_ns"]) + int(found["ros_offset_ns"])) / NS_PER_S
    moment = datetime.fromtimestamp(time_s, timezone.utc)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d} UTC"
