# SPDX-License-Identifier: Apache-2.0
"""How the supervisor starts: with another controller, or with one line of error."""

from __future__ import annotations

from pathlib import Path

import pytest
from std_msgs.msg import Bool, Float64MultiArray
from supervisor_bench import PARAMETERS, ROBOT, Bench

from levine_policy_node.robot import robots_directory
from levine_policy_node.ros import qos
from levine_policy_node.ros.messages import by_name


def test_a_forward_command_controller_gets_positions_every_tick(ros, tmp_path: Path):
    text = (robots_directory() / "sim_so101.yaml").read_text()
    path = tmp_path / "forward.yaml"
    path.write_text(text.replace("type: joint_trajectory", "type: forward_command"))
    received = ros.collect(Float64MultiArray, "arm_controller/commands", qos.COMMAND)
    bench = Bench(ros, robot=str(path))
    bench.insist("arm")
    ros.spin_until(lambda: bench.said("PLACEHOLDERS"), what="what nobody published")
    assert "shoulder_pan.velocity" in bench.said("PLACEHOLDERS")[0][1]
    ros.spin_until(lambda: len(received) > 20, what="positions")
    assert all(len(message.data) == len(ROBOT.joint_names) for message in received)
    held = by_name(ROBOT.joint_names, bench.commands[-1].name, bench.commands[-1].position)
    assert list(received[-1].data) == held.tolist()
    bench.script.close()


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"robot": "no_such_robot"}, "no_such_robot"),
        ({"robot": "sim_so101", "control_rate_hz": 5.0}, "control_rate_hz"),
        ({"robot": "sim_so101", "lead_s": 0.06, "command_period_s": 0.05}, "window_s"),
    ],
)
def test_a_wrong_parameter_ends_with_one_line(ros, parameters, expected):
    process = ros.start("safety_supervisor", params_file=PARAMETERS, parameters=parameters)
    assert process.wait() == 2
    errors = [line for line in process.output().splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert expected in errors[0]


def test_a_switch_thrown_before_the_supervisor_was_there_counts(ros):
    """Said once and kept for whoever comes: nobody will say it again."""
    estop = ros.node.create_publisher(Bool, "estop", qos.SWITCH_KEPT)
    estop.publish(Bool(data=True))
    enable = ros.node.create_publisher(Bool, "enable", qos.SWITCH_KEPT)
    enable.publish(Bool(data=False))
    bench = Bench(ros)
    bench.until("ESTOP")
    # The bench has a switch of its own that keeps nothing: it is heard, too.
    bench.estop.publish(Bool(data=False))
    bench.insist("reset")
    assert "enable is false" in bench.refusal("arm")
    enable.publish(Bool(data=True))
    bench.insist("arm")
    assert "incompatible" not in bench.process.output()
    bench.script.close()
