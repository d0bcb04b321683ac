# SPDX-License-Identifier: Apache-2.0
"""Write incidents to the disk from a thread of its own, one after the other.

A disk that hangs makes this thread wait and nobody else; what then does not fit into its bounded
queue is dropped, a whole incident at a time.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from levine_policy_node.core.black_box import Begun, More, Over, Step, Stop
from levine_policy_node.core.stop_messages import MODE, TYPES, Narrator
from levine_policy_node.core.tick_record import Tick
from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.mcap_writer import (
    McapWriter,
    RecordedMessage,
    RecordedTopic,
    WriterOptions,
)
from levine_policy_node.runtime.stop_store import StopStore, remove_empty

FORMAT = "levine_stop"
FORMAT_VERSION = 1

_QUEUED = 2048


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What holds for the whole life of a supervisor.

    Attributes:
        joint_names: J names, the order of every array.
        topics: Absolute name of each topic of `core.stop_messages`.
        document: Limits, options, robot file and versions, for the metadata of a file.
    """

    joint_names: tuple[str, ...]
    topics: Mapping[str, str]
    document: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Saved:
    """What became of an incident: its file, or why there is none."""

    stop: Stop
    file: str = ""
    problem: str = ""


class StopSaver:
    """Takes the steps of `BlackBox` and writes a file per incident; `take` never blocks."""

    def __init__(
        self,
        store: StopStore,
        surroundings: Surroundings,
        tell: Callable[[Saved], None],
        queued: int = _QUEUED,
    ) -> None:
        """Start the thread.

        Args:
            store: Where files are kept.
            surroundings: Written into every file.
            tell: Called once per incident, from the thread or from `take`.
            queued: Steps that wait for the disk at most.
        """
        self._store = store
        self._around = surroundings
        self._tell = tell
        self._steps: queue.Queue[Step | None] = queue.Queue(queued)
        self._refused = False
        self._thread = threading.Thread(target=self._run, name="stop_saver", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Steps that are not written yet."""
        return self._steps.qsize()

    def take(self, step: Step) -> None:
        """Queue one step; an incident that does not fit is dropped whole or cut short."""
        if isinstance(step, Begun):
            self._refused = False
        if self._refused and not isinstance(step, Over):
            return
        try:
            self._steps.put_nowait(step)
        except queue.Full:
            self._refused = True
            if isinstance(step, Begun):
                problem = "the disk has not taken the stops before it yet"
                self._tell(Saved(step.stop, problem=problem))

    def close(self, timeout_s: float) -> bool:
        """Wait until everything is written, at most `timeout_s` [s]; False if it is not."""
        try:
            self._steps.put(None, timeout=timeout_s)
        except queue.Full:
            return False
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        step = self._steps.get()
        while step is not None:
            # Further ticks of an incident that was dropped belong to nothing.
            step = self._incident(step) if isinstance(step, Begun) else self._steps.get()

    def _incident(self, begun: Begun) -> Step | None:
        """Write one incident; returns the first step that does not belong to it."""
        path: Path | None = None
        try:
            path = self._store.new_file(begun.stop)
            file = _IncidentFile(path, begun, self._around)
        except RecordingError as error:
            if path is not None:
                remove_empty(path)
            self._tell(Saved(begun.stop, problem=str(error)))
            return self._steps.get()
        stops: tuple[Stop, ...] = (begun.stop,)
        while isinstance(step := self._steps.get(), More):
            file.add(step.tick)
        if isinstance(step, Over):
            stops = step.stops
        try:
            file.close(stops)
            self._tell(Saved(begun.stop, file=str(self._store.publish(path))))
        except RecordingError as error:
            remove_empty(path)
            self._tell(Saved(begun.stop, problem=str(error)))
        return self._steps.get() if isinstance(step, Over) else step


class _IncidentFile:
    """The file of one incident while it is written."""

    def __init__(self, path: Path, begun: Begun, around: Surroundings) -> None:
        stop = begun.stop
        document: dict[str, object] = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            **asdict(stop),
            "begin_steady_ns": begun.ticks[0].due_ns,
            "topics": dict(around.topics),
            **around.document,
        }
        self._around = around
        self._writer = McapWriter(path, _as_text(document), WriterOptions(jpeg_quality=None))
        self._narrator = Narrator(around.joint_names, stop.ros_offset_ns)
        self._ticks = 0
        self._first, self._last = begun.ticks[0].number, begun.ticks[0].number
        for tick in begun.ticks:
            self.add(tick)

    def add(self, tick: Tick) -> None:
        """Write what a tick heard, decided and sent."""
        self._ticks += 1
        self._last = tick.number
        for said in self._narrator.messages(tick):
            name = self._around.topics[said.topic]
            topic = RecordedTopic(name, TYPES[said.topic], latched=said.topic == MODE)
            self._writer.put(RecordedMessage(topic, said.log_ns, said.publish_ns, said.data))

    def close(self, stops: tuple[Stop, ...]) -> None:
        """Finish the file.

        Raises:
            RecordingError: If the disk took less than all of it.
        """
        missing = self._last - self._first + 1 - self._ticks
        end = {"stops": [asdict(s) for s in stops], "ticks": self._ticks, "missing_ticks": missing}
        self._writer.close(_as_text(end))
        if self._writer.failure:
            raise RecordingError(f"{self._writer.failure}; what was written before it is kept")


def _as_text(document: Mapping[str, object]) -> dict[str, str]:
    """Every value as text, as MCAP metadata needs it."""
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in document.items()}
