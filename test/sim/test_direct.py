# SPDX-License-Identifier: Apache-2.0
"""The cell without ROS: what an inference that takes its time is told, and what comes of it."""

from __future__ import annotations

import pytest
from bundle_factory import JOINTS, encode_model, flow_document, flow_model, write_bundle
from echo_bundle import write_echo
from onnx import TensorProto

from levine_policy_node.runtime.merge_choice import MergeChoice
from levine_policy_node.sim.direct import Delay, run_direct
from levine_policy_node.sim.tasks import Episodes, PickPlaceTask

STATE = {"kind": "state/joint/position", "names": list(JOINTS)}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(PickPlaceTask, "horizon_s", 2.0)

    def results(latency_s, rule="bundle", **rtc):
        described = flow_document(chunk__rtc=rtc) if rtc else flow_document()
        graph = flow_model(step=0.0, bias=0.0)
        files = {"encode.onnx": encode_model()}
        return run_direct(
            robot="sim_so101",
            policy=str(write_bundle(tmp_path / "bundle", described, graph, files)),
            episodes=Episodes(range(1)),
            delay=Delay(latency_s),
            merge=MergeChoice(rule=rule),
            on_episode=lambda index, result: None,
        )

    return results


def test_a_flow_continues_what_is_played_and_repeats_itself_exactly(run):
    results = run(0.25)
    assert results["rtc_chunks"] >= 5
    assert results["rtc_outside_delay"] == results["rtc_delay_exceeded"] == 0
    assert results["limit_violations"] == 0
    assert run(0.25) == results


def test_a_delay_beyond_the_trained_one_is_told(run):
    results = run(0.25, mode="trained", max_delay=2)
    assert results["rtc_chunks"] == 0
    assert results["rtc_outside_delay"] >= 5
    told = [text for text in results["occurrences"] if "after 3 rows" in text]
    assert len(told) == 1
    assert "trained for a delay of at most 2" in told[0]


def test_without_the_rule_nothing_is_told(run):
    assert run(0.0, rule="blend")["rtc_chunks"] == 0


def test_a_policy_with_a_memory_sees_every_row_between_inferences(tmp_path, monkeypatch):
    monkeypatch.setattr(PickPlaceTask, "horizon_s", 2.0)
    # Inferences are four rows apart: without those between them this fails.
    bundle = write_echo(
        tmp_path / "past",
        {"s": {**STATE, "history": {"steps": 4, "mask": "seen"}}},
        {"s": ([1, 4, 6], TensorProto.FLOAT), "seen": ([1, 4], TensorProto.INT64)},
        chunk={"size": 5, "execute": 4},
    )
    results = run_direct(
        robot="sim_so101",
        policy=str(bundle),
        episodes=Episodes(range(1)),
        delay=Delay(0.0),
        merge=MergeChoice(),
        on_episode=lambda index, result: None,
    )
    assert results["inferences"] >= 4
    assert results["limit_violations"] == 0
