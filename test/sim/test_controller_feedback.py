# SPDX-License-Identifier: Apache-2.0
"""The supervisor hears what every release of the real controller commands, in a closed loop."""

from __future__ import annotations

import numpy as np
import pytest
from test_controller_streams import (
    ARM_LAG,
    BEGIN,
    LIMITS,
    MS,
    OFFSET,
    OPTIONS,
    SAFE,
    TICK,
    message,
    wave,
)

from levine_policy_node.core.faults import Fault
from levine_policy_node.core.modes import Event, Mode
from levine_policy_node.core.supervision import (
    Heartbeat,
    Inputs,
    Measured,
    Request,
    SupervisorState,
)
from levine_policy_node.core.supervisor import step
from levine_policy_node.core.surroundings import Reference, Surroundings
from levine_policy_node.core.units import StampNs, SteadyNs
from levine_policy_node.sim.joint_trajectory_controller import (
    JointTrajectoryController,
    TrajectoryControllerOptions,
)

PHASE = 4 * MS


def loop(options: TrajectoryControllerOptions, ticks: int = 150):
    """The mode in the end and every fault; the controller runs 4 ms after each tick."""
    controller = JointTrajectoryController(LIMITS.names, TICK, options)
    controller.activate(np.zeros(2))
    state, acts, faults = SupervisorState(), [Event.ARM, Event.ENGAGE], set[Fault]()
    heard: tuple[Reference, ...] = ()
    for k in range(ticks):
        now = SteadyNs(BEGIN + k * TICK)
        position, velocity = np.zeros(2), np.zeros(2)
        if state.plan is not None:
            point = state.plan.sample(SteadyNs(now - ARM_LAG))
            position, velocity = point.position, point.velocity
        around = Surroundings(references=heard, reference_ns=now)
        inputs = Inputs(
            ros_offset_ns=OFFSET,
            measured=Measured(position, velocity, now),
            heartbeat=Heartbeat(k // 10, now),
            chunks=(wave(now, k // 20),) if k % 20 == 3 else (),
            requests=(Request(acts[0]),) if acts else (),
            around=around,
        )
        state, decision = step(state, now, inputs, OPTIONS)
        if acts and decision.replies[0].accepted:
            acts.pop(0)
        faults |= set(decision.faults)
        stamp = StampNs(now + PHASE + OFFSET)
        if decision.window is not None:
            assert controller.receive(message(decision.window), stamp) is None
        commanded = controller.update(stamp, position, velocity)
        said = SteadyNs(now + PHASE)
        heard = (Reference(commanded, said, SteadyNs(said + MS)),) if k % 2 else ()
    return state.mode.mode, faults


@pytest.mark.parametrize("semantics", SAFE)
def test_no_release_that_is_set_up_right_is_taken_for_a_stranger(semantics):
    assert loop(SAFE[semantics]) == (Mode.POLICY, set())


def test_a_release_that_plays_windows_late_is_found_out():
    mode, faults = loop(TrajectoryControllerOptions("master"))
    assert mode in {Mode.STOPPING, Mode.FAULT}
    assert faults & {Fault.FOREIGN_WRITER, Fault.COMMANDS_REFUSED}
