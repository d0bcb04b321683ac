# SPDX-License-Identifier: Apache-2.0
"""`levine record show` of an episode: words, a plot, and pictures."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from levine_policy_node.cli.main import EXIT_OK, write_json
from levine_policy_node.cli.record_ls import remarks
from levine_policy_node.core import labels
from levine_policy_node.core.labels import Phase
from levine_policy_node.core.units import NS_PER_S
from levine_policy_node.errors import RecordingError
from levine_policy_node.runtime.episode_reader import read_episode
from levine_policy_node.runtime.episode_view import EpisodeView, view_of

_STRIP = 72
_SIGNS = {
    Phase.POLICY: "P",
    Phase.HUMAN: "H",
    Phase.PAUSED: ".",
    Phase.HANDOVER: "/",
    Phase.RESET: "R",
}
_NAMES = {
    Phase.POLICY: "policy",
    Phase.HUMAN: "person",
    Phase.PAUSED: "nobody",
    Phase.HANDOVER: "handover",
    Phase.RESET: "home motion",
}


def recording_in(path: Path) -> Path:
    """The recording that a user means who names an episode's directory.

    Raises:
        RecordingError: If there is none, or it was not closed.
    """
    if not path.is_dir():
        return path
    closed = path / f"{path.name}.mcap"
    if closed.exists():
        return closed
    if closed.with_name(f"{closed.name}.open").exists():
        raise RecordingError(f"{path}: was not closed. levine record recover {path} closes it")
    raise RecordingError(f"{path}: no episode in it. levine record ls {path} lists those below")


def show_episode(options: argparse.Namespace) -> int:
    """Print what an episode tells, and draw what was asked for."""
    view = view_of(read_episode(recording_in(options.file)))
    print(episode_words(view))
    if options.plot is not None:
        from levine_policy_node.cli.episode_plot import plot_episode

        print(f"\nplot: {plot_episode(view, options.plot)}")
    if options.thumbnails is not None:
        from levine_policy_node.cli.contact_sheet import contact_sheet

        print(f"\nthumbnails: {contact_sheet(view, options.thumbnails)}")
    write_json(options.json, _figures(view))
    return EXIT_OK


def episode_words(view: EpisodeView) -> str:
    """Everything an episode says about itself, as text."""
    parts = (_headline(view), _course(view), _losses(view), _asked(view), _topics(view))
    return "\n\n".join(text for part in parts if (text := "\n".join(part)))


def _known(view: EpisodeView) -> dict[str, Any]:
    return {**view.episode.metadata, **view.episode.document}


def _headline(view: EpisodeView) -> Iterator[str]:
    known, episode = _known(view), view.episode
    started = datetime.fromtimestamp(int(episode.start_ns) / NS_PER_S, timezone.utc)
    yield f"{episode.path}"
    yield (
        f"Episode {known.get('episode')} of session {known.get('session')}: "
        f"{started:%Y-%m-%d %H:%M:%S} UTC, {episode.duration_s:.1f} s"
    )
    yield f"  outcome   {_outcome(known)}"
    policy, robot = _part(known, "policy"), _part(known, "robot")
    named = ", ".join(known.get("policies") or []) or policy.get("name", "")
    for title, text in (
        ("task", known.get("task", "")),
        ("policy", f"{named} {_hash(policy)}"),
        ("robot", f"{robot.get('name', '')} {_hash(robot)}"),
        ("scene", "" if known.get("seed") is None else f"seed {known['seed']} of the simulation"),
        ("operator", known.get("operator", "")),
        ("site", known.get("site", "")),
        ("licence", known.get("licence", "") or "not stated"),
        ("consent", known.get("consent", "") or "not stated"),
        ("notes", known.get("notes", "")),
        ("software", known.get("software", "")),
        ("remarks", ", ".join(remarks(known))),
    ):
        if str(text).strip():
            yield f"  {title:9s} {text}"


def _part(known: dict[str, Any], name: str) -> dict[str, Any]:
    found = known.get(name)
    return found if isinstance(found, dict) else {"name": found or ""}


def _hash(part: dict[str, Any]) -> str:
    found = str(part.get("sha256", ""))
    return f"(sha256 {found[:16]}...)" if found else ""


def _outcome(known: dict[str, Any]) -> str:
    outcome = str(known.get("outcome", "unknown"))
    if outcome == "unknown":
        return "unknown: nobody has judged it"
    who = " ".join(str(known.get(k, "")) for k in ("outcome_source", "outcome_by")).strip()
    alone = ", without help" if known.get("autonomous_success") else ""
    return f"{outcome}{alone}, says {who}"


def _course(view: EpisodeView) -> Iterator[str]:
    count = len(view.phase)
    if not count:
        return
    seconds = view.seconds(view.commands.stamp_ns)
    edges = np.linspace(0, count, min(_STRIP, count) + 1).astype(int)
    strip = "".join(
        _SIGNS[Phase(int(np.bincount(view.phase[a:b]).argmax()))]
        for a, b in itertools.pairwise(edges)
    )
    yield f"Who had the arm, from {seconds[0]:.1f} s to {seconds[-1]:.1f} s"
    yield f"  {strip}"
    shares = np.bincount(view.phase, minlength=len(Phase)) / count * (seconds[-1] - seconds[0])
    yield "  " + ", ".join(
        f"{_SIGNS[phase]} {_NAMES[phase]} {shares[phase]:.1f} s"
        for phase in Phase
        if shares[phase] > 0.0
    )


def _losses(view: EpisodeView) -> Iterator[str]:
    if view.losses:
        yield "When the policy lost the arm"
    for loss in view.losses:
        onset_s = view.seconds(np.array([loss.onset_ns]))[0]
        drove = ""
        if loss.start_ns is not None:
            drove = f"; a person drove {(loss.end_ns - loss.start_ns) / NS_PER_S:.1f} s"
            drove += f", then {loss.then}" if loss.then else ", to the end"
        yield f"  {onset_s:7.2f} s  {loss.trigger.value}: {loss.reason}{drove}"


def _asked(view: EpisodeView) -> Iterator[str]:
    ticks = len(view.commands)
    if not ticks:
        return
    count = int(np.count_nonzero(view.altered))
    yield "What was asked for and what was sent"
    worst = int(np.argmax(view.deviation)) if len(view.joint_names) else 0
    most = f", at most {view.deviation[worst]:.3f} on {view.joint_names[worst]}" if count else ""
    yield f"  {count} of {ticks} commands were not what was asked for{most}"
    told = ", ".join(f"{name} {number}" for name, number in view.events.most_common())
    if told:
        yield f"  the supervisor said: {told}"
    human = view.phase == Phase.HUMAN
    if human.any():
        yield f"  {_shadowed(view)}"
    if view.rewards:
        total = sum(value for _, value in view.rewards)
        yield f"  rewards: {len(view.rewards)}, together {total:.3g}"


def _shadowed(view: EpisodeView) -> str:
    """How much of a person's time the policy's own proposal is known for."""
    ticks = view.commands.stamp_ns[view.phase == Phase.HUMAN]
    covered = np.zeros(len(ticks), dtype=bool)
    for chunk in view.episode.raw_chunks:
        rows = chunk.value
        begin = int(chunk.stamp_ns)
        end = begin + int(rows.times_s[-1] * NS_PER_S) if len(rows.times_s) else begin
        covered |= (ticks >= max(begin, int(chunk.log_ns))) & (ticks <= end)
    share = 100.0 * float(covered.mean())
    return f"what the policy would have done is known for {share:.0f} % of a person's time"


def _topics(view: EpisodeView) -> Iterator[str]:
    known = _known(view)
    duration_s = max(view.episode.duration_s, 1e-3)
    topics = known.get("topics") or {}
    dropped, lost = known.get("dropped") or {}, known.get("lost_in_transport") or {}
    yield f"Recorded: {known.get('messages')} messages, {int(known.get('bytes', 0)) / 1e6:.1f} MB"
    for name, topic in sorted(topics.items()):
        if not isinstance(topic, dict):
            continue
        count = int(topic["messages"])
        missing = int(dropped.get(name, 0)) + int(lost.get(name, 0))
        gone = f"  {missing} missing" if missing else ""
        yield f"  {count:7d}  {count / duration_s:6.1f} Hz  {name}{gone}"


def _figures(view: EpisodeView) -> dict[str, Any]:
    seconds = view.seconds(view.commands.stamp_ns)
    span_s = float(seconds[-1] - seconds[0]) if len(seconds) else 0.0
    shares = np.bincount(view.phase, minlength=len(Phase)) / max(len(view.phase), 1) * span_s
    return {
        "document": dict(view.episode.document),
        "duration_s": view.episode.duration_s,
        "phase_s": {phase.name.lower(): round(float(shares[phase]), 3) for phase in Phase},
        "commands": len(view.commands),
        "altered": int(np.count_nonzero(view.altered)),
        "interventions": int(np.count_nonzero([loss.corrected for loss in view.losses])),
        "intervention_samples": int(np.count_nonzero(labels.intervened(view.phase))),
        "events": dict(view.events),
        "reward": sum(value for _, value in view.rewards),
    }
