# SPDX-License-Identifier: Apache-2.0
"""The simulated arm behind a controller of efforts: pushed, let go, and left alone."""

from __future__ import annotations

import numpy as np
import pytest

from levine_policy_node.core.effort_supervisor import step_efforts
from levine_policy_node.core.effort_timeline import EffortTimeline
from levine_policy_node.core.modes import Event, Mode
from levine_policy_node.core.supervision import (
    Heartbeat,
    Inputs,
    Measured,
    Request,
    SupervisorOptions,
    SupervisorState,
)
from levine_policy_node.core.units import StampNs, SteadyNs
from levine_policy_node.errors import ConfigError
from levine_policy_node.robot import load_robot
from levine_policy_node.robot_effort import effort_options
from levine_policy_node.runtime.merge_choice import MergeChoice
from levine_policy_node.sim.direct import Delay, Episodes, run_direct
from levine_policy_node.sim.effort_controller import EffortCommandController
from levine_policy_node.sim.plant import Plant, PlantOptions, hard_limits

ROBOT = load_robot("sim_so101_effort")
NAMES = ROBOT.joint_names
MS = 1_000_000
TIMEOUT = 100 * MS


class Bench:
    """The plant, cycle by cycle."""

    def __init__(self):
        self.now_ns = 10**9
        controller = EffortCommandController(NAMES, TIMEOUT)
        limits = hard_limits(ROBOT.limits(), ROBOT.position_margin)
        options = PlantOptions(10 * MS, efforts=effort_options(ROBOT.controller, ROBOT.joints))
        self.plant = Plant(controller, limits, options, 0, StampNs(self.now_ns))

    def cycles(self, count, efforts=None):
        for _ in range(count):
            if efforts is not None:
                assert self.plant.receive_forward(efforts, SteadyNs(self.now_ns)) is None
            self.now_ns += 10 * MS
            self.plant.step(StampNs(self.now_ns), self.plant.read())
        return self.plant.read()


@pytest.fixture
def bench():
    return Bench()


def test_without_efforts_the_drives_hold_the_arm(bench):
    start = bench.plant.read().position
    np.testing.assert_allclose(bench.cycles(100).position, start, atol=0.01)


def test_an_effort_of_zero_carries_the_arm_and_does_not_hold_it(bench):
    start = bench.cycles(1).position
    reading = bench.cycles(100, np.zeros(6))
    np.testing.assert_allclose(reading.position, start, atol=0.02)
    np.testing.assert_array_equal(reading.effort, np.zeros(6))


def test_an_effort_moves_its_joint_as_newton_says(bench):
    push = np.zeros(6)
    push[0] = 0.3
    before = bench.cycles(1, push)
    after = bench.cycles(30, push)
    # 0.3 N m, less 0.052 of friction, against 0.6 N m s/rad of damping.
    assert after.velocity[0] == pytest.approx((0.3 - 0.052) / 0.6, rel=0.15)
    assert after.position[0] > before.position[0] + 0.05


def test_silence_stops_the_arm_by_its_own_drives(bench):
    push = np.zeros(6)
    push[0] = 0.5
    bench.cycles(40, push)
    assert bench.cycles(9).velocity[0] > 0.5
    stopped = bench.cycles(40)
    assert abs(stopped.velocity[0]) < 0.02
    np.testing.assert_allclose(bench.cycles(50).position, stopped.position, atol=0.01)
    # And the next message moves it again.
    assert bench.cycles(20, push).velocity[0] > 0.3


def test_efforts_beyond_their_bound_are_counted(bench):
    bench.cycles(5, np.full(6, 2.9))
    assert bench.plant.monitor.report()["total_violations"] == 0
    bench.cycles(2, np.array([0.0, 3.5, 0.0, 0.0, 0.0, 0.0]))
    counts = bench.plant.monitor.report()["limit_violations"]
    assert (counts["effort"], counts["effort_rate"]) == (2, 0)


def test_a_reset_takes_every_push_away(bench):
    bench.cycles(20, np.full(6, 0.4))
    bench.plant.reset(0, StampNs(bench.now_ns))
    start = bench.plant.read().position
    reading = bench.cycles(50)
    np.testing.assert_allclose(reading.position, start, atol=0.01)


class Supervised(Bench):
    """The plant with a supervisor at every cycle, and a policy that pushes as it is told to."""

    options = SupervisorOptions(
        limits=ROBOT.limits(),
        home=ROBOT.home_position(),
        exempt=np.zeros(6, dtype=bool),
        sends_windows=False,
        efforts=effort_options(ROBOT.controller, ROBOT.joints),
    )

    def __init__(self):
        super().__init__()
        self.state = SupervisorState()
        self.fastest = 0.0

    def tick(self, push, *acts):
        now = SteadyNs(self.now_ns)
        reading = self.plant.read()
        self.fastest = max(self.fastest, float(np.max(np.abs(reading.velocity))))
        rows = EffortTimeline(
            NAMES, StampNs(self.now_ns), np.array([0.0, 0.05]), np.stack([push] * 2), "policy:p"
        )
        self.state, decision = step_efforts(
            self.state,
            now,
            Inputs(
                ros_offset_ns=0,
                measured=Measured(reading.position, reading.velocity, now),
                heartbeat=Heartbeat(self.now_ns, now),
                requests=tuple(Request(act) for act in acts),
                pushes=(rows,),
            ),
            self.options,
        )
        assert all(reply.accepted for reply in decision.replies)
        return self.cycles(1, decision.efforts)

    def engaged(self):
        still = np.zeros(6)
        self.tick(still)
        for act in (Event.ARM, Event.ENGAGE):
            self.tick(still, act)
        return self


@pytest.mark.parametrize(
    "push",
    [
        (2.9, 0.0, 0.0, 0.0, 0.0, 0.0),
        (0.0, 2.9, -2.9, 0.0, 0.0, 0.0),
        (-0.4, 0.0, 0.0, 0.5, -0.6, 0.4),
        (0.0, 0.0, 0.3, 0.0, 2.9, -2.9),
    ],
)
def test_whatever_a_policy_pushes_the_arm_is_stopped_inside_its_joints(push):
    arm = Supervised().engaged()
    low, high = np.array([joint.position for joint in ROBOT.joints.values()]).T
    stopped = 0
    for _ in range(600):
        reading = arm.tick(np.array(push))
        assert np.all((reading.position > low) & (reading.position < high))
        stopped += arm.state.mode.mode is Mode.PSTOP
        if stopped == 50:
            break
    assert stopped == 50
    assert np.max(np.abs(reading.velocity)) < 0.05
    # It is noticed one tick late, and braked as fast as the drives can.
    assert arm.fastest < 1.5 * np.max(ROBOT.limits().velocity)


def test_rollouts_in_one_process_say_that_they_are_for_positions():
    with pytest.raises(ConfigError, match="only arms that take positions"):
        run_direct(
            robot="sim_so101_effort",
            policy="so101_pick_place",
            episodes=Episodes(range(1)),
            delay=Delay(0.0),
            merge=MergeChoice(),
            on_episode=lambda index, result: None,
        )
