# SPDX-License-Identifier: Apache-2.0
"""The graphs of a bundle by role, each one session or several that run one after the other."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy.typing as npt

from levine_policy_node.core.observation import Tensors
from levine_policy_node.errors import BundleError, InferenceError
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.graph_schema import ENCODE, Role
from levine_policy_node.runtime.onnx_loader import GraphFiles, OnnxOptions, offered_places
from levine_policy_node.runtime.onnx_providers import Place
from levine_policy_node.runtime.onnx_session import OnnxSession
from levine_policy_node.runtime.ort import RunLimit
from levine_policy_node.runtime.run_watchdog import RunWatchdog
from levine_policy_node.runtime.tensor_info import TensorInfo


@dataclass(frozen=True, slots=True)
class _Pipeline:
    """Graphs of one role; what one returns goes to those after it, by name.

    Attributes:
        file: Their files, for messages.
        sessions: In the order they run.
        inputs: What none of them returns before another takes it.
        outputs: What they return.
    """

    file: str
    sessions: tuple[OnnxSession, ...]
    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]


class OnnxGraphs:
    """Sessions by role, made from verified bytes.

    Attributes:
        place: Where they run.
        passed_over: Places that `auto` would have preferred, and why it could not.
        spent_s: Time the last inference spent inside the graphs [s].

    Raises:
        BundleError: If ONNX Runtime cannot load a graph, or graphs of a role do not fit together.
    """

    def __init__(self, bundle: Bundle, options: OnnxOptions) -> None:
        self._timeout_s = options.timeout_s
        self.passed_over: dict[Place, str] = {}
        *preferred, last = offered_places(options.provider)
        for place in preferred:
            try:
                self.place, self._pipelines = place, _pipelines(bundle, place, options)
                break
            except BundleError as error:
                self.passed_over[place] = str(error)
        else:
            self.place, self._pipelines = last, _pipelines(bundle, last, options)
        self._watchdog = RunWatchdog(options.timeout_s)
        self._limit = RunLimit()
        self.spent_s = 0.0

    @property
    def roles(self) -> tuple[Role, ...]:
        """Roles that have a graph, in the order they run."""
        return tuple(self._pipelines)

    def file(self, role: Role) -> str:
        """The file of the role's graph, or all of them, for messages."""
        return self._pipelines[role].file

    def inputs(self, role: Role) -> Mapping[str, TensorInfo]:
        """What the role takes, by name."""
        return self._pipelines[role].inputs

    def outputs(self, role: Role) -> Mapping[str, TensorInfo]:
        """What the role returns, by name."""
        return self._pipelines[role].outputs

    @contextmanager
    def inference(self) -> Generator[None]:
        """Everything that runs inside is one inference: timed, and stopped when it takes long."""
        limit = self._limit = RunLimit()
        self.spent_s = 0.0
        with self._watchdog.guard(limit.stop):
            yield

    def run(self, role: str, inputs: Tensors) -> Tensors:
        """Run the graphs of a role once; see `core.decoders.decoder.Graphs`."""
        sessions = self._pipelines[role].sessions
        begin_s = time.perf_counter()
        outputs = self._run(sessions[0], inputs)
        for session in sessions[1:]:
            outputs = {**outputs, **self._run(session, {**inputs, **outputs})}
        self.spent_s += time.perf_counter() - begin_s
        return outputs

    def close(self) -> None:
        """Stop the watchdog and free the sessions; the graphs must not run any more."""
        self._watchdog.close()
        self._pipelines.clear()

    def _run(self, session: OnnxSession, inputs: Tensors) -> dict[str, npt.NDArray[Any]]:
        try:
            return session.run(inputs, self._limit)
        except InferenceError as error:
            if not self._limit.reached:
                raise
            raise InferenceError(f"{session.file}: ran longer than {self._timeout_s} s") from error


def _pipelines(bundle: Bundle, place: Place, options: OnnxOptions) -> dict[Role, _Pipeline]:
    """All roles in one place; what `encode` gives others may stay on the device."""
    made: dict[Role, _Pipeline] = {}
    roles = bundle.document.graphs.pipelines
    # What encode returns is kept for those that take it, so they come first.
    for role in sorted(roles, key=lambda role: role == ENCODE):
        taken = {name for pipeline in made.values() for name in pipeline.inputs}
        sessions = tuple(
            OnnxSession(
                GraphFiles(
                    bundle.files[graph.file],
                    str(bundle.path / graph.file),
                    _weights(bundle, graph.file),
                ),
                place,
                options,
                taken if role == ENCODE else (),
                repeated=role != ENCODE,
            )
            for graph in roles[role]
        )
        files = " + ".join(graph.file for graph in roles[role])
        made[role] = _pipeline(str(bundle.path / files), sessions)
    return {role: made[role] for role in roles}


def _pipeline(file: str, sessions: tuple[OnnxSession, ...]) -> _Pipeline:
    inputs: dict[str, TensorInfo] = {}
    outputs: dict[str, TensorInfo] = {}
    for session in sessions:
        for name, info in session.inputs.items():
            before = outputs.get(name, inputs.get(name))
            if before is not None and not before.agrees(info):
                raise BundleError(
                    session.file, f"input {name}", f"is {info}, but is {before} in a graph before"
                )
            if name not in outputs:
                inputs[name] = info
        twice = [name for name in session.outputs if name in outputs]
        if twice:
            raise BundleError(session.file, f"output {twice[0]}", "a graph before returns it, too")
        outputs.update(session.outputs)
    return _Pipeline(file, sessions, inputs, outputs)


def _weights(bundle: Bundle, name: str) -> dict[str, bytes]:
    """Files that are no graph, statistics or tokenizer: weights that a graph refers to.

    A graph names them from its own folder.
    """
    document = bundle.document
    folder = PurePosixPath(name).parent
    known = {graph.file for graph in document.graphs.files} | {*document.tokenizers}
    if isinstance(document.stats, str):
        known.add(document.stats)
    return {
        str(path.relative_to(folder) if path.is_relative_to(folder) else path): bundle.files[file]
        for file, path in ((file, PurePosixPath(file)) for file in bundle.files)
        if file not in known
    }
