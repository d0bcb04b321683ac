# SPDX-License-Identifier: Apache-2.0
"""Labels of samples: the published rules on small cases, and what holds for any episode."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core import labels
from levine_policy_node.core.labels import ControlSource, Phase, Verdict

STEP_NS = 50_000_000  # 20 Hz
P, H, Z, X, R = Phase.POLICY, Phase.HUMAN, Phase.PAUSED, Phase.HANDOVER, Phase.RESET


def times(count: int):
    return np.arange(count, dtype=np.int64) * STEP_NS


def phase(*parts):
    return np.array([int(p) for part in parts for p in part], dtype=np.int64)


episodes = st.lists(st.sampled_from(list(Phase)), max_size=60).map(phase)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("policy:pick@0123abcd#1", ControlSource.POLICY),
        ("operator:leader", ControlSource.HUMAN),
        ("operator:gamepad#relative", ControlSource.HUMAN),
        ("operator:home", ControlSource.HOME),
        ("hold", ControlSource.HOLD),
        ("stop", ControlSource.STOP),
        ("", ControlSource.NONE),
    ],
)
def test_source_tags_say_who_commands(tag, expected):
    assert labels.control_source(tag) is expected


def test_the_newest_stamp_that_is_not_later():
    stamps = np.array([10, 20, 20, 30])
    assert labels.newest_before(np.array([9, 10, 19, 20, 99]), stamps).tolist() == [-1, 0, 0, 2, 3]


def test_a_takeover_and_a_handback_begin_with_a_handover():
    modes = ["ARMED"] * 2 + ["POLICY"] * 4 + ["HUMAN"] * 4 + ["POLICY"] * 3 + ["STOPPING"] * 2
    sources = [ControlSource.HOLD] * 3 + [ControlSource.POLICY] * 2 + [ControlSource.HOLD]
    sources += [ControlSource.POLICY] + [ControlSource.HUMAN] * 3
    sources += [ControlSource.HUMAN] + [ControlSource.POLICY] * 2 + [ControlSource.STOP] * 2
    found = labels.phases(modes, np.array(sources))
    # That it holds after it has acted means it starves: still the policy's time.
    assert found.tolist() == [Z, Z, X, P, P, P, X, H, H, H, X, P, P, Z, Z]
    assert labels.intervened(found).tolist() == [False] * 7 + [True] * 3 + [False] * 5
    assert labels.evo_rl_states(found).tolist() == [0, 0, 2, 0, 0, 0, 2, 1, 1, 1, 2, 0, 0, 0, 0]


def test_the_home_motion_is_no_intervention():
    modes = ["POLICY"] * 2 + ["HUMAN"] * 3
    sources = [ControlSource.POLICY] * 2 + [ControlSource.HOME] * 2 + [ControlSource.HOLD]
    found = labels.phases(modes, np.array(sources))
    assert found.tolist() == [P, P, R, R, R]
    assert not labels.intervened(found).any()


def test_what_is_driven_before_a_policy_acts_is_a_demonstration():
    found = phase([H] * 3, [P] * 2, [H])
    assert labels.demonstrated(found).tolist() == [True] * 3 + [False] * 3
    assert labels.sirius_labels(times(6), found).tolist() == [-1, -1, -1, -10, -10, 1]


def test_the_window_of_sirius_is_15_steps_of_20_hz():
    found = phase([P] * 30, [X], [H] * 5, [P] * 4, [H] * 2)
    label = labels.sirius_labels(times(len(found)), found)
    assert label[:15].tolist() == [0] * 15
    assert label[15:30].tolist() == [-10] * 15
    assert label[30] == 0  # a handover is neither
    assert label[31:36].tolist() == [1] * 5
    assert label[36:40].tolist() == [-10] * 4  # as far as the intervention before
    assert labels.sirius_weights(label)[[0, 15, 31]].tolist() == [1.0, 0.1, 10.0]


def test_after_a_stop_the_window_lies_before_the_stop():
    found = phase([P] * 20, [Z] * 100, [H] * 5)
    label = labels.sirius_labels(times(len(found)), found)
    assert np.flatnonzero(label == labels.SIRIUS_BEFORE).tolist() == list(range(5, 20))
    assert np.flatnonzero(labels.rlif_rewards(found)).tolist() == [19]


def test_a_person_who_pauses_and_goes_on_is_blamed_on_the_policy_once():
    found = phase([P] * 5, [H] * 2, [Z] * 2, [H] * 2)
    assert np.flatnonzero(labels.rlif_rewards(found)).tolist() == [4]


@given(episodes, st.floats(0.0, 2.0))
def test_rules_agree_with_each_other(found, window_s):
    label = labels.sirius_labels(times(len(found)), found, window_s)
    is_intervention = labels.intervened(found)
    assert np.array_equal(label == labels.SIRIUS_INTERVENTION, is_intervention)
    before = label == labels.SIRIUS_BEFORE
    assert (found[before] == Phase.POLICY).all()
    # Whoever gets the reward of RLIF ends a window; every window has one.
    blamed = labels.rlif_rewards(found) == -1.0
    assert (found[blamed] == Phase.POLICY).all()
    assert blamed.sum() <= is_intervention.sum()
    if window_s > 1e-6:
        assert (label[blamed] == labels.SIRIUS_BEFORE).all()
        assert before.any() == blamed.any()
    assert not (labels.demonstrated(found) & is_intervention).any()
    if not (found == Phase.POLICY).any():
        assert not is_intervention.any()


@given(episodes)
def test_interventions_weigh_half_with_iwr(found):
    is_intervention = labels.intervened(found)
    weights = labels.iwr_weights(is_intervention)
    assert (weights > 0).all()
    if is_intervention.any():
        assert np.isclose(weights[is_intervention].sum(), weights[~is_intervention].sum())


@given(
    st.lists(st.sampled_from(["POLICY", "HUMAN", "PAUSED", "STOPPING"]), max_size=30),
    st.randoms(use_true_random=False),
)
def test_phases_never_contradict_the_mode(modes, random):
    sources = np.array([random.choice(list(ControlSource)) for _ in modes], dtype=np.int64)
    found = labels.phases(modes, sources)
    assert len(found) == len(modes)
    for mode, source, now in zip(modes, sources, found, strict=True):
        if mode in {"PAUSED", "STOPPING"}:
            assert now == Phase.PAUSED
        if source == ControlSource.HUMAN and mode == "HUMAN":
            assert now == Phase.HUMAN
        assert (now == Phase.POLICY) <= (mode == "POLICY")
        assert (now == Phase.RESET) <= (mode == "HUMAN")


def test_a_verdict_holds_until_the_next_chunk():
    at = np.array([0, 10, 20, 30, 40])
    flags = labels.verdict_flags(
        at,
        np.array([10, 12, 35]),
        np.array([Verdict.SLOWED, Verdict.CUT, Verdict.REFUSED]),
        np.array([5, 30]),
    )
    assert flags.tolist() == [0, 2, 6, 0, 8]


def test_what_is_not_known_is_not_altered():
    asked = np.array([[0.0, 1.0], [0.0, 1.0], [np.nan, 1.0]])
    sent = np.array([[0.0, 1.0], [0.2, 1.0], [9.9, 1.0]])
    assert labels.altered(asked, sent, 0.1).tolist() == [False, True, False]
