# SPDX-License-Identifier: Apache-2.0
"""Refuse YAML that is small as a file and large, endless or an error of PyYAML once it is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import yaml

from levine_policy_node.errors import BundleError

# An alias is one reference here but a copy in whatever walks the document.
_MAX_ALIASES = 16
_MAX_DEPTH = 32
_PYTHON = "tag:yaml.org,2002:python/"
_MAX_NODES = 100_000
# PyYAML makes numbers of any length of these, base 60 included, and dates.
_NUMBER_BEGINS = frozenset("+-.0123456789")
_MAX_NUMBER = 100


def check_extent(raw: bytes, source: str, *, dumped: bool = False) -> None:
    """Refuse a document that would take PyYAML, or whatever walks the result, very long.

    Args:
        raw: The bytes of the YAML file.
        source: Its name, for messages.
        dumped: Whether PyYAML wrote it from Python objects, with tags of theirs and an alias for
            whatever occurs twice; who reads it must know to make no such objects.

    Raises:
        BundleError: If it is too deep, grows too large, contains itself, has tags (of which PyYAML
            takes values it fails on) or numbers that nobody means.
        yaml.YAMLError: If it is not YAML.
    """
    events = cast("Iterable[Any]", yaml.parse(raw, Loader=yaml.SafeLoader))  # pyright: ignore[reportUnknownMemberType]
    extent = _Extent(source, dumped=dumped)
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            extent.alias(event.anchor)
        elif isinstance(event, yaml.CollectionStartEvent):
            extent.tag(event.tag)
            extent.begin(event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            extent.end()
        elif isinstance(event, yaml.ScalarEvent):
            extent.tag(event.tag)
            extent.scalar(event.value, plain=event.style is None)
            extent.anchored(event.anchor, 1)


class _Extent:
    """Counts nodes as if every alias were a copy."""

    def __init__(self, source: str, *, dumped: bool) -> None:
        self._source = source
        self._dumped = dumped
        self._aliases = 0
        self._sizes: dict[str, int] = {}
        # Anchor and number of nodes of every collection that is being read.
        self._open: list[tuple[str | None, int]] = [(None, 0)]

    def tag(self, tag: str | None) -> None:
        known = tag is None or (self._dumped and tag.startswith(_PYTHON))
        if tag is not None and not known:
            raise self._error(f"has the YAML tag {tag[:40]!r}", "Write the value without it")

    def scalar(self, value: str, *, plain: bool) -> None:
        if plain and len(value) > _MAX_NUMBER and value[0] in _NUMBER_BEGINS:
            raise self._error(
                f"has something like a number that is {len(value)} characters long",
                "Put it in quotes if it is a text",
            )

    def anchored(self, anchor: str | None, size: int) -> None:
        """Count a node with everything in it."""
        if anchor is not None:
            self._sizes[anchor] = size
        name, total = self._open[-1]
        if total + size > _MAX_NODES:
            raise self._error(f"grows to more than {_MAX_NODES} values")
        self._open[-1] = (name, total + size)

    def alias(self, anchor: str) -> None:
        self._aliases += 1
        if self._aliases > _MAX_ALIASES and not self._dumped:
            raise self._error(f"has more than {_MAX_ALIASES} YAML aliases")
        if any(name == anchor for name, _ in self._open):
            raise self._error(f"has something ({anchor[:40]!r}) that contains itself")
        self.anchored(None, self._sizes.get(anchor, 1))

    def begin(self, anchor: str | None) -> None:
        if len(self._open) > _MAX_DEPTH:
            raise self._error(f"is nested more than {_MAX_DEPTH} deep")
        self._open.append((anchor, 1))

    def end(self) -> None:
        anchor, size = self._open.pop()
        self.anchored(anchor, size)

    def _error(self, problem: str, fix: str = "") -> BundleError:
        return BundleError(self._source, "", problem, fix)
