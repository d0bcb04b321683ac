# SPDX-License-Identifier: Apache-2.0
"""Which merge is used: the bundle decides, the lab overrides, and a useless choice is said."""

import pytest
from pydantic import ValidationError

from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.chunk_schema import ChunkSpec
from levine_policy_node.runtime.merge_choice import MergeChoice, merge_options, merge_remarks

ROBOT = load_robot("sim_so101")


def options(choice=None, **spec):
    return merge_options(ChunkSpec(size=50, **spec), ROBOT, choice or MergeChoice())


def test_a_chunk_blends_and_is_smoothed_unless_the_bundle_says_otherwise():
    assert options().rule == "blend"
    assert options().smoothing_s == 0.06
    assert options(ensemble=0.1).rule == "ensemble"
    assert options(ensemble=0.1).ensemble_k == 0.1
    assert options(merge="replace").rule == "replace"
    assert options(smoothing=0.0).smoothing_s == 0.0


def test_the_lab_overrides_the_bundle():
    choice = MergeChoice(rule="replace", smoothing_s=0.0)
    assert options(choice, ensemble=0.1, smoothing=0.1).rule == "replace"
    assert options(choice, ensemble=0.1, smoothing=0.1).smoothing_s == 0.0


def test_grippers_switch():
    assert options().discrete == ("gripper",)


def test_an_ensemble_of_one_is_said_aloud():
    for execute, said in ((50, True), (26, True), (25, False), (1, False)):
        spec = ChunkSpec(size=50, execute=execute, ensemble=0.01)
        remarks = merge_remarks(spec, merge_options(spec, ROBOT, MergeChoice()), 50.0)
        assert bool(remarks) == said
    assert merge_remarks(ChunkSpec(size=50, execute=50), options(), 50.0) == ()


def test_a_coefficient_that_nothing_uses_is_refused():
    with pytest.raises(ValidationError, match="does not use the coefficient"):
        ChunkSpec(size=10, merge="blend", ensemble=0.01)


@pytest.mark.parametrize(
    ("spec", "rate", "said"),
    [
        (ChunkSpec(), 50.0, True),  # due 20 ms after the observation, heard of 60 ms after it
        (ChunkSpec(hold=0.2), 50.0, False),
        (ChunkSpec(size=4), 50.0, False),
        (ChunkSpec(size=4, start=3), 50.0, True),
        (ChunkSpec(), 10.0, False),
    ],
)
def test_a_target_that_is_due_before_it_arrives_is_said_aloud(spec, rate, said):
    remarks = merge_remarks(spec, merge_options(spec, ROBOT, MergeChoice()), rate)
    assert any("chunk.hold" in remark for remark in remarks) == said


@pytest.mark.parametrize("other", [{"ensemble": 0.01}, {"merge": "ensemble"}, {"merge": "rtc"}])
def test_a_target_that_only_stands_is_no_prediction(other):
    with pytest.raises(ValidationError, match="hold is for policies"):
        ChunkSpec(size=4, hold=0.2, **other)
