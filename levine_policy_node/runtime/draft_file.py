# SPDX-License-Identifier: Apache-2.0
"""Write the `policy.yaml` that makes a bundle of what somebody else's tool exported."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from levine_policy_node.errors import BundleError
from levine_policy_node.runtime.bundle import draft_bundle, find_bundle
from levine_policy_node.runtime.bundle_files import DOCUMENT
from levine_policy_node.runtime.importers.draft import ROBOT, Draft, gaps


@dataclass(frozen=True, slots=True)
class WrittenDraft:
    """A document that was written.

    Attributes:
        path: Where.
        origin: What it was made from.
        missing: Fields to fill in, and what belongs there.
    """

    path: Path
    origin: str
    missing: tuple[tuple[str, str], ...]


def write_draft(bundle: str | Path, robot_model: str = "") -> WrittenDraft:
    """Draft a `policy.yaml` beside what was exported.

    Args:
        bundle: The folder or the ONNX file.
        robot_model: What the policy was made for, where the export does not say.

    Raises:
        BundleError: If there is a document already, or the export cannot be represented.
    """
    files, only = find_bundle(bundle)
    if files.has(DOCUMENT):
        raise BundleError(
            str(files.directory), DOCUMENT, "is there already", "Edit it, or move it away"
        )
    draft = draft_bundle(files, only)
    document = {**draft.document}
    if robot_model and document["robot"] == ROBOT:
        document["robot"] = robot_model
    document["files"] = {
        name: hashlib.sha256(content).hexdigest() for name, content in draft.files.items()
    }
    missing = tuple(gaps(document))
    path = files.directory / DOCUMENT
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(_text(draft, document, missing))
    except OSError as error:
        raise BundleError(str(path), "", f"cannot be written ({error.strerror})") from error
    return WrittenDraft(path, draft.origin, missing)


def _text(draft: Draft, document: dict[str, Any], missing: tuple[tuple[str, str], ...]) -> str:
    lines = [f"# Drafted by levine check --write from {draft.origin}."]
    lines += [f"# {note}" for note in draft.notes]
    if missing:
        lines.append("# Replace every TODO; until then this file is refused.")
    head = "\n".join(" ".join(line.split()) for line in lines)
    body = yaml.dump(
        document, Dumper=_PlainDumper, sort_keys=False, default_flow_style=None, width=95
    )
    return f"{head}\n{body}"


class _PlainDumper(yaml.SafeDumper):
    """Writes a list that is used twice twice, instead of as an alias."""

    def ignore_aliases(self, data: object) -> bool:
        """Never."""
        return True
