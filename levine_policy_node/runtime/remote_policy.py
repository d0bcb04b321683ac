# SPDX-License-Identifier: Apache-2.0
"""A policy that a server runs, behind the `Policy` interface.

Chunks have the time of their observation, so the way to the server and back is part of their age
like any other computing time: rows that passed meanwhile are not played. Without an answer in time
there is no chunk, and what is played ends in braking.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import time
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.action_prefix import ActionPrefix
from levine_policy_node.core.moments import Moment
from levine_policy_node.core.observation import Observation
from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import (
    BundleError,
    InferenceError,
    ObservationError,
    OutOfReachError,
    RemoteError,
)
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.bundle_files import DOCUMENT
from levine_policy_node.runtime.decoder_schema import DirectDecoder
from levine_policy_node.runtime.embodiment import Embodiment
from levine_policy_node.runtime.language_schema import TextObservation
from levine_policy_node.runtime.msgpack_numpy import packed, unpacked
from levine_policy_node.runtime.remote_access import RemoteAccess
from levine_policy_node.runtime.remote_link import RemoteLink, last_line
from levine_policy_node.runtime.remote_schema import ACTIONS, RemoteSpec, server_key
from levine_policy_node.runtime.text_inputs import given_task

_PACKAGES = ("websockets>=11", "msgpack>=1")
_WARM_UP_TASK = "go"


class RemotePolicy:
    """Asks the server that a bundle names.

    Loading connects and asks for plausible observations. A connection that is lost later is made
    again in the background; until then every inference fails.

    Args:
        bundle: A verified bundle with `remote`.
        robot: The robot it is for.
        timeout_s: Longest inference, unless the bundle wants a shorter one [s].
        access: Which servers may be asked.

    Raises:
        BundleError: If the bundle does not fit the robot, the server may not be asked, is not
            there, or its answers are not what the document says.
    """

    def __init__(
        self, bundle: Bundle, robot: Robot, timeout_s: float, access: RemoteAccess | None = None
    ) -> None:
        self.bundle = bundle
        self._body = Embodiment(bundle, robot)
        access = access or RemoteAccess()
        access.check(bundle)
        self._spec = _remote(bundle)
        self._timeout_s = min(timeout_s, self._spec.timeout_s or timeout_s)
        self._spent_s = 0.0
        decoder = cast("DirectDecoder", bundle.document.decoders[0])
        self._output = decoder.output or ACTIONS
        self._keys = {
            getattr(spec, "tensor", None) or key: server_key(key, spec, self._spec.separator)
            for key, spec in bundle.document.observations.items()
        }
        self._texts = [
            spec.tensor or key
            for key, spec in bundle.document.observations.items()
            if isinstance(spec, TextObservation)
        ]
        try:
            self._link = RemoteLink(self._spec, access.headers(self._spec))
        except RemoteError as error:
            raise self._refused(str(error)) from error
        try:
            self._warm_up()
        except BundleError:
            self.close()
            raise

    @property
    def source(self) -> str:
        """Who commands, `policy:<name>@<hash8>`; the hash is of the bundle, not of the server."""
        return self.bundle.source

    @property
    def place(self) -> str:
        """Where its network runs."""
        return f"the server {self._spec.url}"

    @property
    def graph_s(self) -> float:
        """Time the server says that its network took for the last answer [s].

        The whole time if it does not say.
        """
        return self._spent_s

    def reset(self) -> None:
        """Forget the past; the protocol has no word for it, so the server must not remember."""
        self._body.reset()

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    def infer(self, observation: Observation, prefix: ActionPrefix | None = None) -> ActionChunk:
        """Predict joint targets; see `Policy.infer`. The prefix is not used."""
        return self._infer(observation, self._timeout_s)

    def _infer(self, observation: Observation, timeout_s: float) -> ActionChunk:
        moments = self._body.recall(observation)
        message = packed(self._message(moments))
        begin_s = time.monotonic()
        try:
            answer = self._link.ask(message, timeout_s)
            took_s = time.monotonic() - begin_s
            actions = self._actions(answer, took_s)
        except RemoteError as error:
            raise RemoteError(f"{self.source}: server {self._spec.url}: {error}") from error
        return self._body.chunk(actions, observation)

    def _message(self, moments: tuple[Moment, ...]) -> dict[str, Any]:
        """Observations under the server's names, without a batch axis."""
        values: dict[str, Any] = {
            name: tensor[0] for name, tensor in self._body.preprocessor.tensors(moments).items()
        }
        for name in self._texts:
            values[name] = given_task(moments[-1].observation.task)
        message: dict[str, Any] = {}
        for name, value in values.items():
            *above, last = self._keys[name]
            place = message
            for part in above:
                place = place.setdefault(part, {})
            place[last] = value
        return message

    def _actions(self, answer: bytes | str, took_s: float) -> FloatArray:
        """The chunk in an answer, shape (T, A)."""
        self._spent_s = took_s
        if isinstance(answer, str):
            raise RemoteError(f"it failed: {last_line(answer)}")
        message = unpacked(answer)
        found = message.get(self._output)
        if not isinstance(found, np.ndarray):
            names = ", ".join(str(name)[:40] for name in list(message)[:8]) or "nothing"
            raise RemoteError(f"its answer has no array '{self._output}'; it has {names}")
        actions = cast("npt.NDArray[Any]", found)
        wanted = (self.bundle.document.chunk.size, self.bundle.document.action.columns)
        if actions.dtype.kind != "f" or actions.shape != wanted:
            raise RemoteError(
                f"'{self._output}' is {actions.dtype} of shape {list(actions.shape)}, and "
                f"{DOCUMENT} says floats of shape {list(wanted)}"
            )
        self._spent_s = _stated_s(message, took_s)
        return actions.astype(np.float64)

    def _warm_up(self) -> None:
        """Ask as the robot would: first runs compile the network, and a wrong one shows here."""
        try:
            for observation in self._body.plausible(_WARM_UP_TASK):
                # The arm may be anywhere here, and the pose is for where it was trained.
                with contextlib.suppress(OutOfReachError):
                    self._infer(observation, self._spec.warm_up_timeout_s)
        except (InferenceError, ObservationError, ValueError) as error:
            said = str(error).removeprefix(f"{self.source}: server {self._spec.url}: ")
            raise self._refused(f"on a plausible observation, {said}") from error
        self.reset()

    def _refused(self, problem: str) -> BundleError:
        return BundleError(
            str(self.bundle.path / DOCUMENT), "remote", f"server {self._spec.url}: {problem}"
        )


def _remote(bundle: Bundle) -> RemoteSpec:
    """What the bundle says of its server, where the packages to ask it are there."""
    spec = bundle.document.remote
    missing = [name for name in _PACKAGES if not _usable(name)]
    if spec is None or missing:
        raise BundleError(
            str(bundle.path / DOCUMENT),
            "remote",
            "names no server" if spec is None else f"needs {' and '.join(missing)}",
            "" if spec is None else "Install them: pip install levine_policy_node[remote]",
        )
    return spec


def _usable(requirement: str) -> bool:
    """Whether a package is there, and not too old (that of Ubuntu 24.04 is)."""
    name, least = requirement.split(">=")
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return int(found.split(".")[0]) >= int(least) and importlib.util.find_spec(name) is not None


def _stated_s(message: dict[str, Any], took_s: float) -> float:
    """What openpi's servers say of their time; all of it, where that is missing or impossible."""
    timing = message.get("server_timing")
    stated = cast("dict[str, Any]", timing).get("infer_ms") if isinstance(timing, dict) else None
    if isinstance(stated, int | float) and 0.0 <= stated <= took_s * 1e3:
        return stated * 1e-3
    return took_s
