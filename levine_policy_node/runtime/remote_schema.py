# SPDX-License-Identifier: Apache-2.0
"""The part of `policy.yaml` that says which server runs a policy, in place of graphs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field

from levine_policy_node.runtime.decoder_schema import DirectDecoder, OneDecoder
from levine_policy_node.runtime.history_schema import HistorySpec
from levine_policy_node.runtime.language_schema import TextObservation
from levine_policy_node.runtime.observation_rules import vector_of
from levine_policy_node.runtime.observation_schema import ImageObservation, ObservationSpec
from levine_policy_node.strict_model import Strict

ACTIONS = "actions"
"""Where openpi's answers have the chunk."""

Seconds = Annotated[float, Field(gt=0.0, le=600.0)]
_Plain = str | bool | int | float
MetadataValue = _Plain | Annotated[tuple[_Plain, ...], Field(strict=False)]


def _url(url: str) -> str:
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"ws", "wss"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        known = False
        parts = SplitResult("", "", "", "", "")
    if not known or not url.isascii() or any(c.isspace() or not c.isprintable() for c in url):
        raise ValueError("give ws://host:port or wss://host:port")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("has a user, a query or a fragment; secrets do not belong in a bundle")
    return url


class RemoteSpec(Strict):
    """A server that speaks openpi's protocol: msgpack over a websocket.

    Attributes:
        url: `ws://host:port`, or `wss://` with TLS; the robot chooses which hosts may be asked.
        separator: Where a name of an observation is split into nested mappings; none unless given.
        connect_timeout_s: For the connection and the server's first message [s].
        timeout_s: For one inference, with the way there and back; the executor's unless given, and
            never more [s].
        warm_up_timeout_s: For each of the first inferences, which may compile the network [s].
        metadata: What the server must say of itself.
    """

    url: Annotated[str, Field(max_length=500), AfterValidator(_url)]
    separator: Annotated[str, Field(pattern=r"^[./:]$")] | None = None
    connect_timeout_s: Seconds = 5.0
    timeout_s: Seconds | None = None
    warm_up_timeout_s: Seconds = 30.0
    metadata: dict[str, MetadataValue] = Field(default_factory=dict)

    @property
    def host(self) -> str:
        """Of the server, in lower case."""
        return urlsplit(self.url).hostname or ""

    @property
    def secure(self) -> bool:
        """Whether nobody on the way can read along."""
        return urlsplit(self.url).scheme == "wss"


def server_key(feature: str, spec: ObservationSpec, separator: str | None) -> tuple[str, ...]:
    """Where in the message the server looks for an observation."""
    name: str = getattr(spec, "tensor", None) or feature
    return (name,) if separator is None else tuple(name.split(separator))


def check_remote(
    spec: RemoteSpec, observations: Mapping[str, ObservationSpec], decoders: tuple[OneDecoder, ...]
) -> None:
    """Refuse what a server cannot be given or asked.

    Raises:
        ValueError: With the first contradiction.
    """
    for key, observed in observations.items():
        _check_observation(key, observed)
    decoder = decoders[0]
    plain = isinstance(decoder, DirectDecoder) and decoder.index is None
    if len(decoders) > 1 or not plain:
        raise ValueError(
            "decoder: a server answers with actions; with remote it is {type: direct, output: "
            f"{ACTIONS}}}"
        )
    _check_keys(spec, observations)


def _check_observation(key: str, spec: ObservationSpec) -> None:
    known = isinstance(spec, ImageObservation | TextObservation)
    if not known and vector_of(spec) is None:
        kind: Any = getattr(spec, "kind", "")
        raise ValueError(
            f"observations.{key}: {kind} is made for a graph; a server gets state/..., "
            "feedback/action, terms, sensor/image, command/image and command/text"
        )
    history = getattr(spec, "history", None)
    masked = isinstance(history, HistorySpec) and history.mask is not None
    if masked or (isinstance(spec, ImageObservation) and spec.image.mask is not None):
        raise ValueError(f"observations.{key}: a mask is made for a graph; remove it")


def _check_keys(spec: RemoteSpec, observations: Mapping[str, ObservationSpec]) -> None:
    taken: dict[tuple[str, ...], str] = {}
    for key, observed in observations.items():
        path = server_key(key, observed, spec.separator)
        if "" in path:
            raise ValueError(f"observations.{key}: separator {spec.separator} leaves a part empty")
        for other, owner in taken.items():
            shared = min(len(path), len(other))
            if path[:shared] == other[:shared]:
                raise ValueError(
                    f"observations.{key} and {owner} go to one place of the message, "
                    f"{'.'.join(path)}"
                )
        taken[path] = key
