# SPDX-License-Identifier: Apache-2.0
"""Episodes: when they open and close, what marks and modes do to them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core.episode import Episode, Provenance, policy_of_tag, trigger_of
from levine_policy_node.core.handovers import ModeChange, Trigger
from levine_policy_node.core.units import StampNs

MODES = (
    "INIT DISARMED ARMED POLICY HUMAN STOPPING PAUSED PSTOP FAULT ESTOP".split()  # noqa: SIM905
)
PROVENANCE = Provenance(
    session="s", robot="sim_so101", robot_sha256="ab" * 32, policy="pick", seed=7, task="pick"
)


def episode() -> Episode:
    return Episode(index=3, provenance=PROVENANCE, start_ns=StampNs(1_000_000_000))


@pytest.mark.parametrize(
    ("previous", "mode", "is_open", "expected"),
    [
        ("ARMED", "POLICY", False, "start"),
        ("PAUSED", "POLICY", False, "start"),
        ("ARMED", "HUMAN", False, "start"),
        (None, "POLICY", False, "start"),
        ("DISARMED", "POLICY", False, "start"),
        ("POLICY", "HUMAN", False, None),
        ("STOPPING", "PAUSED", False, None),
        ("DISARMED", "ARMED", False, None),
        ("PAUSED", "POLICY", True, None),
        ("POLICY", "STOPPING", True, None),
        ("STOPPING", "FAULT", True, None),
        ("PAUSED", "DISARMED", True, "end"),
        ("FAULT", "DISARMED", True, "end"),
        (None, "DISARMED", False, None),
    ],
)
def test_modes_open_and_close_episodes(previous, mode, is_open, expected):
    assert trigger_of(previous, mode, is_open=is_open) == expected


@given(st.lists(st.sampled_from(MODES), max_size=40))
def test_any_sequence_of_modes_opens_and_closes_in_turn(modes):
    previous, is_open = None, False
    for mode in modes:
        trigger = trigger_of(previous, mode, is_open=is_open)
        assert trigger != ("start" if is_open else "end")
        if trigger is not None:
            is_open = trigger == "start"
        # Rest is never recorded as a new episode, and no episode outlives DISARMED.
        assert not (is_open and mode == "DISARMED")
        previous = mode


def test_the_newest_instruction_holds():
    told = episode().instructed("pick").instructed("place").document()
    assert told["task"] == "place"


def followed(*modes: str) -> Episode:
    seen = episode()
    for i, mode in enumerate(modes):
        seen = seen.entered(mode, StampNs(2_000_000_000 + i))
    return seen


def test_takeovers_are_counted():
    assert len(followed("POLICY", "HUMAN", "POLICY", "HUMAN").interventions) == 2
    # What a person drives before a policy has acted is a demonstration.
    assert followed("HUMAN", "PAUSED").interventions == ()


def test_what_the_supervisor_explains_is_believed_before_its_modes():
    told = [
        ModeChange(3_000_000_000, "HUMAN", "operator: home", Trigger.HUMAN),
        ModeChange(4_000_000_000, "STOPPING", "the motion is finished"),
    ]
    homed = followed("POLICY", "HUMAN").explained(told)
    assert homed.interventions == ()
    assert not homed.helped
    [loss] = homed.document()["policy_lost_the_arm"]
    assert (loss["trigger"], loss["human_from_ns"]) == ("human", None)


@pytest.mark.parametrize("mode", ["PSTOP", "FAULT", "ESTOP"])
def test_a_latch_aborts_an_episode_nobody_judged(mode):
    aborted = episode().entered(mode, StampNs(5))
    assert (aborted.outcome, aborted.outcome_source, aborted.outcome_ns) == (
        "aborted",
        f"mode {mode}",
        5,
    )


def test_a_latch_does_not_overrule_a_judgement():
    judged = episode().marked("success", "operator", StampNs(5)).entered("ESTOP", StampNs(6))
    assert (judged.outcome, judged.outcome_ns) == ("success", 5)


def test_the_newest_judgement_holds():
    judged = episode().marked("success", "operator", StampNs(5))
    assert judged.marked("failure", "operator", StampNs(6)).outcome == "failure"


def test_a_success_with_help_is_not_autonomous():
    alone = episode().marked("success", "operator", StampNs(5))
    assert alone.document()["autonomous_success"] is True
    assert alone.entered("HUMAN", StampNs(6)).document()["autonomous_success"] is False


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("policy:so101_pick_place@0123abcd#4", "so101_pick_place@0123abcd"),
        ("policy:a@b@0123abcd", "a@b@0123abcd"),
        ("operator:leader", None),
        ("hold", None),
        ("policy:", None),
        ("policy:x@nothex!!#1", None),
        ("", None),
    ],
)
def test_source_tags(tag, expected):
    assert policy_of_tag(tag) == expected


def test_each_policy_is_noted_once_in_order():
    seen = episode()
    for tag in ("policy:a@00000000#1", "hold", "policy:b@11111111#2", "policy:a@00000000#3"):
        seen = seen.proposed_by(tag)
    assert seen.policies == ("a@00000000", "b@11111111")


def test_the_document_is_plain_and_complete():
    ended = episode().set_aside().ended(StampNs(3_500_000_000))
    document = json.loads(json.dumps(ended.document()))
    assert ended.name == "ep_000003"
    assert document["duration_s"] == 2.5
    assert document["discarded"] is True
    assert document["policy"] == {"name": "pick", "sha256": ""}
    assert document["robot"] == {"name": "sim_so101", "sha256": "ab" * 32}
    assert (document["seed"], document["task"], document["outcome"]) == (7, "pick", "unknown")
