# SPDX-License-Identifier: Apache-2.0
"""Read a stop's MCAP, also one whose end is torn; needs no ROS."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mcap.exceptions import McapError
from mcap.records import Channel, Message, Metadata
from mcap.stream_reader import StreamReader

from levine_policy_node.core import stop_messages as topics
from levine_policy_node.core.cdr import CdrError, read_header
from levine_policy_node.core.message_bytes import (
    read_diagnostics,
    read_joint_state,
    read_string,
)
from levine_policy_node.core.stop_record import Happening, StopRecord, Track, empty_track
from levine_policy_node.core.trajectory_message import read_trajectory
from levine_policy_node.core.units import NS_PER_S
from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.stop_saver import FORMAT, FORMAT_VERSION


@dataclass(frozen=True, slots=True)
class OtherFile:
    """An MCAP that is no stop.

    Attributes:
        file: Its name.
        metadata: Its Metadata record `levine`, empty without one.
        seconds: From its first to its last message.
        messages: Number of messages per topic.
    """

    file: str
    metadata: dict[str, str]
    seconds: float
    messages: dict[str, int]

    @property
    def is_episode(self) -> bool:
        """Whether `intervention_recorder` wrote it."""
        return "session" in self.metadata


def read_stop(path: Path) -> StopRecord | OtherFile:
    """Read a stop's file, or say what else it is.

    Raises:
        RecordingError: If there is no such file, or nothing in it can be read.
    """
    content = _read(path)
    head = content.metadata.get("levine", {})
    if not content.is_stop:
        times = content.span
        seconds = (times[1] - times[0]) / NS_PER_S if times is not None else 0.0
        return OtherFile(path.name, head, seconds, dict(content.counts))
    if head.get("version") != str(FORMAT_VERSION):
        raise RecordingError(
            f"{path}: version {head.get('version')} of {FORMAT}; this program reads "
            f"{FORMAT_VERSION}. Use the program that wrote it"
        )
    try:
        return _stop(path, content)
    except (CdrError, ValueError, KeyError, TypeError, IndexError) as error:
        raise RecordingError(
            f"{path}: damaged: a message or its metadata cannot be read "
            f"({type(error).__name__}: {error})"
        ) from error


@dataclass(slots=True)
class _Content:
    """Records of a file in their order: metadata by name, messages by topic.

    Messages of another file than a stop are only counted: an episode may be larger than memory.
    """

    metadata: dict[str, dict[str, str]] = field(default_factory=dict[str, "dict[str, str]"])
    messages: dict[str, list[Message]] = field(default_factory=dict[str, "list[Message]"])
    counts: Counter[str] = field(default_factory=Counter[str])
    span: tuple[int, int] | None = None

    @property
    def is_stop(self) -> bool:
        return self.metadata.get("levine", {}).get("format") == FORMAT


def _read(path: Path) -> _Content:
    content = _Content()
    names: dict[int, str] = {}
    torn: Exception | None = None
    try:
        with path.open("rb") as stream:
            for record in StreamReader(stream, validate_crcs=True).records:
                if isinstance(record, Metadata):
                    content.metadata[record.name] = record.metadata
                elif isinstance(record, Channel):
                    names[record.id] = record.topic
                elif isinstance(record, Message):
                    topic = names[record.channel_id]
                    content.counts[topic] += 1
                    if content.is_stop:
                        content.messages.setdefault(topic, []).append(record)
                    first, last = content.span or (record.log_time, record.log_time)
                    content.span = min(first, record.log_time), max(last, record.log_time)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error.strerror})") from error
    except (McapError, EOFError, ValueError, KeyError) as error:
        torn = error
    if torn is not None and not content.counts:
        raise RecordingError(
            f"{path}: not an MCAP, or damaged before its first message "
            f"({type(torn).__name__}: {torn})"
        ) from torn
    return content


def _stop(path: Path, content: _Content) -> StopRecord:
    head = {key: _value(text) for key, text in content.metadata["levine"].items()}
    end = {key: _value(text) for key, text in content.metadata.get("levine.end", {}).items()}
    names = tuple(str(name) for name in head["limits"])
    stop_ns = int(head["time_ns"]) + int(head["ros_offset_ns"])
    named = {topic: str(name) for topic, name in head["topics"].items()}

    def messages(topic: str) -> list[Message]:
        return content.messages.get(named[topic], [])

    def time_s(message: Message) -> float:
        return (message.log_time - stop_ns) / NS_PER_S

    return StopRecord(
        path.name,
        names,
        head,
        end,
        measured=_track(messages(topics.JOINT_STATES), time_s, len(names)),
        command=_track(messages(topics.COMMAND), time_s, len(names)),
        proposal=_track(messages(topics.PROPOSAL), time_s, len(names)),
        ticks=[
            {**json.loads(read_string(m.data)), "time_s": time_s(m)}
            for m in messages(topics.TICKS)
        ],
        events=[
            Happening(time_s(m), status.name, status.values["severity"], status.message)
            for m in messages(topics.EVENTS)
            for status in read_diagnostics(m.data)[1]
        ],
        last_window_s=_window_end(messages(topics.WINDOW), stop_ns),
        chunks=[(time_s(m), read_header(m.data).frame_id) for m in messages(topics.CHUNKS)],
    )


def _window_end(windows: list[Message], stop_ns: int) -> float | None:
    """When the last window ends, which is at rest; None if none was sent."""
    found = read_trajectory(windows[-1].data) if windows else None
    if found is None:
        return None
    return (found.stamp_ns - stop_ns) / NS_PER_S + float(found.times_s[-1])


def _value(text: str) -> Any:
    """A metadata value: JSON where it was written as such, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _track(messages: list[Message], time_s: Callable[[Message], float], joints: int) -> Track:
    if not messages:
        return empty_track(joints)
    found = [read_joint_state(message.data) for message in messages]
    return Track(
        np.array([time_s(message) for message in messages]),
        np.stack([values.position for values in found]),
        np.stack([values.velocity for values in found]),
        tuple(values.header.frame_id for values in found),
    )
