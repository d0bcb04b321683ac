# SPDX-License-Identifier: Apache-2.0
"""What the runtime adds to an inference: from the newest frame to the chunk, and on to the wire.

The graph runs as on a robot, with cameras of a given size. At the same time, in a process of its
own, a plain Python loop does the same work on the same bundle without ROS, threads or watchdogs:
preprocess, infer, merge, make the message. So both have the same neighbours, whatever those do.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import yaml

from levine_policy_node.core.observation import Observation
from levine_policy_node.core.placement import ChunkPlacer
from levine_policy_node.core.trajectory_message import trajectory_bytes
from levine_policy_node.core.units import StampNs
from levine_policy_node.graph import GraphOptions, build_graph
from levine_policy_node.processes import ProcessGroup
from levine_policy_node.robot import Robot, load_robot
from levine_policy_node.ros.rollout import Rollout
from levine_policy_node.ros.scheduling import PROMPT, set_urgency
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.merge_choice import MergeChoice, merge_options
from levine_policy_node.runtime.onnx_policy import OnnxPolicy
from levine_policy_node.sim.tasks import PickPlaceTask

_PLAIN_PERIOD_S = 0.2


@dataclass(frozen=True, slots=True)
class Latency:
    """What one run measured, medians in [ms].

    Attributes:
        pixels: Width and height of the cameras.
        frame_to_chunk_ms: Newest frame received to chunk published.
        overhead_ms: The same without the time inside ONNX Runtime.
        plain_loop_ms: A plain loop doing the same work.
        plain_overhead_ms: The same without the time inside ONNX Runtime: less is not to be had
            from Python on this machine.
        chunk_to_command_ms: Chunk published to the first message to the controller made with it.
        ticks: The same in control periods.
    """

    pixels: int
    frame_to_chunk_ms: float
    overhead_ms: float
    plain_loop_ms: float
    plain_overhead_ms: float
    chunk_to_command_ms: float
    ticks: float

    @property
    def ratio(self) -> float:
        """How many times longer than the plain loop."""
        return self.frame_to_chunk_ms / self.plain_loop_ms


def run_latency(pixels: int, episodes: int, *, robot: str, policy: str) -> Latency:
    """Run the graph with square cameras of `pixels` and measure.

    Raises:
        ConfigError: If robot and policy do not fit.
        RolloutError: If a process dies or a step is refused.
    """
    with tempfile.TemporaryDirectory(prefix="levine_bench_") as folder:
        path = _with_cameras(load_robot(robot), pixels, Path(folder))
        options = GraphOptions(
            robot=str(path), policy=policy, recorder=False, simulate=True, log_level="warn"
        )
        with ProcessGroup(build_graph(options), options, log_directory=Path(folder) / "logs"):
            rollout = Rollout(recorder=False)
            try:
                rollout.wait_ready(lambda: None)
                with _plain_loop(path, policy) as plain:
                    for seed in range(episodes):
                        rollout.run_episode(seed, PickPlaceTask.horizon_s)
                wanted = {"policy_executor", "safety_supervisor"}
                rollout.diagnostics.clear()
                rollout.spin_until(lambda: wanted <= set(rollout.diagnostics), 3.0)
                found = dict(rollout.diagnostics)
            finally:
                rollout.close()
    plain_ms, plain_overhead_ms = 1e3 * np.median(plain, axis=0)
    executor, supervisor = found["policy_executor"], found["safety_supervisor"]
    command_ms = float(supervisor["chunk_to_command_ms_p50"])
    return Latency(
        pixels=pixels,
        frame_to_chunk_ms=round(float(executor["frame_to_chunk_ms_p50"]), 3),
        overhead_ms=round(float(executor["overhead_ms_p50"]), 3),
        plain_loop_ms=round(float(plain_ms), 3),
        plain_overhead_ms=round(float(plain_overhead_ms), 3),
        chunk_to_command_ms=round(command_ms, 3),
        ticks=round(command_ms / 10.0, 2),
    )


def _with_cameras(robot: Robot, pixels: int, folder: Path) -> Path:
    """A copy of the robot file whose cameras have `pixels` each way."""
    document = yaml.safe_load(robot.path.read_text())
    for camera in document["cameras"].values():
        camera["width"] = camera["height"] = pixels
    path = folder / "robot.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@contextmanager
def _plain_loop(robot: Path, policy: str) -> Iterator[list[tuple[float, float]]]:
    """Run the loop meanwhile; the list has the times of each turn once the context is left."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_turns, args=(theirs, str(robot), policy), daemon=True)
    process.start()
    theirs.close()
    took_s: list[tuple[float, float]] = []
    try:
        ours.recv()
        yield took_s
        ours.send("end")
        took_s += ours.recv()
    finally:
        process.terminate()
        process.join()


def _turns(connection: Connection, robot_file: str, policy: str) -> None:
    """Until something is received; then send the time of each turn, with and without ORT [s]."""
    # As urgent as the runtime.
    set_urgency(PROMPT)
    robot, bundle = load_robot(robot_file), load_bundle(policy)
    loaded = OnnxPolicy(bundle, robot)
    choice = merge_options(bundle.document.chunk, robot, MergeChoice())
    placer = ChunkPlacer(robot.limits(), choice)
    rng = np.random.default_rng(0)
    took_s: list[tuple[float, float]] = []
    connection.send("ready")
    wait_s = 0.0
    # At the pace of the executor, or caches would be warmer than they are there.
    while not connection.poll(wait_s):
        images = {
            name: rng.integers(0, 256, (camera.height, camera.width, 3), dtype=np.uint8)
            for name, camera in robot.cameras.items()
        }
        now_ns = StampNs(time.time_ns())
        begin_s = time.perf_counter()
        chunk = loaded.infer(Observation(now_ns, robot.home_position(), images))
        merged = placer.place(chunk, now_ns, playing=True)
        if merged is not None:
            trajectory_bytes(merged.timeline)
        turn_s = time.perf_counter() - begin_s
        took_s.append((turn_s, turn_s - loaded.graph_s))
        wait_s = max(0.0, _PLAIN_PERIOD_S - turn_s)
    loaded.close()
    connection.send(took_s)
