# SPDX-License-Identifier: Apache-2.0
"""From recorded messages to published chunks, as the family's own code answers.

One family is told a place and has no camera; the other sees frames, has a task and remembers.
"""

from __future__ import annotations

import pytest
from harness import isolated_domain

from levine_policy_node.bench.family_parity import compare
from levine_policy_node.bench.family_playback import through_ros
from levine_policy_node.bench.family_recording import read_recording, robot_of
from levine_policy_node.resources import share_directory
from levine_policy_node.runtime.bundle import load_bundle

ROOT = share_directory() / "examples" / "export"


@pytest.mark.parametrize("family", ["bc", "rt1"])
def test_messages_in_and_chunks_out_as_the_own_code_answers(family):
    bundle = load_bundle(ROOT / "bundles" / family)
    recording = read_recording(ROOT / "parity" / f"{family}.npz")
    robot = robot_of(bundle, recording)
    with isolated_domain():
        answers = through_ros(recording, bundle, robot)
    assert compare(recording, answers, robot).max_abs <= recording.tolerance
