# SPDX-License-Identifier: Apache-2.0
"""Real-time chunking through policy_executor: the policy is told what is really being played."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bundle_factory import (
    JOINTS,
    encode_model,
    flow_document,
    flow_model,
    prefix_document,
    prefix_model,
    write_bundle,
)
from diagnostic_msgs.msg import DiagnosticArray
from policy_world import World
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.core.units import StampNs
from levine_policy_node.resources import share_directory
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import stamp_from_msg
from levine_policy_node.ros.messages import timeline_from_msg

PERIOD_NS = 100_000_000


@pytest.fixture
def world(ros):
    return World(ros)


def start(world: World, bundle: Path, **parameters):
    return world.graph.start(
        "policy_executor",
        params_file=share_directory() / "config" / "policy_executor.param.yaml",
        parameters={"robot": "sim_so101", "policy": str(bundle), **parameters},
    )


def flow(directory: Path, **changes) -> Path:
    files = {"encode.onnx": encode_model()}
    return write_bundle(directory, flow_document(**changes), flow_model(), files)


def graph(directory: Path, **changes) -> Path:
    return write_bundle(directory, prefix_document(**changes), prefix_model())


def play(world: World, bundle: Path, **parameters):
    """Start the executor and let its policy have the arm."""
    raw = world.graph.collect(JointTrajectory, "policy/raw_chunk", qos.TICKS)
    chunks = world.graph.collect(JointTrajectory, "policy/action_chunk", qos.TICKS)
    process = start(world, bundle, **parameters)
    mode = world.graph.publisher(String, "supervisor/mode", qos.MODE)
    mode.publish(String(data="POLICY"))
    return process, raw, chunks


def engaged(messages):
    return [message for message in messages if message.header.frame_id.endswith("#2")]


def values(status: list[DiagnosticArray]) -> dict[str, str]:
    """The newest diagnostics of the executor."""
    for array in reversed(status):
        for one in array.status:
            if one.name == "policy_executor":
                return {pair.key: pair.value for pair in one.values}
    return {}


@pytest.mark.parametrize("make", [flow, graph])
def test_decided_rows_are_those_of_the_timeline_that_is_played(world, tmp_path, make):
    _, raw, chunks = play(world, make(tmp_path / "bundle"))
    world.run(lambda: len(engaged(chunks)) >= 6)
    inferred, played = engaged(raw), engaged(chunks)
    for before, message in zip(played[1:4], inferred[2:5], strict=True):
        # A chunk takes effect 0.1 s after it came: at least its first row is over by then.
        timeline = timeline_from_msg(before, JOINTS)
        first_ns = StampNs(stamp_from_msg(message.header.stamp) + PERIOD_NS)
        np.testing.assert_allclose(
            message.points[0].positions, timeline.sample(first_ns).position, atol=1e-5
        )


def test_a_delay_beyond_the_trained_one_is_said_and_counted(world, tmp_path):
    bundle = flow(tmp_path / "bundle", chunk__rtc={"mode": "trained", "max_delay": 1})
    status = world.graph.collect(DiagnosticArray, "/diagnostics", qos.TICKS)
    process, _, chunks = play(world, bundle, lead_s=0.25)
    world.run(lambda: float(values(status).get("rtc_outside_delay", 0)) >= 3)
    assert "but the policy was trained for a delay of at most 1" in process.output()
    # It goes on, without real-time chunking, and says so once.
    count = len(engaged(chunks))
    world.run(lambda: len(engaged(chunks)) > count + 3)
    assert process.output().count("was trained for") < 4
    assert float(values(status)["rtc_chunks"]) == 0


def test_rtc_of_a_policy_that_cannot_ends_the_process_with_one_line(world, tmp_path):
    process = start(world, write_bundle(tmp_path / "ramp"), merge="rtc")
    assert process.wait(30.0) == 2
    lines = [line for line in process.output().splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "merge rtc is asked for, but this policy cannot" in lines[0]
