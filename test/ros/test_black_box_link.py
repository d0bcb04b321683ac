# SPDX-License-Identifier: Apache-2.0
"""The black box beside a real supervisor: what it leaves behind, and that nobody waits for it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from harness import Graph, ros_graph, wait_until
from stop_ticks import Scene
from supervisor_bench import ROBOT, Bench

from levine_policy_node.core.modes import Event
from levine_policy_node.core.stop_messages import TYPES
from levine_policy_node.core.stop_record import StopRecord
from levine_policy_node.core.stop_report import report_of
from levine_policy_node.core.units import SteadyNs
from levine_policy_node.nodes.black_box_link import BlackBoxLink
from levine_policy_node.runtime.stop_file import read_stop


@contextlib.contextmanager
def bench_in(graph: Graph, stops: Path) -> Iterator[Bench]:
    bench = Bench(graph, stops=str(stops))
    try:
        yield bench.refresh()
    finally:
        bench.script.close()


@pytest.fixture
def graph() -> Iterator[Graph]:
    with ros_graph() as made:
        yield made


def box_of(bench: Bench) -> psutil.Process:
    (child,) = psutil.Process(bench.process.pid).children()
    return child


def stop_of(folder: Path, cause: str) -> StopRecord:
    files: list[Path] = []

    def is_there() -> bool:
        files[:] = sorted(folder.glob(f"stop_*_{cause}.mcap"))
        return bool(files)

    wait_until(is_there, 30.0, f"a stop of {cause} in {folder}")
    record = read_stop(files[-1])
    assert isinstance(record, StopRecord)
    return record


def test_a_stop_is_recorded_and_so_is_the_death_of_the_supervisor(graph, tmp_path):
    with bench_in(graph, tmp_path / "stops") as bench:
        bench.engage()
        bench.script.policy_on = False
        bench.spin_until(lambda: bool(bench.said("BLACK_BOX")), "what became of it", 30.0)
        text = bench.said("BLACK_BOX")[0][1]
        assert "levine record show" in text
        record = read_stop(Path(text.rpartition(" ")[2]))
        assert isinstance(record, StopRecord)
        report = report_of(record)
        # POLICY_LOST, unless a machine that is held up stopped the arm for another reason before.
        cause, evidence = record.metadata["cause"], record.metadata["evidence"]
        assert any(evidence in heard for _, heard in bench.said(cause))
        assert cause in {event.name for event in record.events}
        assert record.metadata["robot"]["name"] == "sim_so101"
        assert record.metadata["limits"]["elbow_flex"]["placeholder"]
        assert report.modes[0][1] == record.metadata["before"] == "POLICY"
        assert report.modes[1][1] == record.metadata["mode"]
        assert report.seconds_after >= 0.9
        assert "policy:swing@0badcafe#0" in report.policies
        assert len(record.measured.times_s) > 20

        box = box_of(bench)
        bench.process.send(signal.SIGKILL)
        assert bench.process.wait() == -signal.SIGKILL
        record = stop_of(tmp_path / "stops", "SUPERVISOR_DIED")
        assert record.metadata["before"].partition("(")[0] in bench.modes
        wait_until(lambda: not box.is_running(), 30.0, "the end of the black box")


def test_a_loop_that_fails_is_a_stop_with_its_reason(tmp_path):
    link = BlackBoxLink(
        {
            "root": str(tmp_path),
            "keep_files": 10,
            "keep_mb": 500,
            "reserve_gb": 0.0,
            "joint_names": list(ROBOT.joint_names),
            "topics": {topic: f"/{topic}" for topic in TYPES},
            "document": {"limits": {name: {} for name in ROBOT.joint_names}},
        }
    )
    scene = Scene()
    for acts in [()] * 10 + [(Event.ARM,)] + [()] * 50:
        scene.tick(*acts)
        link.remember(SteadyNs(scene.now_ns), scene.inputs, scene.decision)
    link.close("ValueError: of some kind")
    record = stop_of(tmp_path, "LOOP_FAILED")
    assert record.metadata["evidence"] == "ValueError: of some kind"
    assert record.metadata["before"] == "ARMED"
    assert len(record.ticks) == 61
    assert link.status["black_box_ticks_lost"] == "0"


def test_nobody_waits_for_a_black_box_that_hangs_or_cannot_write(graph, tmp_path):
    folder = tmp_path / "file"
    folder.write_text("in the way")
    with bench_in(graph, folder) as bench:
        bench.engage()
        bench.insist("stop")
        bench.spin_until(lambda: bool(bench.said("BLACK_BOX")), "what became of it", 30.0)
        assert "cannot be used" in bench.said("BLACK_BOX")[0][1]
        # One that stands still in the middle of a write, as with a disk that hangs.
        box = box_of(bench)
        os.kill(box.pid, signal.SIGSTOP)
        try:
            bench.insist("reset")
            bench.engage()
            sent = len(bench.commands)
            bench.spin_until(lambda: len(bench.commands) > sent + 200, "commands")
        finally:
            os.kill(box.pid, signal.SIGCONT)
        # And one that is gone.
        os.kill(box.pid, signal.SIGKILL)
        bench.spin_until(
            lambda: "no black box" in bench.said("BLACK_BOX")[-1][1], "its loss is told", 30.0
        )
        sent = len(bench.commands)
        bench.spin_until(lambda: len(bench.commands) > sent + 50, "commands")
        bench.insist("disarm")
        bench.assert_all_windows_are_abandon_safe()
