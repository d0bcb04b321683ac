# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pytest

from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.units import StampNs, SteadyNs
from levine_policy_node.robot import load_robot
from levine_policy_node.sim.arm import ArmOptions
from levine_policy_node.sim.controller_trajectory import TrajectoryCommand, TrajectoryPoint
from levine_policy_node.sim.forward_command_controller import ForwardCommandController
from levine_policy_node.sim.joint_trajectory_controller import JointTrajectoryController
from levine_policy_node.sim.plant import Plant, PlantOptions, check_joints, hard_limits

PERIOD = 10_000_000
START = StampNs(1_700_000_000_000_000_000)
ROBOT = load_robot("sim_so101")
# Another order than the simulation's, as another robot file may have.
NAMES = tuple(reversed(ROBOT.joint_names))


def limits():
    robot = ROBOT.limits()
    order = [robot.names.index(name) for name in NAMES]
    arrays = (
        getattr(robot, f)[order] for f in ("lower", "upper", "velocity", "acceleration", "jerk")
    )
    return hard_limits(type(robot)(NAMES, *arrays), ROBOT.position_margin)


def plant(controller=None, seed=7, **options):
    controller = controller or JointTrajectoryController(NAMES, PERIOD)
    return Plant(controller, limits(), PlantOptions(PERIOD, **options), seed, START)


def run(made, cycles, first=0):
    """Readings at the start of each cycle, shape (cycles, J)."""
    rows = []
    for k in range(first, first + cycles):
        reading = made.read()
        made.step(StampNs(START + k * PERIOD), reading)
        rows.append(reading.position)
    return np.array(rows)


# Away from the table and from the ends of the joints.
UP = np.array([{"shoulder_lift": -0.3, "wrist_flex": -0.3}.get(name, 0.2) for name in NAMES])


def move(made, offset=UP, duration_s=1.0, first=0):
    """Send a smooth move by `offset` and return its target."""
    begin = made.read().position
    still = np.zeros(len(NAMES))
    points = [
        TrajectoryPoint(round(t * 1e9), p, still, still)
        for t, p in ((0.0, begin), (duration_s, begin + offset))
    ]
    stamp = StampNs(START + first * PERIOD)
    sent = TrajectoryCommand(NAMES, stamp, tuple(points))
    assert made.receive_trajectory(sent, stamp, SteadyNs(0)) is None
    return begin + offset


def test_a_trajectory_moves_the_named_joints_and_the_arm_holds_there():
    made = plant()
    target = move(made)
    rows = run(made, 160)
    # Joint friction leaves a few milliradians to a position servo.
    np.testing.assert_allclose(rows[-20:], np.tile(target, (20, 1)), atol=0.01)
    report = made.monitor.report()
    assert report["commands"] == 1
    assert report["total_violations"] == 0
    assert 0.1 < report["worst_ratio"]["velocity"] < 1.0


def test_the_same_seed_gives_the_same_episode_and_another_one_another():
    made = plant(arm=ArmOptions(encoder_noise_rad=0.001))
    move(made)
    first = run(made, 50), made.scene_state().qpos
    made.reset(7, START)
    move(made)
    again = run(made, 50), made.scene_state().qpos
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    made.reset(8, START)
    assert np.any(made.scene_state().qpos != first[1])


def test_a_reset_is_no_command_and_a_jump_is_a_violation():
    made = plant()
    move(made)
    run(made, 120)
    made.reset(8, StampNs(START + 120 * PERIOD))
    run(made, 10, first=120)
    assert made.monitor.report()["total_violations"] == 0
    move(made, duration_s=0.05, first=130)
    run(made, 10, first=130)
    found = made.monitor.report()["limit_violations"]
    assert found["velocity"] > 0
    assert found["jerk"] > 0
    assert found["position"] == 0


@pytest.mark.parametrize("delay_s", [0.01, 0.034, 0.1])
def test_an_actuation_delay_shifts_the_motion(delay_s):
    prompt, late = plant(), plant(actuation_delay_s=delay_s)
    for made in (prompt, late):
        move(made)
    before, after = run(prompt, 120), run(late, 120)
    at = np.arange(120) * 0.01
    for joint in range(len(NAMES)):
        shifted = np.interp(at - delay_s, at, before[:, joint])
        np.testing.assert_allclose(after[20:, joint], shifted[20:], atol=2e-3)


def test_a_setpoint_that_is_no_number_is_counted_and_not_applied():
    made = plant()
    held = run(made, 5)[-1]
    nan = TrajectoryPoint(0, np.full(len(NAMES), np.nan))
    made.receive_trajectory(TrajectoryCommand(NAMES, StampNs(0), (nan,)), START, SteadyNs(0))
    np.testing.assert_allclose(run(made, 20, first=5)[-1], held, atol=1e-3)
    assert made.monitor.report()["limit_violations"]["position"] == 20 * len(NAMES)


def forward_stream(made, positions, period_ns=PERIOD, start_ns=0):
    for k, row in enumerate(positions):
        made.receive_forward(row, SteadyNs(start_ns + k * period_ns))
        made.step(StampNs(START + k * PERIOD), made.read())


def smooth(made, offset=UP, cycles=100):
    begin = JointPoint.at_rest(made.read().position)
    rows = np.stack([begin.position, begin.position + offset])
    zero = np.zeros_like(rows)
    curve = Timeline(NAMES, START, np.array([0.0, 1.0]), rows, zero, zero)
    return [curve.sample_s(min((k + 1) / 100, 1.0)).position for k in range(cycles)]


def test_forward_commands_are_followed_and_judged_as_they_were_sent():
    made = plant(ForwardCommandController(NAMES))
    rows = smooth(made)
    # Bunched in time, as a busy machine delivers them: the motion itself is fine.
    forward_stream(made, rows, period_ns=3_000_000)
    report = made.monitor.report()
    assert report["commands"] == 100
    assert report["total_violations"] == 0
    np.testing.assert_allclose(made.read().position, rows[-1], atol=0.02)


def test_forward_commands_that_stop_coming_in_motion_are_a_violation():
    made = plant(ForwardCommandController(NAMES))
    rows = smooth(made)
    forward_stream(made, rows[:50])
    assert made.monitor.report()["total_violations"] == 0
    forward_stream(made, rows[50:], start_ns=10**10)
    assert made.monitor.report()["limit_violations"]["acceleration"] > 0


def test_only_one_controller_is_active():
    made = plant(ForwardCommandController(NAMES))
    sent = TrajectoryCommand(NAMES, StampNs(0), (TrajectoryPoint(0, np.zeros(6)),))
    assert made.receive_trajectory(sent, START, SteadyNs(0))
    assert plant().receive_forward(np.zeros(6), SteadyNs(0))


def test_the_episode_says_how_it_stands():
    made = plant(seed=3)
    run(made, 10)
    scene = made.scene_state()
    state = json.loads(made.episode.to_json(scene))
    assert state == {
        "qpos": pytest.approx(scene.qpos, abs=1e-6),
        "seed": 3,
        "time_s": pytest.approx(0.1),
        "success": False,
        "failed": False,
    }


def test_joints_of_another_arm_are_named():
    assert check_joints(NAMES) is None
    problem = check_joints(("a", "b"))
    assert problem is not None
    assert "shoulder_pan" in problem
    assert "a, b" in problem
