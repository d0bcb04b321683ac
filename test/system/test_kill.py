# SPDX-License-Identifier: Apache-2.0
"""`kill -9` while the arm moves: it is braked to rest, and nothing moves again by itself."""

import numpy as np
import pytest

from levine_policy_node.robot import load_robot

# Slower than this counts as rest: the servos' own settling after the command has stopped.
REST_RAD_S = 0.05


def longest_stop_s():
    """From the velocity limit to rest at the acceleration limit, with jerk ramps."""
    limits = load_robot("sim_so101").limits()
    return float(np.max(limits.velocity / limits.acceleration + limits.acceleration / limits.jerk))


def first(entries, test):
    return next((entry for entry in entries if test(entry)), None)


def test_policy_killed_while_moving(running):
    running.engage()
    killed_ns = running.kill("policy_runtime")
    running.spin_until(
        lambda: first(running.commands, lambda c: c[0] > killed_ns and c[1] == "stop"),
        5.0,
        "a braking command",
    )
    running.spin_until(lambda: running.rollout.mode == "PAUSED", 5.0, "PAUSED")
    braking = first(running.commands, lambda c: c[0] > killed_ns and c[1] == "stop")
    rest = first(running.commands, lambda c: c[0] > braking[0] and c[2] == 0.0)
    assert (braking[0] - killed_ns) / 1e9 <= 0.150
    assert (rest[0] - braking[0]) / 1e9 <= longest_stop_s() + 0.02
    running.spin_until(lambda: running.speed() < REST_RAD_S, 5.0, "the arm to stand")

    # Armed for nothing: without a policy the supervisor disarms, and a new one moves nothing.
    running.spin_until(lambda: running.rollout.mode == "DISARMED", 5.0, "DISARMED")
    running.group.start(running.process("policy_runtime"))
    diagnostics = running.rollout.diagnostics
    diagnostics.pop("policy_executor", None)
    running.spin_until(lambda: "policy_executor" in diagnostics, 20.0, "the new policy")
    seen = len(running.joints)
    running.spin_until(lambda: len(running.joints) > seen + 50, 5.0, "joint states")
    assert running.rollout.mode == "DISARMED"
    assert max(speed for _, speed in running.joints[seen:]) < REST_RAD_S
    refused, message = running.rollout.call("supervisor/resume")
    assert not refused
    assert message
    assert running.rollout.report()["total_violations"] == 0


def test_supervisor_killed_while_moving(running):
    running.engage()
    killed_ns = running.kill("safety_supervisor")
    running.spin_until(
        lambda: running.joints[-1][0] > killed_ns + 3_000_000_000, 10.0, "three seconds"
    )
    after = [(stamp - killed_ns, speed) for stamp, speed in running.joints if stamp > killed_ns]
    # What was sent reaches at most 0.1 s ahead and then brakes; servos lag a little behind it.
    latest_rest_s = 0.1 + longest_stop_s() + 0.25
    moving = [stamp / 1e9 for stamp, speed in after if speed >= REST_RAD_S]
    assert moving, "the arm was already at rest when the supervisor was killed"
    assert max(moving) <= latest_rest_s
    assert running.rollout.report()["total_violations"] == 0


@pytest.mark.parametrize("split", [True], ids=["camera and executor as two processes"])
def test_two_process_layout_moves_the_arm(tmp_path, split):
    from running import whole_graph

    with whole_graph(tmp_path, split_runtime=split, recorder=False) as running:
        running.engage()
        running.call("supervisor/pause")
        running.spin_until(lambda: running.rollout.mode == "PAUSED", 5.0, "PAUSED")
        assert running.rollout.report()["total_violations"] == 0
