# SPDX-License-Identifier: Apache-2.0
"""`README.md` of a data set: a card for the Hugging Face Hub and a datasheet for people.

The questions are those of Gebru et al., "Datasheets for Datasets" (2021). What the recordings say
is filled in; what only people know is a TODO, so that nobody takes silence for an answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from levine_policy_node.runtime.export.format_writer import DataSet, EpisodeRecord, FormatName

_TODO = "**TODO:**"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def data_card(
    data_set: DataSet,
    kind: FormatName,
    rules: Mapping[str, str],
    records: Sequence[EpisodeRecord],
) -> str:
    """The whole text.

    Args:
        data_set: What all episodes share.
        kind: Format.
        rules: How rows were made, by name.
        records: The episodes.
    """
    sections = [
        _front_matter(kind, records),
        f"# {data_set.name}\n\n{_summary(data_set, records)}",
        _motivation(),
        _composition(kind, records),
        _collection(records),
        _processing(rules),
        _uses(kind),
        _distribution(records),
        _maintenance(),
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(kind: FormatName, records: Sequence[EpisodeRecord]) -> str:
    frames = sum(record.frames for record in records)
    size = next((name for limit, name in _SIZES if frames < limit), "n>1M")
    licences = _told(records, "licence")
    header: dict[str, Any] = {
        "license": licences[0] if len(licences) == 1 else "other",
        "task_categories": ["robotics"],
        "tags": [*(["LeRobot"] if kind == "lerobot" else []), kind, "levine_policy_node"],
        "size_categories": [size],
    }
    if kind == "lerobot":
        header["configs"] = [{"config_name": "default", "data_files": "data/*/*.parquet"}]
    return f"---\n{yaml.safe_dump(header, sort_keys=False)}---"


def _summary(data_set: DataSet, records: Sequence[EpisodeRecord]) -> str:
    frames = sum(record.frames for record in records)
    outcomes = Counter(record.outcome for record in records)
    counts = ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items()))
    interventions = sum(len(record.interventions) for record in records)
    human = sum(
        part["end_frame"] - part["start_frame"] for r in records for part in r.interventions
    )
    return (
        f"{len(records)} episodes of the robot `{data_set.robot}`, {frames} frames at "
        f"{data_set.fps} per second ({frames / data_set.fps:.0f} s): {counts}. A person took "
        f"over {interventions} times, in {human} frames ({100 * human / max(frames, 1):.1f} %)."
    )


def _motivation() -> str:
    return (
        "## Motivation\n\n"
        f"- {_TODO} For what purpose was the data set made, and by whom?\n"
        f"- {_TODO} Who paid for it?"
    )


def _composition(kind: FormatName, records: Sequence[EpisodeRecord]) -> str:
    tasks = Counter(record.task or "(none told)" for record in records)
    lines = [
        "## Composition",
        "",
        f"Format: {kind}. `meta/levine/contract.yaml` says how rows were made, "
        "`meta/levine/provenance.json` where each episode comes from, "
        "`meta/levine/interventions.jsonl` when and why people took over, and "
        "`sha256sum -c meta/levine/sha256sums.txt` checks the files.",
        "",
        "| task | episodes |",
        "|---|---|",
        *(f"| {_cell(task)} | {count} |" for task, count in tasks.most_common()),
        "",
        "| column | per frame | what it is |",
        "|---|---|---|",
        *(
            f"| `{name}` | {column['dtype']} x {column['width']} | {_cell(column['about'])} |"
            for name, column in records[0].layout["columns"].items()
        ),
        *(
            f"| `observation.images.{name}` | {size[0]} x {size[1]} | camera `{name}`, RGB |"
            for name, size in records[0].layout["cameras"].items()
        ),
        "",
        "- Errors: frames in which a camera or the joint states were missing or late are not in "
        f"it. {_missing(records)}",
        f"- {_TODO} Can people, screens or documents be seen in the pictures? If so, of which "
        "cameras, and did they agree?",
        f"- {_TODO} Is there anything in it that is confidential or that may upset people?",
    ]
    return "\n".join(lines)


def _missing(records: Sequence[EpisodeRecord]) -> str:
    lossy = sum(bool(record.facts.get("lossy")) for record in records)
    recovered = sum(bool(record.facts.get("recovered")) for record in records)
    return (
        f"In {lossy} episodes the recorder dropped messages, and {recovered} were recovered "
        "after a crash (episode columns `lossy`, `recovered`)."
    )


def _collection(records: Sequence[EpisodeRecord]) -> str:
    seeds = [r.provenance["seed"] for r in records if r.provenance.get("seed") is not None]
    lines = [
        "## Collection process",
        "",
        "Recorded from ROS 2 topics while the arm was driven by a policy, by a person, or by both "
        "in turn; every command went through a supervisor that holds the arm's limits.",
        "",
        f"- Sessions: {_list(_told(records, 'session'))}",
        f"- Software: {_list(_told(records, 'software'))}",
        f"- Robot files (sha256): {_list(_told(records, 'robot_sha256'))}",
        f"- Policies: {_list(_told(records, 'policies'))}",
        f"- Operators, by pseudonym: {_list(_told(records, 'operator'))}",
        f"- Sites: {_list(_told(records, 'site'))}",
        f"- Simulation: {len(seeds)} of {len(records)} episodes were simulated.",
        f"- {_TODO} Who were the operators, how were they trained and paid, and did they agree to "
        "this use of what they did?",
        f"- {_TODO} How were the scenes and tasks chosen?",
        f"- {_TODO} Was it reviewed by anybody, such as an ethics board or a works council?",
    ]
    return "\n".join(lines)


def _processing(rules: Mapping[str, str]) -> str:
    lines = [
        "## Preprocessing and labelling",
        "",
        "Made from the recordings by `levine record export`, which can be repeated:",
        "",
        *(f"- {name}: {text}" for name, text in rules.items()),
        f"- {_TODO} Are the recordings (MCAP) kept, and where?",
    ]
    return "\n".join(lines)


def _uses(kind: FormatName) -> str:
    reader = {
        "lerobot": 'LeRobotDataset("<name>", root="<this directory>")',
        "robomimic": "robomimic's SequenceDataset on dataset.hdf5",
        "rlds": 'tfds.builder_from_directory("<this directory>/1.0.0").as_dataset()',
    }[kind]
    return (
        "## Uses\n\n"
        f"Read it with `{reader}`. Actions are joint positions of one arm: they mean nothing on "
        "another.\n\n"
        f"- {_TODO} What has it been used for?\n"
        f"- {_TODO} What should it not be used for? It holds what people did at work; measuring "
        "their speed is monitoring them."
    )


def _distribution(records: Sequence[EpisodeRecord]) -> str:
    return (
        "## Distribution\n\n"
        f"- Licence, as recorded: {_list(_told(records, 'license'))}\n"
        f"- Consent, as recorded: {_list(_told(records, 'consent'))}\n"
        f"- {_TODO} To whom, how and under which licence is it given?\n"
        f"- {_TODO} Do contracts or export rules restrict it?"
    )


def _maintenance() -> str:
    return (
        "## Maintenance\n\n"
        f"- {_TODO} Who answers for it, and how are they reached?\n"
        f"- {_TODO} Will it be corrected or extended, and how can somebody have their part "
        "removed?"
    )


def _told(records: Sequence[EpisodeRecord], name: str) -> list[str]:
    """Different values that the recordings have for this, in order."""
    found: dict[str, None] = {}
    for record in records:
        value = record.provenance.get(name)
        values = value if isinstance(value, list) else [value]  # pyright: ignore
        found |= {str(v): None for v in values if v not in (None, "")}  # pyright: ignore
    return list(found)


def _list(values: Sequence[str]) -> str:
    return ", ".join(f"`{value}`" for value in values) or "not recorded"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
