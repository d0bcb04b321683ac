# SPDX-License-Identifier: Apache-2.0
"""policy_executor with policies that are told what to do, and that see the past."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bundle_factory import JOINTS
from diagnostic_msgs.msg import DiagnosticArray
from echo_bundle import write_echo
from onnx import TensorProto
from policy_world import World
from safetensors.numpy import save
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.resources import share_directory
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import stamp_from_msg

CONFIG = share_directory() / "config" / "policy_executor.param.yaml"
STATE = {"kind": "state/joint/position", "names": list(JOINTS)}
FLOAT = TensorProto.FLOAT


@pytest.fixture
def world(ros):
    return World(ros)


def start(world: World, bundle: Path):
    return world.graph.start(
        "policy_executor",
        params_file=CONFIG,
        parameters={"robot": "sim_so101", "policy": str(bundle)},
    )


def numbers(message: JointTrajectory) -> np.ndarray:
    return np.concatenate([np.array(point.positions) for point in message.points])


def test_the_task_comes_on_a_topic_and_without_one_there_is_no_chunk(world, tmp_path):
    table = {"pick": np.full(6, 0.1, np.float32), "place": np.full(6, 0.2, np.float32)}
    bundle = write_echo(
        tmp_path / "told",
        {"e": {"kind": "command/embedding", "file": "tasks.safetensors"}},
        {"e": ([1, 6], FLOAT)},
        {"tasks.safetensors": save(table)},
    )
    raw = world.graph.collect(JointTrajectory, "policy/raw_chunk", qos.TICKS)
    news = world.graph.collect(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
    start(world, bundle)
    world.run(lambda: any("waits for a task" in str(message) for message in news))
    assert raw == []
    task = world.graph.node.create_publisher(String, "task", qos.TASK)
    for name, expected in (("pick", 0.1), ("place", 0.2)):
        task.publish(String(data=name))
        world.run(lambda e=expected: bool(raw) and np.allclose(numbers(raw[-1]), e))
    task.publish(String(data="dance"))
    world.run(lambda: any("it knows 'pick', 'place'" in str(message) for message in news))


def test_between_inferences_the_policy_sees_what_the_streams_had(world, tmp_path):
    """Two joint states 0.1 s apart, every 0.4 s."""
    bundle = write_echo(
        tmp_path / "past",
        {
            "s": {**STATE, "history": 2},
            "front": {
                "kind": "sensor/image",
                "image": {"size": [1, 1], "interpolation": "area"},
                "history": {"steps": 8, "mask": "seen"},
            },
        },
        {
            "s": ([1, 2, 6], FLOAT),
            "front": ([1, 8, 3, 1, 1], FLOAT),
            "seen": ([1, 8], TensorProto.INT64),
        },
        chunk={"size": 8, "execute": 4},
    )
    raw = world.graph.collect(JointTrajectory, "policy/raw_chunk", qos.TICKS)
    start(world, bundle)
    world.run(lambda: len(raw) >= 4)
    masks = [numbers(message)[36:44] for message in raw]
    assert masks[0].sum() == 1
    assert masks[1].sum() == 5
    np.testing.assert_array_equal(masks[2], 1)
    stamp_ns = stamp_from_msg(raw[-1].header.stamp)
    earlier, now = numbers(raw[-1])[:12].reshape(2, 6)
    np.testing.assert_allclose(now, world.position_at(stamp_ns), atol=2e-3)
    np.testing.assert_allclose(now - earlier, 0.01 * np.linspace(-0.2, 0.2, 6), atol=2e-4)
