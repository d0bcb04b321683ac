# SPDX-License-Identifier: Apache-2.0
"""A policy that was adapted takes the place of the one it was adapted from, by `levine swap`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from geometry_msgs.msg import PointStamped
from policy_world import World
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.resources import share_directory
from levine_policy_node.ros import qos
from levine_policy_node.sim.arm import HOME_POSITION
from levine_policy_node.sim.tasks import BASE_FRAME

CONFIG = share_directory() / "config" / "policy_executor.param.yaml"
EXPORT = Path(__file__).parents[2] / "examples" / "export"
BASE, ADAPTED = EXPORT / "bundles" / "maml_base", EXPORT / "bundles" / "maml"


class AtHome(World):
    """The arm moves a little around home."""

    def position_at(self, stamp_ns):
        return np.array(HOME_POSITION) + 0.1 * super().position_at(stamp_ns)


def test_an_adapted_policy_is_swapped_in(ros):
    world = AtHome(ros)
    goal = ros.node.create_publisher(PointStamped, "goal", qos.TASK)
    place = PointStamped()
    place.header.frame_id = BASE_FRAME
    place.point.x, place.point.y, place.point.z = 0.2, 0.05, 0.12
    goal.publish(place)
    raw = ros.collect(JointTrajectory, "policy/raw_chunk", qos.TICKS)
    said = ros.collect(String, "policy/swap", qos.OUTCOMES)
    parameters = {"robot": "sim_so101", "policy": str(BASE), "trial": False}
    ros.start("policy_executor", params_file=CONFIG, parameters=parameters)
    world.run(lambda: len(raw) >= 1)
    assert raw[-1].header.frame_id.startswith("policy:maml_base@")
    command = [sys.executable, "-m", "levine_policy_node.cli.main", "swap", str(ADAPTED)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as swap:
        world.run(lambda: swap.poll() is not None, timeout_s=30.0)
        assert swap.returncode == 0, swap.stdout.read()
    outcome = json.loads(said[-1].data)
    assert outcome["state"] == "done"
    # What the adaptation changed shows in shadow: centimetres of calibration.
    assert 0.01 < outcome["worst_rad"] < 1.0
    raw.clear()
    world.run(lambda: len(raw) >= 1)
    assert raw[-1].header.frame_id.startswith("policy:maml@")
