# SPDX-License-Identifier: Apache-2.0
"""The supervisor's own process over real DDS, with an arm and a policy played by the test."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Iterator

import numpy as np
import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from harness import ros_graph
from std_msgs.msg import Bool
from std_srvs.srv import SetBool
from supervisor_bench import COMMANDS, PARAMETERS, ROBOT, Bench, in_free_space
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.core.units import StampNs, seconds
from levine_policy_node.nodes.supervisor_setup import SafetySupervisorParameters
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import ros_now
from levine_policy_node.ros.messages import (
    timeline_to_msg,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[Bench]:
    """One supervisor for all tests; starting a process takes longer than any of them."""
    with ros_graph() as graph:
        bench = Bench(graph, in_free_space(tmp_path_factory.mktemp("robot")))
        yield bench
        bench.script.close()


@pytest.fixture
def bench(shared: Bench) -> Bench:
    return shared.refresh()


def test_the_shipped_parameter_file_sets_every_parameter():
    document = yaml.safe_load(PARAMETERS.read_text())
    given = document["/**/safety_supervisor"]["ros__parameters"]
    fields = dataclasses.fields(SafetySupervisorParameters)
    assert set(given) == {f.name for f in fields if f.default is dataclasses.MISSING} - {"robot"}


def test_arm_engage_follow_pause_resume_home_disarm(bench):
    assert bench.mode == "DISARMED"
    success, message = bench.ask("engage")
    assert not success
    assert "supervisor/arm" in message
    bench.engage()
    bench.spin_until(lambda: len(bench.commands) > 150, "commands")
    sources = {m.header.frame_id for m in bench.commands}
    assert {"hold", "policy:swing@0badcafe#0"} <= sources
    assert len(bench.proposals) > 100
    assert "chosen with caution" in bench.process.output()
    bench.must("pause")
    bench.until("PAUSED")
    bench.spin_until(lambda: bench.speed() == 0.0, "a standing arm")
    bench.must("resume")
    bench.until("POLICY")
    bench.must("pause")
    bench.until("PAUSED")
    for _ in range(5):
        # A machine that is held up stops the arm on its way; a person would ask again.
        bench.must("home")
        bench.until("HUMAN")
        bench.until("PAUSED")
        bench.spin_until(lambda: bench.speed() == 0.0, "a standing arm")
        if np.allclose(bench.script.position, ROBOT.home_position(), atol=1e-6):
            break
    assert np.allclose(bench.script.position, ROBOT.home_position(), atol=1e-6)
    bench.must("disarm")
    bench.until("DISARMED")
    bench.assert_all_windows_are_abandon_safe()


def test_a_silent_policy_is_braked_and_the_arm_disarmed(bench):
    def stops() -> list[int]:
        return [t for t, text in bench.said("MODE") if "POLICY -> STOPPING" in text]

    reactions = []
    for _ in range(3):
        bench.engage()
        bench.script.policy_on = False
        bench.until("STOPPING")
        bench.spin_until(lambda: len(stops()) > len(reactions), "the event")
        reactions.append(seconds(stops()[-1] - bench.script.heartbeat_ns))
        bench.until("PAUSED")
        bench.spin_until(lambda: bench.speed() == 0.0, "a standing arm")
        bench.until("DISARMED")
    # Detection takes 100 ms and a tick; a busy machine may delay a trial, not all of them.
    assert min(reactions) <= 0.15
    bench.script.policy_on = True
    bench.ros.spin_for(0.3)
    assert bench.mode == "DISARMED"
    bench.assert_all_windows_are_abandon_safe()


def test_the_emergency_stop_latches_and_silences(bench):
    bench.engage()
    bench.estop.publish(Bool(data=True))
    bench.until("ESTOP")
    bench.ros.spin_for(0.1)
    sent = len(bench.script.windows), len(bench.commands)
    bench.ros.spin_for(0.5)
    assert (len(bench.script.windows), len(bench.commands)) == sent
    success, message = bench.ask("reset")
    assert not success
    assert "estop is true" in message
    bench.estop.publish(Bool(data=False))
    bench.insist("reset")
    bench.until("DISARMED")
    bench.assert_all_windows_are_abandon_safe()


def test_lost_joint_states_latch_a_protective_stop(bench):
    bench.engage()
    bench.script.arm_on = False
    bench.until("PSTOP")
    assert "joint_states" in bench.said("JOINT_STATES_LOST")[0][1]
    assert not bench.ask("reset")[0]
    bench.script.arm_on = True
    bench.insist("reset")


def test_chunks_for_other_joints_or_with_nan_stop_the_arm(bench):
    bench.engage()
    bench.script.chunks_on = False
    good = timeline_to_msg(bench.script.chunk())
    good.joint_names = ["elbow", *list(good.joint_names)[1:]]
    bench.script.chunks.publish(good)
    bench.spin_until(lambda: len(bench.said("BAD_CHUNK")) == 1, "the first refusal")
    broken = timeline_to_msg(bench.script.chunk())
    broken.points[3].positions[2] = float("nan")
    bench.script.chunks.publish(broken)
    bench.spin_until(lambda: len(bench.said("BAD_CHUNK")) == 2, "the second refusal")
    texts = [text for _, text in bench.said("BAD_CHUNK")]
    assert "elbow" in texts[0]
    assert "not finite" in texts[1]
    bench.spin_until(lambda: bench.mode in {"PSTOP", "PAUSED", "DISARMED"}, "the stop")


def test_a_second_publisher_is_refused(bench):
    node = bench.ros.node
    rogue = node.create_publisher(JointTrajectory, COMMANDS, qos.COMMAND)
    bench.spin_until(lambda: node.count_publishers(COMMANDS) == 2, "two publishers")
    assert "2 publishers" in bench.ask("arm")[1]
    node.destroy_publisher(rogue)
    bench.insist("arm")
    rogue = node.create_publisher(JointTrajectory, COMMANDS, qos.COMMAND)
    bench.until("FAULT")
    node.destroy_publisher(rogue)


def test_a_person_takes_over_and_hands_back(bench):
    bench.engage()
    # From farther away it could not be joined again in the time that a chunk lasts.
    swing = lambda: bench.script.chunk().positions[0]  # noqa: E731
    bench.spin_until(lambda: np.allclose(bench.script.position, swing(), atol=0.1), "the swing")

    def takeover(on: bool) -> tuple[bool, str]:
        reply = bench.ros.call(SetBool, "supervisor/takeover", SetBool.Request(data=on))
        return reply.success, reply.message

    assert "operator/target" in takeover(True)[1]
    held = bench.script.position + 0.1
    bench.script.held = held
    bench.ros.spin_for(0.2)
    assert takeover(True) == (True, "HUMAN")
    bench.until("HUMAN")
    bench.spin_until(lambda: np.allclose(bench.script.position, held, atol=1e-6), "the target")
    assert bench.proposals[-1].header.frame_id == "operator:test"
    handed_back, why = takeover(False)
    assert handed_back, why
    bench.until("POLICY")
    bench.must("stop")
    bench.until("PSTOP")
    bench.assert_all_windows_are_abandon_safe()


def test_diagnostics_say_how_the_loop_runs(bench):
    arrays = bench.ros.collect(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
    bench.spin_until(lambda: bool(arrays), "diagnostics")
    status = arrays[-1].status[0]
    assert status.name == "safety_supervisor"
    values = {v.key: v.value for v in status.values}
    assert values["mode"] == "DISARMED"
    assert int(values["ticks"]) > 0
    numbers = {
        "missed_ticks", "tick_lateness_ms_p50", "tick_lateness_ms_p99", "tick_lateness_ms_max",
        "command_gap_ms_max", "command_jitter_ms_p99",
    }  # fmt: skip
    assert all(float(values[key]) >= 0.0 for key in numbers)
    assert values["active_faults"] == ""


def test_ending_the_process_brakes_first(bench):
    bench.engage()
    assert bench.process.stop() == 0
    bench.ros.spin_for(0.3)
    assert bench.script.window is not None
    assert "STOPPING" in " ".join(text for _, text in bench.said("MODE")) or (
        "STOPPING" in bench.process.output()
    )
    bench.assert_all_windows_are_abandon_safe()


def test_killing_the_process_leaves_a_brake_with_the_controller(bench):
    bench.engage()
    bench.process.send(signal.SIGKILL)
    assert bench.process.wait() == -signal.SIGKILL
    bench.ros.spin_for(0.2)
    window, now = bench.script.window, ros_now(bench.ros.node)
    assert window is not None
    assert seconds(window.end_ns - now) < 1.0
    bench.spin_until(lambda: ros_now(bench.ros.node) > window.end_ns, "the end of the window")
    assert np.all(window.sample(StampNs(ros_now(bench.ros.node))).velocity == 0.0)
