# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from bundle_factory import document, ramp_model, write_bundle

from levine_policy_node.core.replan_rule import ReplanOptions
from levine_policy_node.errors import BundleError
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.replan_choice import (
    ReplanChoice,
    describe,
    replan_options,
    replan_remarks,
)

MS = 1_000_000
ROBOT = load_robot("sim_so101")


@pytest.fixture
def bundle(tmp_path):
    def make(**chunk):
        write_bundle(tmp_path, document(chunk={"size": 8, "execute": 2, **chunk}), ramp_model())
        return load_bundle(tmp_path)

    return make


def test_unless_something_is_said_it_infers_every_executed_rows(bundle):
    made = replan_options(bundle(), ROBOT, ReplanChoice())
    assert (made.rule, made.period_ns) == ("every", 200 * MS)
    assert 0 < made.slack_ns < 40 * MS
    assert describe(made) == "inferring every 0.2 s"


def test_the_bundle_says_when_and_the_lab_may_say_otherwise(bundle):
    asked = bundle(replan="threshold", threshold_s=0.3)
    made = replan_options(asked, ROBOT, ReplanChoice())
    assert (made.rule, made.threshold_ns) == ("threshold", 300 * MS)
    assert describe(made) == "inferring with 0.3 s left to play"
    other = replan_options(asked, ROBOT, ReplanChoice("threshold", 0.5))
    assert other.threshold_ns == 500 * MS
    assert replan_options(asked, ROBOT, ReplanChoice("every")).rule == "every"
    at_once = replan_options(asked, ROBOT, ReplanChoice("at_once"))
    assert describe(at_once) == "inferring at once"


def test_a_threshold_that_nobody_gives_is_refused(bundle):
    with pytest.raises(BundleError, match="replan_threshold_s"):
        replan_options(bundle(), ROBOT, ReplanChoice("threshold"))


@pytest.mark.parametrize(
    ("chunk", "said"),
    [
        ({"replan": "threshold"}, "belong together"),
        ({"threshold_s": 0.2}, "belong together"),
        ({"replan": "threshold", "threshold_s": 0.8}, "must be below the 0.8 s"),
        ({"replan": "threshold", "threshold_s": -1.0}, "greater than 0"),
        ({"replan": "often"}, "'every', 'at_once' or 'threshold'"),
    ],
)
def test_what_cannot_be_meant_is_refused(bundle, chunk, said):
    with pytest.raises(BundleError) as caught:
        bundle(**chunk)
    assert said in str(caught.value)


def test_a_long_wait_between_inferences_is_told(bundle):
    every = ReplanOptions("every", 200 * MS)
    assert replan_remarks(bundle(), every) == ()
    long = ReplanOptions("threshold", 200 * MS, 0, 300 * MS)
    assert "up to 0.5 s" in replan_remarks(bundle(), long)[0]
    assert replan_remarks(bundle(), ReplanOptions("at_once")) == ()


def test_only_every_needs_a_camera_as_fast_as_its_period(bundle):
    fast = bundle(execute=1).document.model_copy(update={"rate": 100.0})
    # 10 ms between observations, and cameras of 15 Hz.
    assert fast.chunk.replan == "every"
    asked = bundle(execute=1, replan="at_once")
    asked.check_robot(ROBOT)
