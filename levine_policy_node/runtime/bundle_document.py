# SPDX-License-Identifier: Apache-2.0
"""Read a `policy.yaml`: a validated document, or one line that says what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from levine_policy_node.errors import BundleError, ConfigError
from levine_policy_node.robot import parse_yaml_mapping
from levine_policy_node.runtime.bundle_schema import BundleDocument
from levine_policy_node.runtime.importers.draft import gaps
from levine_policy_node.runtime.yaml_extent import check_extent

_KINDS = {"observation_kind", "action_kind"}
_UNION_NAMES = {"GraphFile", "float"}


def read_document(raw: bytes, source: str) -> BundleDocument:
    """Parse and validate the bytes of a `policy.yaml`.

    Args:
        raw: The file's bytes.
        source: The file's name, for messages.

    Raises:
        BundleError: With the first problem, in one line.
    """
    return validate_document(parse_document(raw, source), source)


def parse_document(raw: bytes, source: str) -> dict[str, Any]:
    """Parse the bytes of a `policy.yaml`, without validating what they say.

    Raises:
        BundleError: If they are no YAML mapping, or would take very long to walk.
    """
    try:
        check_extent(raw, source)
        return parse_yaml_mapping(raw, source)
    except BundleError:
        raise
    except ConfigError as error:
        raise BundleError(source, "", str(error).removeprefix(f"{source}: ")) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # PyYAML raises ValueError for an impossible date and recurses per level of nesting.
        detail = " ".join(str(error).split())[:200]
        raise BundleError(source, "", f"not valid YAML ({detail})", "Check indentation") from error


def validate_document(document: Mapping[str, Any], source: str) -> BundleDocument:
    """Validate what a `policy.yaml` says.

    Raises:
        BundleError: With the first problem, or the first field that is still to be filled in.
    """
    missing = list(gaps(document))
    if missing:
        field, wanted = missing[0]
        more = f"; {len(missing) - 1} more to fill in" if len(missing) > 1 else ""
        raise BundleError(source, field, f"is still to be filled in: {wanted}"[:300] + more)
    try:
        return BundleDocument.model_validate(document)
    except ValidationError as error:
        raise _bundle_error(source, error) from error


def _bundle_error(source: str, error: ValidationError) -> BundleError:
    errors = error.errors(include_url=False)
    first = errors[0]
    message = first["msg"].removeprefix("Value error, ")
    found = first["input"]
    fix = ""
    if first["type"] == "missing":
        message, fix = "is missing", "Add the field"
    elif first["type"] == "extra_forbidden":
        message, fix = "is not a field of this version", "Remove it or correct its spelling"
    elif first["type"] == "literal_error":
        message = (
            f"{_shown(found)} is not supported; supported: {first.get('ctx', {}).get('expected')}"
        )
    elif first["type"] == "union_tag_invalid":
        context = first.get("ctx", {})
        message = f"{_shown(context.get('tag'))} is not supported; supported: " + str(
            context.get("expected_tags")
        )
    elif first["type"] in _KINDS and isinstance(found, dict) and "kind" in found:
        message = f"{_shown(found['kind'])} is not supported; {message}"  # pyright: ignore
    else:
        message = f"{message} (found {_shown(found)})"
    if len(errors) > 1:
        fix = f"{fix}. {len(errors) - 1} more" if fix else f"{len(errors) - 1} more"
        fix += " problem(s) in this file"
    return BundleError(source, _dotted(first["loc"]), " ".join(message.split()), fix)


def _dotted(location: tuple[int | str, ...]) -> str:
    """The path as written in the file, without pydantic's names for union members."""
    parts = [str(part) for part in location]
    if len(parts) > 2 and parts[0] == "observations":
        del parts[2]
        if "terms" in parts[:-2]:
            del parts[parts.index("terms") + 2]
    if len(parts) > 1 and parts[0] == "decoder":
        _untag_decoder(parts)
    if len(parts) > 3 and parts[:2] == ["action", "parts"]:
        del parts[3]
    own = [
        part
        for part in parts
        if not any(c in part for c in "([") and part not in {"GraphFile", "float"}
    ]
    path = ".".join(" ".join(part.split())[:60] for part in own)
    # Half a character can stand in a document, but not be printed.
    return path.encode(errors="backslashreplace").decode()


def _untag_decoder(parts: list[str]) -> None:
    """Leave out whether there are several decoders, and the type of the one that is meant."""
    place = 2 if parts[1] == "several" else 1
    del parts[1]
    if len(parts) > place + 1:
        del parts[place]


def _shown(value: Any) -> str:
    """A short form that never spells out a container, which may be huge."""
    if isinstance(value, dict):
        keys = ", ".join(str(key)[:20] for key in list(value)[:4])  # pyright: ignore
        return f"a mapping with {keys or 'nothing'}"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"  # pyright: ignore
    return repr(value)[:60]
