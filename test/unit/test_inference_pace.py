# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from levine_policy_node.core.inference_pace import InferencePace


def pace(took_s, left_s, count=6):
    made = InferencePace()
    for _ in range(count):
        made.add(took_s, left_s)
    return made


def test_starving_says_figures():
    text = pace(0.42, 0.3).starved(2)
    assert "2 times in 6 chunks" in text
    assert "takes 0.42 s" in text
    assert "0.30 s of a chunk are left" in text
    assert "brakes to rest" in text


def test_starving_before_any_chunk_says_what_is_known():
    assert "1 time in 0 chunks" in InferencePace().starved(1)


def test_an_inference_that_cannot_keep_up_is_told_once():
    made = pace(0.42, 0.3)
    assert "cannot keep up" in made.hopeless()
    made.add(0.5, 0.3)
    assert made.hopeless() == ""


def test_one_slow_inference_is_no_reason():
    assert pace(0.42, 0.3, count=3).hopeless() == ""
    made = pace(0.1, 0.5)
    made.add(2.0, 0.0)
    assert made.hopeless() == ""
