# SPDX-License-Identifier: Apache-2.0
"""`episode.json`: what is known of an episode beside its recording."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from levine_policy_node.core.episode import Episode
from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.mcap_writer import WriterReport

FORMAT = "levine_episode"
FORMAT_VERSION = 2
State = Literal["open", "closed", "failed"]


def episode_document(
    known: Mapping[str, object], file: Path, report: WriterReport, state: State, error: str = ""
) -> dict[str, object]:
    """Put together what is written.

    Args:
        known: The episode as plain values, and what else is to be kept.
        file: The recording under the name it has now.
        report: What it holds.
        state: `open` while it grows, `closed`, or `failed` if its end could not be written.
        error: Why it is `failed`.
    """
    head = {"format": FORMAT, "version": FORMAT_VERSION, "state": state, "error": error}
    return {
        **head,
        "recovered": False,
        **known,
        # What was known may come from an older document.
        **head,
        "file": file.name,
        "file_sha256": report.sha256,
        "bytes": report.size,
        "messages": sum(report.messages.values()),
        "dropped": dict(report.dropped),
        "lossy": bool(report.dropped),
        "topics": {
            topic.name: {"type": topic.type_name, "messages": count}
            for topic, count in report.messages.items()
        },
    }


def text_values(episode: Episode) -> dict[str, str]:
    """The episode with every value as text, as MCAP metadata needs it."""
    known = {**episode.document(), "topics": dict(episode.provenance.topics)}
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in known.items()}


def read_document(path: Path) -> dict[str, Any]:
    """Read an `episode.json` or `session.json`; {} if there is none.

    Raises:
        RecordingError: If it cannot be read, or is no JSON object.
    """
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise RecordingError(f"{path}: is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise RecordingError(f"{path}: is not a JSON object")
    return cast("dict[str, Any]", found)
