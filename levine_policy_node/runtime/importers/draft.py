# SPDX-License-Identifier: Apache-2.0
"""What an importer returns: a document, which may have gaps that a person must fill."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

_TODO = "TODO: "
_MAX_NAME = 64
# From rest to a target a few tenths of a radian away, within the limits of small arms.
_HOLD_S = 0.6

RATE = f"{_TODO}rows per second of a chunk [Hz]"
ROBOT = f"{_TODO}model of the robot file, or give --robot"
KIND = f"{_TODO}target/joint/position or target/joint/velocity"
OBSERVED = f"{_TODO}state/joint/position or state/joint/velocity"
FROM_RADIANS = (
    f"{_TODO}1.0 if the policy saw radians, 57.29577951308232 if degrees; or one per joint"
)
TO_RADIANS = (
    f"{_TODO}1.0 if the policy gives radians, 0.017453292519943295 if degrees; or one per joint"
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A document in the form of `policy.yaml`, made from another format.

    Attributes:
        importer: The format.
        why: What in the folder it was recognised by.
        source: The file that says most, for messages.
        document: As `policy.yaml`; what the format does not say is a text that begins with TODO.
        files: Graphs and their weights by name.
        read: Every file that was read, by name, those above too.
        notes: What the format says and the document does not.
    """

    importer: str
    why: str
    source: str
    document: Mapping[str, Any]
    files: Mapping[str, bytes]
    read: Mapping[str, bytes]
    notes: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """How it was read, for people."""
        return f"{self.importer} ({self.why})"


def joint_names(count: int) -> str:
    """The gap for names of joints."""
    return f"{_TODO}names of {count} joint(s) in the order of the columns"


def gap(what: str) -> str:
    """A gap that says what belongs there."""
    return _TODO + what


def gaps(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Every field that is still to be filled in: dotted path, and what belongs there."""
    if isinstance(value, str):
        if value.startswith(_TODO.strip()):
            yield ".".join(path), value.removeprefix(_TODO)
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[object, object]", value).items():
            yield from gaps(item, (*path, str(key)))
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(cast("list[object]", value)):
            yield from gaps(item, (*path, str(i)))


def one_target(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`chunk` of a policy that gives one target at a time; a position stands until the next."""
    stands = all(part["kind"] == "target/joint/position" for part in parts)
    return {"size": 1, "execute": 1, **({"hold": _HOLD_S} if stands else {})}


def policy_name(text: str) -> str:
    """A name that `policy.yaml` accepts."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("_.-")[:_MAX_NAME]
    return name or "imported"


def model_of(robot: str) -> str:
    """The model in the spelling of robot files: `SO-101` and `so101_follower` are `so101`."""
    return re.sub(r"[^a-z0-9]", "", robot.lower().removesuffix("_follower"))
