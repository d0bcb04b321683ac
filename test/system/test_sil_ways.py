# SPDX-License-Identifier: Apache-2.0
"""Trials with real processes find their way into every mode, and out of it again."""

import random

from harness import isolated_domain

from levine_policy_node.bench import sil_cases
from levine_policy_node.bench.sil_world import SilWorld
from levine_policy_node.graph import GraphOptions


def test_an_emergency_stop_can_be_tried_in_every_mode(tmp_path):
    options = GraphOptions(
        robot="sim_so101",
        policy="so101_pick_place",
        recorder=False,
        simulate=True,
        log_level="error",
        overrides={"policy_executor": {"trial": False}},
    )
    rng = random.Random(0)
    with isolated_domain(), SilWorld(options, tmp_path) as world:
        for mode, way in sil_cases.WAYS.items():
            way(world, rng)
            assert world.rollout.mode == mode
            world.disarm()
            assert world.rollout.mode == "DISARMED"
