# SPDX-License-Identifier: Apache-2.0
"""Policies that are told a place for the hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bundle_factory import JOINTS
from echo_bundle import write_echo
from onnx import TensorProto

from levine_policy_node.core.observation import Goal, Observation
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import BundleError, ObservationError
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.onnx_policy import OnnxPolicy

PLACE = {"kind": "command/body/position", "frame": "base_link"}
STATE = {"kind": "state/joint/position", "names": list(JOINTS)}
SEEN = Observation(StampNs(0), np.arange(6) / 10.0)
THERE = Goal("base_link", np.array([0.2, -0.1, 0.15]))


@pytest.fixture
def make(tmp_path):
    made = []

    def policy(observations, shapes):
        inputs = {name: (shape, TensorProto.FLOAT) for name, shape in shapes.items()}
        directory = write_echo(tmp_path / f"bundle{len(made)}", observations, inputs)
        made.append(OnnxPolicy(load_bundle(directory), load_robot("sim_so101")))
        return made[-1]

    yield policy
    for policy_made in made:
        policy_made.close()


def echoed(policy: OnnxPolicy, observation: Observation) -> np.ndarray:
    return policy.infer(observation).positions.ravel()


def test_a_place_is_an_input_of_its_own_or_stands_among_others(make):
    alone = make({"goal": PLACE}, {"goal": [1, 3]})
    np.testing.assert_allclose(echoed(alone, replace(SEEN, goal=THERE))[:3], THERE.position)
    both = make({"obs": {"terms": [STATE, PLACE]}}, {"obs": [1, 9]})
    seen = echoed(both, replace(SEEN, goal=THERE))[:9]
    np.testing.assert_allclose(seen, [*SEEN.joint_positions, *THERE.position])


def test_without_a_place_or_in_another_frame_there_is_no_chunk(make):
    policy = make({"goal": PLACE}, {"goal": [1, 3]})
    with pytest.raises(ObservationError, match="waits for a goal"):
        policy.infer(SEEN)
    with pytest.raises(ObservationError, match=r"in frame 'world'.*takes it in 'base_link'"):
        policy.infer(replace(SEEN, goal=Goal("world", THERE.position)))


def test_the_past_is_seen_with_the_goal_it_was_for(make):
    spec = {**PLACE, "history": {"steps": 3}}
    policy = make({"goal": spec}, {"goal": [1, 3, 3]})
    goals = [Goal("base_link", np.full(3, value)) for value in (0.1, 0.2, 0.3)]
    period_ns = round(1e9 / policy.bundle.document.rate)
    for step, goal in enumerate(goals):
        stamp_ns = StampNs(step * period_ns)
        seen = echoed(policy, replace(SEEN, stamp_ns=stamp_ns, goal=goal))
    np.testing.assert_allclose(seen[:9].reshape(3, 3)[:, 0], [0.1, 0.2, 0.3])


def test_what_only_streams_remember_has_the_present_goal(make):
    spec = {"terms": [STATE, PLACE], "history": {"steps": 2}}
    policy = make({"obs": spec}, {"obs": [1, 2, 9]})
    period_ns = round(1e9 / policy.bundle.document.rate)
    policy.infer(replace(SEEN, goal=THERE))
    between = Observation(StampNs(3 * period_ns), np.full(6, 0.4))
    now = replace(SEEN, stamp_ns=StampNs(4 * period_ns), goal=THERE, past=(between,))
    rows = echoed(policy, now)[:18].reshape(2, 9)
    np.testing.assert_allclose(rows[0], [*between.joint_positions, *THERE.position])


def test_a_place_needs_a_frame(make):
    with pytest.raises(BundleError, match="frame"):
        make({"goal": {"kind": "command/body/position"}}, {"goal": [1, 3]})
