# SPDX-License-Identifier: Apache-2.0
"""Bring a data set up to date with recordings: what is there stays, what is new is added.

The next version is made beside the old one, in `<out>.partial`, and takes its place when it is
whole. An interrupted run leaves finished episodes there, and the next run goes on with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import yaml

from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.episode_files import write_text
from levine_policy_node.runtime.export.export_episode import ExportEpisode
from levine_policy_node.runtime.export.export_files import (
    files_below,
    put_in_place,
    reserved,
    settle,
    sha256_of,
)
from levine_policy_node.runtime.export.format_writer import EpisodeRecord, FormatWriter, Place
from levine_policy_node.runtime.export.record_log import (
    RECORDS,
    SIDECAR,
    append_record,
    read_records,
    write_records,
)

CONTRACT = SIDECAR / "contract.yaml"
MANIFEST = SIDECAR / "sha256sums.txt"


@dataclass(frozen=True, slots=True)
class Source:
    """One recording.

    Attributes:
        name: `<session>/<episode>`.
        key: Hash of all that its part of the data set depends on.
        provenance: What the recording says about itself.
        load: Reads it; text says why it has no place in a data set.
    """

    name: str
    key: str
    provenance: Mapping[str, Any]
    load: Callable[[], ExportEpisode | str]


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one recording: `added`, `kept` or `left out`, and why."""

    source: str
    state: str
    number: int
    of: int
    frames: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What is in the data set now.

    Attributes:
        out: Where it is.
        episodes: Number of episodes.
        frames: Number of frames.
        added: Episodes written by this run.
        left_out: Why recordings have no part, by name.
    """

    out: Path
    episodes: int
    frames: int
    added: int
    left_out: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """What is to be made.

    Attributes:
        out: Directory of the data set.
        contract: What all of its episodes share; a data set keeps the one it was begun with.
        sources: The recordings.
        writer: Makes the writer of the format for a folder.
        describe: Writes what is for people into a folder that is otherwise complete.
    """

    out: Path
    contract: Mapping[str, Any]
    sources: Sequence[Source]
    writer: Callable[[Path], FormatWriter]
    describe: Callable[[Path, Sequence[EpisodeRecord]], None]


def run_export(plan: ExportPlan, tell: Callable[[Step], None]) -> ExportReport:
    """Make or extend a data set; `tell` hears of every recording.

    Raises:
        RecordingError: If `out` holds something else, or a file cannot be read or written.
    """
    with reserved(plan.out) as partial:
        settle(plan.out)
        old = _records_of(plan)
        _begin(partial, plan.contract)
        job = _Job(plan, partial, old, tell)
        records = job.collect()
        if old and [_lasting(record) for record in records] == [_lasting(r) for r in old]:
            rmtree(partial)
        elif not records:
            rmtree(partial)
            reasons = "; ".join(f"{name}: {why}" for name, why in job.left_out.items())
            raise RecordingError(f"nothing to export ({reasons or 'no episodes given'})")
        else:
            _complete(plan, partial, records)
            put_in_place(partial, plan.out)
    frames = sum(record.frames for record in records)
    return ExportReport(plan.out, len(records), frames, job.added, job.left_out)


def _lasting(record: EpisodeRecord) -> EpisodeRecord:
    """All of a record but where its files are, which some formats change at the end."""
    return replace(record, files={})


def _records_of(plan: ExportPlan) -> list[EpisodeRecord]:
    """The episodes that `out` has."""
    if not plan.out.exists() or not any(plan.out.iterdir()):
        return []
    if not (plan.out / CONTRACT).exists():
        raise RecordingError(f"{plan.out}: not a data set of this program. Choose another --out")
    held = _contract(plan.out)
    # The rules say in words what the other entries say.
    different = [
        name
        for name, value in plan.contract.items()
        if name != "rules" and held.get(name) != value
    ]
    if different:
        found = ", ".join(f"{name} is {held.get(name)}" for name in different)
        wanted = ", ".join(f"{name} {plan.contract[name]}" for name in different)
        raise RecordingError(
            f"{plan.out}: {found}, not {wanted}. Use what it was begun with or another --out"
        )
    return read_records(plan.out)


def _contract(folder: Path) -> dict[str, Any]:
    text = (folder / CONTRACT).read_text(encoding="utf-8")
    found: object = yaml.safe_load(text)
    return dict(found) if isinstance(found, dict) else {}  # pyright: ignore


def _begin(partial: Path, contract: Mapping[str, Any]) -> None:
    """Forget what a run with other settings left."""
    if (partial / CONTRACT).exists() and _contract(partial) == dict(contract):
        return
    for path in partial.iterdir():
        rmtree(path) if path.is_dir() else path.unlink()
    (partial / SIDECAR).mkdir(parents=True)
    write_text(partial / CONTRACT, yaml.safe_dump(dict(contract), sort_keys=False))


class _Job:
    """The episodes of the next version, one after the other."""

    def __init__(
        self,
        plan: ExportPlan,
        partial: Path,
        old: Sequence[EpisodeRecord],
        tell: Callable[[Step], None],
    ) -> None:
        self.added = 0
        self.left_out: dict[str, str] = {}
        self._plan = plan
        self._partial = partial
        self._old = {record.source: record for record in old}
        self._done = {record.source: record for record in read_records(partial)}
        self._tell = tell
        self._writer = plan.writer(partial)
        self._records: list[EpisodeRecord] = []

    def collect(self) -> list[EpisodeRecord]:
        """Take over or write every episode, those that were there before first."""
        given = {source.name: source for source in self._plan.sources}
        names = list(dict.fromkeys([*self._old, *given]))
        for number, name in enumerate(names, 1):
            state, why = self._take(name, given.get(name))
            frames = self._records[-1].frames if state != "left out" else 0
            self._tell(Step(name, state, number, len(names), frames, why))
        return self._records

    def _take(self, name: str, source: Source | None) -> tuple[str, str]:
        for held, is_old in ((self._done, False), (self._old, True)):
            record = held.get(name)
            if record is None or not self._fits(record, source):
                continue
            if is_old:
                record = self._reused(record)
            elif not all((self._partial / file).exists() for file in record.files):
                continue
            self._records.append(record)
            return "kept", ""
        if source is None:
            raise RecordingError(
                f"{name}: is part of {self._plan.out} and must be written again, because an "
                "episode before it has changed. Give its recording, too, or another --out"
            )
        episode = _loaded(source)
        why = episode if isinstance(episode, str) else self._misfit(episode)
        if isinstance(episode, str) or why:
            self.left_out[name] = why
            return "left out", why
        self._add(source, episode)
        return "added", ""

    def _misfit(self, episode: ExportEpisode) -> str:
        """Why it cannot stand beside the others, or ""."""
        if not self._records:
            return ""
        held = self._records[0].layout
        for kind, found in episode.layout.items():
            odd = [n for n in {**held[kind], **found} if held[kind].get(n) != found.get(n)]
            if odd:
                name = odd[0]
                return f"{kind} {name}: {found.get(name)}, others have {held[kind].get(name)}"
        return ""

    def _reused(self, record: EpisodeRecord) -> EpisodeRecord:
        files = self._writer.reuse(self._plan.out, record)
        hashes = {f: record.files.get(f) or sha256_of(self._partial / f) for f in files}
        reused = replace(record, files=hashes)
        append_record(self._partial, reused)
        return reused

    def _place(self, task: str) -> Place:
        tasks = list(dict.fromkeys([*(record.task for record in self._records), task]))
        first_frame = sum(record.frames for record in self._records)
        return Place(len(self._records), first_frame, tasks.index(task))

    def _fits(self, record: EpisodeRecord, source: Source | None) -> bool:
        place = self._place(record.task)
        same_place = (record.index, record.first_frame, record.task_index) == (
            place.index,
            place.first_frame,
            place.task_index,
        )
        return same_place and (source is None or source.key == record.key)

    def _add(self, source: Source, episode: ExportEpisode) -> None:
        place = self._place(episode.task)
        try:
            written = self._writer.add(place, episode)
        except OSError as error:
            raise RecordingError(f"{self._partial}: cannot be written ({error})") from error
        record = EpisodeRecord(
            source=source.name,
            key=source.key,
            index=place.index,
            first_frame=place.first_frame,
            task_index=place.task_index,
            task=episode.task,
            frames=episode.length,
            outcome=episode.outcome,
            success=episode.success,
            layout=episode.layout,
            files={file: sha256_of(self._partial / file) for file in written.files},
            written=dict(written.remember),
            facts=dict(episode.facts),
            interventions=[asdict(part) for part in episode.interventions],
            provenance=dict(source.provenance),
        )
        append_record(self._partial, record)
        self._records.append(record)
        self.added += 1


def _loaded(source: Source) -> ExportEpisode | str:
    """The episode, or why it has no place: one damaged recording does not stop the others."""
    try:
        return source.load()
    except RecordingError as error:
        return str(error)


def _complete(plan: ExportPlan, partial: Path, records: Sequence[EpisodeRecord]) -> None:
    """Write what is about all episodes, and remove what belongs to none."""
    wanted = {file for record in records for file in record.files} | {str(CONTRACT), str(RECORDS)}
    for name in files_below(partial):
        if name not in wanted:
            (partial / name).unlink()
    plan.writer(partial).finish(records)
    present = set(files_below(partial))
    final = [
        replace(record, files={f: h for f, h in record.files.items() if f in present})
        for record in records
    ]
    write_records(partial, final)
    plan.describe(partial, final)
    known = {file: digest for record in final for file, digest in record.files.items()}
    lines = [
        f"{known.get(name) or sha256_of(partial / name)}  {name}\n"
        for name in files_below(partial)
        if name != str(MANIFEST)
    ]
    write_text(partial / MANIFEST, "".join(lines))
