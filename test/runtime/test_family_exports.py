# SPDX-License-Identifier: Apache-2.0
"""Every export of `examples/export` answers as its family's own code does."""

from __future__ import annotations

import numpy as np
import pytest

from levine_policy_node.bench.families import FAMILIES, FamilyRow, Scope, family_names
from levine_policy_node.bench.family_parity import compare, in_process
from levine_policy_node.bench.family_recording import Answer, read_recording, robot_of
from levine_policy_node.errors import ConfigError, UnknownNameError
from levine_policy_node.resources import share_directory
from levine_policy_node.runtime.bundle import load_bundle

ROOT = share_directory() / "examples" / "export"
MOST_BYTES = 300_000


def made() -> list[str]:
    return sorted(path.stem for path in (ROOT / "parity").glob("*.npz"))


@pytest.mark.parametrize("family", made())
def test_an_export_answers_as_its_own_code(family):
    bundle = load_bundle(ROOT / "bundles" / family)
    recording = read_recording(ROOT / "parity" / f"{family}.npz")
    robot = robot_of(bundle, recording)
    assert len(recording) >= 4
    assert recording.tolerance <= 1e-5
    parity = compare(recording, in_process(recording, bundle, robot), robot)
    assert parity.max_abs <= recording.tolerance
    size = sum(path.stat().st_size for path in bundle.path.iterdir())
    assert size < MOST_BYTES


def test_every_family_is_asked_for_and_unknown_ones_are_refused():
    assert family_names(Scope(ROOT))[: len(FAMILIES)] == FAMILIES
    assert family_names(Scope(ROOT, ("bc",))) == ("bc",)
    with pytest.raises(UnknownNameError, match="perceptron"):
        family_names(Scope(ROOT, ("perceptron",)))


def test_a_difference_a_missing_row_and_a_missing_answer_show():
    recording = read_recording(ROOT / "parity" / "bc.npz")
    robot = robot_of(load_bundle(ROOT / "bundles" / "bc"), recording)
    answers = list(recording.actions)
    assert compare(recording, answers, robot).max_abs == 0.0
    off = answers[2].rows.copy()
    off[3, 1] += 0.01
    answers[2] = Answer(answers[2].names, off)
    assert compare(recording, answers, robot).max_abs == pytest.approx(0.01)
    backwards = Answer(answers[0].names[::-1], np.fliplr(answers[0].rows))
    assert compare(recording, [backwards, *recording.actions[1:]], robot).max_abs == 0.0
    short = Answer(answers[0].names, answers[0].rows[:2])
    with pytest.raises(ValueError, match="rows"):
        compare(recording, [short, *answers[1:]], robot)
    with pytest.raises(ValueError, match="answers to"):
        compare(recording, answers[:-1], robot)


def test_a_row_is_good_only_if_nothing_is_missing_or_lost():
    good = FamilyRow("bc", "r", 1e-6, 1e-5, closed_loop=True, success=0.95, success_direct=1.0)
    assert good.good
    assert not FamilyRow("bc", "r", 2e-5, 1e-5).good
    assert not FamilyRow("bc", error="is no recording").good
    lost = FamilyRow("bc", "r", 1e-6, 1e-5, closed_loop=True, success=0.9, success_direct=1.0)
    assert not lost.good


def test_a_file_that_is_no_recording_is_refused(tmp_path):
    (tmp_path / "bc.npz").write_bytes(b"no zip")
    with pytest.raises(ConfigError, match="no recording"):
        read_recording(tmp_path / "bc.npz")
    np.savez(tmp_path / "half.npz", joint_names=np.array(["a"]))
    with pytest.raises(ConfigError, match="no recording"):
        read_recording(tmp_path / "half.npz")
