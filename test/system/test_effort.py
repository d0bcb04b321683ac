# SPDX-License-Identifier: Apache-2.0
"""A policy of torques drives the simulated arm, and nothing goes on pushing when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from running import Running, whole_graph
from sensor_msgs.msg import JointState

from levine_policy_node.robot import load_robot
from levine_policy_node.ros import qos
from levine_policy_node.ros.messages import by_name

ROBOT = load_robot("sim_so101_effort")
GPS = Path(__file__).parents[2] / "examples" / "export" / "bundles" / "gps"
# Where the policy's teacher takes the arm (examples/export/gps.py) [rad].
POSE = np.array([0.3, -1.0, 0.5, 1.2, 1.5, 0.8])
# The first joints turn without a load; friction of 0.052 N m stops them short of it.
NEAR = 0.12

# The machine of the tests holds processes up for longer than an arm's computer may.
PATIENT = {
    "safety_supervisor": {
        "joint_state_timeout_s": 0.4,
        "policy_timeout_s": 0.4,
        "inference_stall_s": 2.0,
    },
    "policy_executor": {"joint_max_age_s": 0.3, "camera_max_age_s": 0.6},
}


def test_torques_bring_the_arm_to_its_pose_and_a_kill_stops_it(tmp_path):
    with whole_graph(
        tmp_path, robot="sim_so101_effort", policy=str(GPS), recorder=False, overrides=PATIENT
    ) as running:
        positions: list[np.ndarray] = []
        commands: list[JointState] = []
        node = running.rollout.node
        node.create_subscription(
            JointState,
            "joint_states",
            lambda m: positions.append(by_name(ROBOT.joint_names, m.name, m.position)),
            qos.JOINT_STATE_IN,
        )
        node.create_subscription(JointState, "supervisor/command", commands.append, qos.TICKS)
        _push_until(running, lambda: np.max(np.abs(positions[-1] - POSE)) < NEAR)
        pushed = lambda: [m for m in commands if m.header.frame_id.startswith("policy:gps@")]  # noqa: E731
        running.spin_until(pushed, 5.0, "the commands of the policy")
        assert all(np.max(np.abs(m.effort)) <= 1.5 for m in pushed())
        _start_again(running)
        _kill_the_supervisor(running)


def _push_until(running: Running, done: Callable[[], bool]) -> None:
    """Let the policy push; where a busy machine makes it pause, again."""

    def over() -> bool:
        return done() or running.rollout.mode != "POLICY"

    deadline = time.monotonic() + 40.0
    while time.monotonic() < deadline:
        running.rollout.start_policy()
        running.rollout.spin_until(over, 10.0)
        if done():
            return
    raise AssertionError(f"not there; mode {running.rollout.mode}")


def _start_again(running: Running) -> None:
    """Held where it stood, let go, and laid out anew."""
    running.rollout.call("supervisor/pause")
    running.spin_until(lambda: running.rollout.mode == "PAUSED", 5.0, "PAUSED")
    running.call("supervisor/disarm")
    running.rollout.reset_scene(2)


def _kill_the_supervisor(running: Running) -> None:
    """The last torque stands no longer than the robot's own timeout."""
    _push_until(running, lambda: running.speed() > 0.2)
    running.kill("safety_supervisor")
    killed = len(running.joints)

    def rests() -> bool:
        """Half a second without motion; the servos swing a little where they stop the arm."""
        late = running.joints[killed:][-50:]
        return len(late) == 50 and max(speed for _, speed in late) < 0.05

    running.spin_until(rests, 5.0, "rest")
