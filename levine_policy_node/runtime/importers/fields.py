# SPDX-License-Identifier: Apache-2.0
"""Read documents of other formats: every value is checked where it is taken."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, cast

import yaml

from levine_policy_node.errors import BundleError
from levine_policy_node.runtime.yaml_extent import check_extent

_TEXT = 200
_LINE = 500


def refused(file: str, field: str, problem: str, fix: str = "") -> BundleError:
    """The error that says what is wrong, in one line whatever names the file has in it."""
    return BundleError(file, *(_line(text) for text in (field, problem, fix)))


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text[:_LINE])


class Fields:
    """One mapping of somebody else's document.

    Attributes:
        file: The document, for messages.
        path: Where in the document this mapping is, dotted.
    """

    def __init__(self, values: Mapping[str, Any], file: str, path: str = "") -> None:
        self._values = values
        self.file = file
        self.path = path

    def __contains__(self, key: str) -> bool:
        """Whether the field is given and not null."""
        return self._values.get(key) is not None

    @property
    def keys(self) -> tuple[str, ...]:
        """Fields that are given, null or not."""
        return tuple(self._values)

    def at(self, key: str) -> str:
        """Dotted path of one field, short enough for a message."""
        return ".".join(" ".join(part.split())[:60] for part in (self.path, key) if part)

    def refusal(self, key: str, problem: str, fix: str = "") -> BundleError:
        """The error that says what is wrong with one field."""
        return refused(self.file, self.at(key), problem, fix)

    def only(self, known: Iterable[str], what: str) -> None:
        """Refuse a field that this importer does not know, as it may change what numbers mean."""
        unknown = [key for key in self._values if key not in set(known)]
        if unknown:
            raise self.refusal(
                unknown[0],
                f"is not a field of {what} that can be read",
                "Remove it if it changes nothing, or write a policy.yaml",
            )

    def raw(self, key: str) -> Any:
        """The value as it is, which is there.

        Raises:
            BundleError: If it is missing.
        """
        if key not in self:
            raise self.refusal(key, "is missing", "Export again, or write a policy.yaml")
        return self._values[key]

    def mapping(self, key: str) -> Fields:
        """A mapping with text keys; one that is not given is empty."""
        value = self._values.get(key)
        if value is None:
            return Fields({}, self.file, self.at(key))
        return Fields(self._mapping(key, value), self.file, self.at(key))

    def mappings(self, key: str) -> list[Fields]:
        """A list of mappings; one that is not given is empty."""
        return [
            Fields(self._mapping(f"{key}.{i}", value), self.file, self.at(f"{key}.{i}"))
            for i, value in enumerate(self.values(key))
        ]

    def values(self, key: str) -> list[Any]:
        """A list; one that is not given is empty."""
        value = self._values.get(key)
        if value is None:
            return []
        if not isinstance(value, (list, tuple)):
            raise self._wrong(key, "a list", value)
        return list(cast("list[Any]", value))

    def text(self, key: str, default: str | None = None) -> str:
        """A text."""
        if key not in self and default is not None:
            return default
        value = self.raw(key)
        if not isinstance(value, str):
            raise self._wrong(key, "a text", value)
        return value

    def names(self, key: str) -> tuple[str, ...]:
        """A list of texts; one that is not given is empty."""
        values = self.values(key)
        if not all(isinstance(value, str) and value for value in values):
            raise self._wrong(key, "a list of names", values)
        if len(set(values)) != len(values):
            raise self.refusal(key, "has a name twice")
        return tuple(values)

    def number(self, key: str) -> float:
        """A finite number."""
        return number(self.raw(key), self, key)

    def whole(self, key: str, default: int | None = None) -> int:
        """A whole number, 0 or more."""
        if key not in self and default is not None:
            return default
        value = self.raw(key)
        if type(value) is not int or not 0 <= value <= 1_000_000:
            raise self._wrong(key, "a whole number", value)
        return value

    def positive(self, key: str) -> float:
        """A finite number above 0."""
        value = self.number(key)
        if value <= 0.0:
            raise self.refusal(key, f"must be above 0 (found {value:g})")
        return value

    def numbers(self, key: str, count: int) -> list[float]:
        """`count` finite numbers, or one for all of them."""
        value = self.raw(key)
        if isinstance(value, (list, tuple)):
            items = cast("list[Any]", value)
            if len(items) == 1 and isinstance(items[0], (list, tuple)):
                items = cast("list[Any]", items[0])
        else:
            items = [value] * count
        if len(items) != count:
            raise self.refusal(key, f"has {len(items)} values, expected {count}")
        return [number(item, self, key) for item in items]

    def _mapping(self, key: str, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self._wrong(key, "a mapping", value)
        given = cast("dict[Any, Any]", value)
        if not all(isinstance(name, str) for name in given):
            raise self._wrong(key, "a mapping with names", value)
        return given

    def _wrong(self, key: str, wanted: str, found: Any) -> BundleError:
        return self.refusal(key, f"expected {wanted} (found {shown(found)})")


def number(value: Any, fields: Fields, key: str) -> float:
    """A finite number, or a refusal that names the field."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise fields.refusal(key, f"expected a number (found {shown(value)})")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise fields.refusal(key, "is not a finite number")
    return result


def shown(value: Any) -> str:
    """A short form that never spells out a container, which may be huge."""
    if isinstance(value, (dict, list, tuple)):
        return f"a {type(cast('object', value)).__name__} of {len(cast('list[Any]', value))}"
    if isinstance(value, int) and not -(2**64) < value < 2**64:
        return "a huge number"
    return " ".join(repr(value)[:60].split())


def read_json(raw: bytes, file: str) -> Fields:
    """Parse a JSON object.

    Raises:
        BundleError: If the bytes are no JSON, no object, or give a field twice.
    """
    try:
        document = json.loads(raw, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise refused(file, "", f"not valid JSON ({_detail(error)})") from error
    return _top(document, file)


def read_yaml(raw: bytes, file: str) -> Fields:
    """Parse a YAML mapping; tags of Python objects become plain values, and nothing is run.

    Raises:
        BundleError: If the bytes are no YAML, no mapping, or give a field twice.
    """
    try:
        check_extent(raw, file, dumped=True)
        document: Any = yaml.load(raw, Loader=_PlainLoader)  # a SafeLoader
    except BundleError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        raise refused(file, "", f"not valid YAML ({_detail(error)})") from error
    return _top(document, file)


def _top(document: Any, file: str) -> Fields:
    return Fields({"": document}, file).mapping("")


def _detail(error: Exception) -> str:
    return " ".join(str(error).split())[:_TEXT]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a field is given twice")
    return result


class _PlainLoader(yaml.SafeLoader):
    """What Isaac Lab dumps has tags of Python types; here they are lists, mappings and texts."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse merges, which can grow without bound, and a field that is given twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, "'<<' is not supported", key.start_mark
                )
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"'{key.value}' is given twice", key.start_mark
                    )
                seen.add(key.value)


def _plain(loader: _PlainLoader, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    return str(node.value)


_PlainLoader.add_multi_constructor("tag:yaml.org,2002:python/", _plain)  # pyright: ignore
