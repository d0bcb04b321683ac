# SPDX-License-Identifier: Apache-2.0
"""demo.launch.py starts the graph, the arm moves under the policy, and it ends cleanly."""

import os
import unittest
from pathlib import Path

import pytest

pytest.importorskip("launch_testing", reason="launch_testing is not installed (not on PyPI)")
pytest.importorskip("launch_ros", reason="launch_ros is not installed (not on PyPI)")

import launch_testing.actions
import launch_testing.asserts
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.launch_test
def generate_test_description():
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    demo = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(ROOT / "launch" / "demo.launch.py")),
        launch_arguments={"recorder": "false", "namespace": "lab", "seed": "3"}.items(),
    )
    return LaunchDescription([demo, launch_testing.actions.ReadyToTest()])


class TestTheGraph(unittest.TestCase):
    def test_the_policy_moves_the_arm(self):
        from levine_policy_node.ros.rollout import Rollout

        rollout = Rollout("lab", recorder=False)
        try:
            rollout.wait_ready(lambda: None)
            result = rollout.run_episode(3, 20.0)
            report = rollout.report()
        finally:
            rollout.close()
        assert report["commands"] > 50
        assert report["total_violations"] == 0
        assert result.ended_by in {"success", "time", "failure"}


@launch_testing.post_shutdown_test()
class TestTheEnd(unittest.TestCase):
    def test_every_process_ends_cleanly(self, proc_info):
        launch_testing.asserts.assertExitCodes(proc_info)
