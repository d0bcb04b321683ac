# SPDX-License-Identifier: Apache-2.0
"""Change single numbers of a robot file and leave every other character as it is.

A robot file says in comments where its numbers come from, so it is never written anew from data.
PyYAML says at which character each value stands; only those characters are replaced.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from levine_policy_node.errors import ConfigError
from levine_policy_node.robot import load_robot, robots_directory

Field = tuple[str, ...]
"""Path of a field: ("controller", "actuation_delay_s")."""

_DECIMALS = 4
_BY_HAND = "Write the value by hand"


def check_editable(name_or_path: str) -> None:
    """Refuse a robot that was chosen by name: its file belongs to the package.

    Raises:
        ConfigError: If it is no path; says where to copy the file from.
    """
    if Path(name_or_path).suffix in {".yaml", ".yml"}:
        return
    source = robots_directory() / f"{name_or_path}.yaml"
    raise ConfigError(
        "robot",
        name_or_path,
        "is a file of the installed package, which an update replaces",
        f"Copy {source} and give the copy's path",
    )


def write_numbers(path: Path, values: Mapping[Field, float]) -> None:
    """Set fields of a robot file, keeping its comments and layout.

    The new text is read back before it takes the place of the old one, in one step.

    Args:
        path: The robot file.
        values: New value per field, written to a tenth of a millisecond.

    Raises:
        ConfigError: If a field cannot be changed alone, or the result would not be the same
            robot with these values. The file is then as it was.
    """
    path = path.resolve()
    try:
        text = path.read_bytes().decode()
        for field, value in values.items():
            text = with_number(text, field, value, str(path))
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}_") as directory:
            draft = Path(directory) / path.name
            draft.write_bytes(text.encode())
            _check_draft(draft, path, values)
            shutil.copymode(path, draft)
            draft.replace(path)
    except OSError as error:
        raise ConfigError(str(path), "", f"cannot be written ({error.strerror})") from error


def with_number(text: str, field: Field, value: float, source: str = "robot file") -> str:
    """The YAML `text` with one number replaced, or added where it is missing.

    Raises:
        ConfigError: If the field's mapping is missing, or is shared through an anchor.
    """
    try:
        # The stubs do not say what this returns.
        composed = yaml.compose(text, yaml.SafeLoader)  # pyright: ignore
        root = cast("yaml.Node | None", composed)
    except yaml.YAMLError as error:
        raise ConfigError(source, "", "not valid YAML", "Check indentation") from error
    mapping = _own_mapping(root, field[:-1], source)
    number = repr(round(float(value), _DECIMALS))
    for key, node in mapping.value:
        if key.value == field[-1]:
            if not isinstance(node, yaml.ScalarNode) or _is_alias(key, node):
                raise ConfigError(source, ".".join(field), "is no plain number", _BY_HAND)
            return text[: node.start_mark.index] + number + text[node.end_mark.index :]
    return _added(text, mapping, f"{field[-1]}: {number}")


def _own_mapping(root: yaml.Node | None, field: Field, source: str) -> yaml.MappingNode:
    """The mapping at `field`, which must be written out there and used nowhere else."""
    node = root
    name = ".".join(field)
    shared = f"shares its values with another place (a YAML anchor). {_BY_HAND}"
    for part in field:
        found = next(
            ((k, v) for k, v in _pairs(node) if k.value == part),
            None,
        )
        if found is None:
            raise ConfigError(source, name, "is missing", "Add the field")
        if _is_alias(*found):
            raise ConfigError(source, name, shared)
        node = found[1]
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(source, name, "expected a mapping of fields to values")
    if sum(other is node for other in _nodes(root)) > 1:
        raise ConfigError(source, name, shared)
    return node


def _pairs(node: yaml.Node | None) -> Sequence[tuple[Any, Any]]:
    return node.value if isinstance(node, yaml.MappingNode) else ()


def _nodes(node: yaml.Node | None) -> Iterator[yaml.Node]:
    """Every use of every node below `node`."""
    if node is None:
        return
    yield node
    if isinstance(node, yaml.MappingNode):
        for key, value in _pairs(node):
            yield from _nodes(key)
            yield from _nodes(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _nodes(item)


def _is_alias(key: yaml.Node, node: yaml.Node) -> bool:
    """An alias composes to the node of its anchor, which stands before the key."""
    return node.start_mark.index < key.start_mark.index


def _added(text: str, mapping: yaml.MappingNode, entry: str) -> str:
    """Put a new entry after the last one whose end is known."""
    ends = [
        value.end_mark.index
        for key, value in _pairs(mapping)
        if not _is_alias(key, value) and (isinstance(value, yaml.ScalarNode) or value.flow_style)
    ]
    if mapping.flow_style:
        if ends:
            return f"{text[: ends[-1]]}, {entry}{text[ends[-1] :]}"
        begin = text.index("{", mapping.start_mark.index) + 1
        separator = ", " if _pairs(mapping) else ""
        return f"{text[:begin]}{entry}{separator}{text[begin:]}"
    first = _pairs(mapping)[0][0].start_mark
    indent = " " * first.column
    newline = "\r\n" if "\r\n" in text else "\n"
    # A block scalar ends where the next token begins, so it says nothing about its last line.
    if not ends or text[: ends[-1]].endswith("\n"):
        return f"{text[: first.index]}{entry}{newline}{indent}{text[first.index :]}"
    end = text.find(newline, ends[-1])
    end = len(text) if end < 0 else end
    return f"{text[:end]}{newline}{indent}{entry}{text[end:]}"


def _check_draft(draft: Path, path: Path, values: Mapping[Field, float]) -> None:
    """The draft must say the same as the file, with the new values."""
    wanted, found = (
        load_robot(str(file)).model_dump(exclude={"sha256", "path"}) for file in (path, draft)
    )
    for field, value in values.items():
        part = wanted
        for name in field[:-1]:
            part = part[name]
        part[field[-1]] = round(float(value), _DECIMALS)
    if wanted != found:
        fields = ", ".join(".".join(field) for field in values)
        raise ConfigError(str(path), fields, "cannot be changed without other fields", _BY_HAND)
