# SPDX-License-Identifier: Apache-2.0
"""Bad launch arguments start nothing and say why."""

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("launch_ros", reason="launch_ros is not installed (not on PyPI)")

from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

LAUNCH = Path(__file__).parent.parent.parent / "launch"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"robot": "fr33", "policy": "so101_pick_place"}, "fr33"),
        ({"robot": "so101", "policy": "no_such_policy"}, "no_such_policy"),
        ({"robot": "so101", "policy": "so101_pick_place", "log_level": "loud"}, "loud"),
        ({"robot": "so101", "policy": "so101_pick_place", "trust": "blind"}, "blind"),
    ],
    ids=["robot", "policy", "log level", "trust"],
)
def test_policy_launch_refuses(arguments, named, capfd):
    source = PythonLaunchDescriptionSource(str(LAUNCH / "policy.launch.py"))
    include = IncludeLaunchDescription(source, launch_arguments=arguments.items())
    service = LaunchService(noninteractive=True)
    service.include_launch_description(LaunchDescription([include]))
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    assert service.run() != 0
    # Which of the two launch tells it on depends on the first service of a process.
    assert named in "".join(capfd.readouterr())
