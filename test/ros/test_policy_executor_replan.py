# SPDX-License-Identifier: Apache-2.0
"""When policy_executor infers, and what it says when that is not often enough."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bundle_factory import document, ramp_model, write_bundle
from diagnostic_msgs.msg import DiagnosticArray
from policy_world import World
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.resources import share_directory
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import stamp_from_msg


@pytest.fixture
def world(ros):
    return World(ros)


@pytest.fixture
def play(world, tmp_path):
    """Start the executor and let its policy have the arm; returns process and raw chunks."""

    def start(parameters, **chunk):
        made = document(chunk={"size": 8, "execute": 2, **chunk})
        bundle: Path = write_bundle(tmp_path / "ramp", made, ramp_model())
        raw = world.graph.collect(JointTrajectory, "policy/raw_chunk", qos.TICKS)
        process = world.graph.start(
            "policy_executor",
            params_file=share_directory() / "config" / "policy_executor.param.yaml",
            parameters={"robot": "sim_so101", "policy": str(bundle), **parameters},
        )
        mode = world.graph.publisher(String, "supervisor/mode", qos.MODE)
        mode.publish(String(data="POLICY"))
        # When the mode is heard the policy begins afresh, which is a new epoch.
        world.run(lambda: any(m.header.frame_id.endswith("#2") for m in raw))
        raw.clear()
        return process, raw

    return start


def gaps_s(raw):
    return np.diff([stamp_from_msg(m.header.stamp) for m in raw]) / 1e9


def test_at_once_uses_the_frame_after_each_answer(world, play):
    process, raw = play({"replan": "at_once"})
    world.run(lambda: len(raw) >= 12)
    # 30 frames a second and an inference of a millisecond; a busy machine skips some.
    assert np.all(gaps_s(raw) > 0.0)
    assert np.median(gaps_s(raw)) < 0.15
    assert "inferring at once" in process.output()


def test_a_threshold_waits_until_so_much_is_left(world, play):
    process, raw = play({}, replan="threshold", threshold_s=0.35)
    world.run(lambda: len(raw) >= 5)
    # A chunk lasts 0.8 s from its observation on.
    assert np.min(gaps_s(raw)) >= 0.45 - 0.05
    assert np.median(gaps_s(raw)) < 0.7
    assert "inferring with 0.35 s left to play" in process.output()
    assert "inference_stall_s" in process.output()


def test_parameters_override_the_bundle(world, play):
    _, raw = play({"replan": "every"}, replan="threshold", threshold_s=0.3)
    world.run(lambda: len(raw) >= 4)
    assert np.median(gaps_s(raw)) < 0.35


def test_a_threshold_that_nobody_gives_ends_the_start(world, tmp_path):
    bundle = write_bundle(tmp_path / "ramp", document(), ramp_model())
    process = world.graph.start(
        "policy_executor",
        params_file=share_directory() / "config" / "policy_executor.param.yaml",
        parameters={"robot": "sim_so101", "policy": str(bundle), "replan": "threshold"},
    )
    assert process.wait(30) == 2
    assert "replan_threshold_s" in process.output()


def test_starving_is_told_with_figures_and_nothing_is_repeated(world, play):
    status = world.graph.collect(DiagnosticArray, "/diagnostics", qos.TICKS)
    chunks = world.graph.collect(JointTrajectory, "policy/action_chunk", qos.TICKS)
    process, raw = play({})
    world.run(lambda: len(raw) >= 6)
    world.cameras = ()
    world.run(lambda: "starved" in process.output())
    sent = len(chunks)
    world.run_for(1.0)
    assert len(chunks) == sent
    line = next(line for line in process.output().splitlines() if "starved" in line)
    assert "brakes to rest (1 time in" in line
    assert "s of a chunk are left to play" in line
    world.run(lambda: figures(status).get("starved") == "1")
    assert 0.0 < float(figures(status)["chunk_left_ms_p50"]) < 800.0


def figures(received):
    newest = [s for m in received for s in m.status if s.name == "policy_executor"]
    return {v.key: v.value for v in newest[-1].values} if newest else {}
