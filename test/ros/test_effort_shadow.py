# SPDX-License-Identifier: Apache-2.0
"""A policy of efforts in shadow: it runs, and never agrees enough to take over in motion."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from levine_policy_node.core.alignment import AlignmentLimits
from levine_policy_node.core.effort_placement import EffortPlacer
from levine_policy_node.core.frame_store import FrameStore
from levine_policy_node.core.observation import Observation
from levine_policy_node.core.output_watch import OutputWatch
from levine_policy_node.core.replan_rule import ReplanOptions
from levine_policy_node.core.replanner import Replanner
from levine_policy_node.core.units import StampNs
from levine_policy_node.nodes.policy_shadow import PolicyShadow
from levine_policy_node.nodes.policy_slot import PolicySlot
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.onnx_policy import OnnxPolicy

GPS = Path(__file__).parents[2] / "examples" / "export" / "bundles" / "gps"
ROBOT = load_robot("sim_so101_effort")


def slot():
    bundle = load_bundle(GPS)
    limits = AlignmentLimits(0.2, 0.1, 0.01, ROBOT.arm_joints())
    replanner = Replanner(FrameStore(), bundle.cameras, limits, ReplanOptions())
    policy, output = OnnxPolicy(bundle, ROBOT), OutputWatch(ROBOT.limits(), ~ROBOT.arm_joints())
    return PolicySlot(bundle, policy, replanner, EffortPlacer(), output, "", ())


def test_efforts_are_no_distance_and_wait_for_standstill():
    active = slot()
    seen = Observation(
        StampNs(0),
        ROBOT.home_position(),
        {"front": np.zeros((96, 96, 3), dtype=np.uint8)},
        joint_velocities=np.zeros(6),
    )
    chunk = active.policy.infer(seen)
    shadow = PolicyShadow(slot(), ROBOT)
    shadow.recall([(seen, chunk)])
    assert shadow.compare(seen, chunk, 5) == np.inf
    assert shadow.figures["observations"] == 1


def test_a_switch_goes_on_with_what_is_counted():
    first, second = slot(), slot()
    assert isinstance(first.placer, EffortPlacer)
    first.placer.counts.chunks = 7
    second.continue_from(first, StampNs(0))
    assert second.placer.figures()["chunks"] == 7
