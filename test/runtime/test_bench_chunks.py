# SPDX-License-Identifier: Apache-2.0
"""The seam benchmark: our real placement meets its targets beside the rules of others."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from levine_policy_node.bench.chunk_stream import PolicyStream, StreamSpec, play
from levine_policy_node.bench.chunks import (
    ABLATIONS,
    EXECUTORS,
    PREFIX,
    ChunkBench,
    play_executor,
    run_chunks,
)
from levine_policy_node.bench.peer_curves import clamped_velocities
from levine_policy_node.bench.peer_rules import TrapezoidalFilter
from levine_policy_node.cli.main import main

SMOOTHED = "levine blend + smoothing 60 ms"
ENSEMBLE = "levine ensemble + smoothing 60 ms"
EXACT = replace(StreamSpec(), bias_rad=0.0, noise_rad=0.0, tracking_lag_s=0.0, switch_jitter_s=0.0)


@pytest.fixture(scope="module")
def rows():
    bench = ChunkBench((25.0,), ((0.15, 0.03),), seeds=1, duration_s=12.0)
    return {row["executor"]: row for row in run_chunks(bench, lambda spec: None)}


def test_every_executor_has_a_row(rows):
    assert list(rows) == list(EXECUTORS)
    assert all(np.isfinite(list(row.values())[1:]).all() for row in rows.values())


def test_ours_is_smooth_right_and_on_time(rows):
    ours = rows[SMOOTHED]
    peers = [row["rms_jerk"] for name, row in rows.items() if not name.startswith(PREFIX)]
    assert ours["rms_jerk"] <= 40.0
    assert 25.0 * ours["rms_jerk"] <= min(peers)
    assert ours["rmse_mrad"] <= 17.0
    assert abs(ours["lag_ms"]) <= 12.0
    assert ours["starved_pct"] == 0.0


def test_our_ensemble_is_as_accurate_as_acts(rows):
    assert rows[ENSEMBLE]["rmse_mrad"] <= 11.0
    assert rows[ENSEMBLE]["rms_jerk"] <= 60.0


def test_our_gripper_switches_once_and_is_not_smeared(rows):
    for name in (SMOOTHED, ENSEMBLE):
        assert rows[name]["gripper_crossings"] == 1.0
        assert rows[name]["gripper_overshoot_pct"] <= 10.0
        assert rows[name]["gripper_smear_ms"] <= 100.0
        assert rows[name]["gripper_late_ms"] <= 100.0


@pytest.mark.parametrize(
    ("name", "low_ms", "high_ms"),
    [
        ("linear, played from arrival", 150.0, 250.0),
        ("openpi ActionChunkBroker", 150.0, 250.0),
        ("JTC upsampling (#2491), from arrival", 150.0, 280.0),
        ("Isaac ROS Deploy chunk_sampler", 0.0, 40.0),
        ("LeRobot async latest_only", 0.0, 40.0),
        ("JTC + continuity, sender trims", 0.0, 40.0),
        ("cyclo ActionChunkProcessor", -200.0, 0.0),
    ],
)
def test_only_what_is_placed_in_time_is_on_time(rows, name, low_ms, high_ms):
    assert low_ms <= rows[name]["lag_ms"] <= high_ms


@pytest.mark.parametrize("name", [*EXECUTORS, *ABLATIONS])
def test_the_same_stream_gives_the_same_command(name):
    first, second = (play_executor(name, StreamSpec(), 7, 1.5) for _ in range(2))
    np.testing.assert_array_equal(first.commands, second.commands)


@pytest.mark.parametrize(
    "name",
    [
        *ABLATIONS,
        SMOOTHED,
        ENSEMBLE,
        "Isaac ROS Deploy chunk_sampler",
        "JTC + continuity, sender trims",
    ],
)
@pytest.mark.parametrize("policy_hz", [10.0, 50.0])
def test_a_perfect_policy_is_followed_by_whoever_places_in_time(name, policy_hz):
    spec = replace(EXACT, policy_hz=policy_hz)
    stream = PolicyStream(spec, 2)
    sent = play(stream, {**EXECUTORS, **ABLATIONS}[name](spec), 3.0, 3.0)
    error = sent.commands[:, :6] - stream.motion.arm(sent.times_s)
    assert np.sqrt(np.mean(error**2)) < 0.006


def test_who_waits_for_the_next_chunk_starves():
    assert play_executor("openpi ActionChunkBroker", StreamSpec(), 0, 6.0).starved.mean() > 0.1


def test_the_trapezoidal_filter_arrives_at_rest_within_its_limits():
    follow = TrapezoidalFilter(1.0, 5.0, 0.01)
    follow.step(np.zeros(1))
    path = np.array([follow.step(np.ones(1))[0] for _ in range(200)])
    assert path[-1] == pytest.approx(1.0)
    assert np.max(np.diff(path)) <= 0.01 + 1e-9
    assert np.max(path) <= 1.0 + 1e-9


def test_a_clamped_spline_reproduces_a_cubic():
    t = 0.1 * np.arange(8)
    rows = (t**2 * (0.7 - t))[:, None] * 3.0
    slopes = clamped_velocities(rows, 0.1, np.zeros(1))
    exact = 3.0 * (1.4 * t - 3.0 * t**2)
    exact[-1] = 0.0
    # The last slope is forced to rest; its influence dies out by a factor 4 a row.
    np.testing.assert_allclose(slopes[:3, 0], exact[:3], atol=0.01)
    assert slopes[-1, 0] == 0.0


def test_the_command_writes_results_and_its_part_of_the_document(tmp_path):
    out, docs = tmp_path / "out.json", tmp_path / "benchmarks.md"
    docs.write_text("# Benchmarks\n\nWritten by hand.\n")
    arguments = ["--policy-hz", "25", "--latency-ms", "150", "--seeds", "1", "--duration-s", "4"]
    command = ["bench", "chunks", "--json", str(out), "--docs", str(docs), *arguments]
    assert main(command) == 0
    rows = json.loads(out.read_text())["rows"]
    needed = {"executor", "policy_hz", "rms_jerk", "rmse_mrad", "lag_ms", "starved_pct"}
    assert all(needed <= set(row) for row in rows)
    assert (tmp_path / "bench_chunks.png").stat().st_size > 10_000
    assert "Written by hand." in docs.read_text()
    assert docs.read_text().count("## Seams between chunks") == 1


@pytest.mark.parametrize(
    "arguments", [["--seeds", "0"], ["--policy-hz", "0.5"], ["--latency-ms", "-1"]]
)
def test_a_wrong_value_is_one_line(arguments, capsys):
    assert main(["bench", "chunks", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: levine bench chunks: ")
    assert len(error.splitlines()) == 1
