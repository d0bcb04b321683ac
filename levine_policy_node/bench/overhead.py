# SPDX-License-Identifier: Apache-2.0
"""What the executor adds to ONNX Runtime: whole inferences beside bare runs of the same graphs.

Both take turns in one process, and what counts is the processor time of the thread, in which
ONNX Runtime runs too: another process on the machine delays both and is in neither.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from levine_policy_node.bench.expert_graph import ExpertSize, encoder_graph, expert_graph
from levine_policy_node.core.observation import Observation
from levine_policy_node.core.units import NS_PER_S, StampNs
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.onnx_loader import GraphFiles, OnnxOptions, make_session
from levine_policy_node.runtime.onnx_policy import OnnxPolicy
from levine_policy_node.runtime.trust import Trust

Loop = Literal["flow", "diffusion"]
LOOPS: dict[Loop, tuple[dict[str, Any], str, str, str]] = {
    "flow": ({"type": "flow"}, "x_t", "timestep", "float32"),
    "diffusion": (
        {"type": "diffusion", "scheduler": "ddim", "num_train_timesteps": 100},
        "sample",
        "timestep",
        "int64",
    ),
}
# Small for action experts, of which SmolVLA's has 100 M parameters. What is added hardly grows
# with the graph: 0.1 to 0.3 ms a step on two busy cores, 13 to 23 % of 0.4 M parameters.
SIZES = (ExpertSize(256, 4), ExpertSize(512, 4))
STEPS = 10
_WARM_UP = 3
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Overhead:
    """What one loop took, medians.

    Attributes:
        loop: Which sampler.
        parameters: Of the graph that is run every step.
        graph_mb: Its size [MB].
        bare_ms: Processor time of the runs of ONNX Runtime alone [ms].
        infer_ms: Processor time of a whole inference, from the observation to joint targets [ms].
        ratio: How much more that is, 0.05 for 5 %; median over pairs.
        wall_ratio: The same of times on the clock.
        pairs: How many of each.
    """

    loop: Loop
    parameters: int
    graph_mb: float
    bare_ms: float
    infer_ms: float
    ratio: float
    wall_ratio: float
    pairs: int


def run_overhead(loop: Loop, size: ExpertSize, pairs: int, robot: Robot) -> Overhead:
    """Measure one sampler of `STEPS` steps with one size of graph."""
    decoder, sample, clock, dtype = LOOPS[loop]
    step, parameters = expert_graph(size, sample, clock, dtype)
    graphs = {"encode.onnx": encoder_graph(size, len(robot.joint_names)), "step.onnx": step}
    with tempfile.TemporaryDirectory(prefix="levine_bench_") as folder:
        _write(Path(folder), {**decoder, "steps": STEPS}, graphs, size, robot)
        # Whatever a machine needs is measured, not refused.
        patient = OnnxOptions(timeout_s=_PATIENCE_S)
        policy = OnnxPolicy(load_bundle(folder, Trust("off")), robot, patient)
    encode, denoise = (
        make_session(GraphFiles(content, name), "cpu", OnnxOptions())
        for name, content in graphs.items()
    )
    rng = np.random.default_rng(0)
    state = rng.uniform(-0.5, 0.5, len(robot.joint_names))
    noise = rng.normal(size=(1, size.rows, size.columns)).astype(np.float32)
    stamps = itertools.count(0, NS_PER_S)
    times = [np.full(1, t, dtype=dtype) for t in range(STEPS)]

    def bare() -> None:
        (token,) = encode.run(["cond"], {"state": state[None].astype(np.float32)})
        for now in times:
            denoise.run(["prediction"], {sample: noise, clock: now, "cond": token})

    def infer() -> None:
        policy.infer(Observation(StampNs(next(stamps)), state, {}))

    try:
        measured = [(_timed(bare), _timed(infer)) for _ in range(_WARM_UP + pairs)][_WARM_UP:]
    finally:
        policy.close()
    return Overhead(
        loop=loop,
        parameters=parameters,
        graph_mb=round(len(step) / 1e6, 1),
        bare_ms=round(statistics.median(b[0] for b, _ in measured) * 1e3, 2),
        infer_ms=round(statistics.median(i[0] for _, i in measured) * 1e3, 2),
        ratio=round(statistics.median(i[0] / b[0] for b, i in measured) - 1.0, 4),
        wall_ratio=round(statistics.median(i[1] / b[1] for b, i in measured) - 1.0, 4),
        pairs=pairs,
    )


def _timed(run: Callable[[], None]) -> tuple[float, float]:
    """Processor time of this thread, and time on the clock [s]."""
    thread_s, wall_s = time.thread_time(), time.perf_counter()
    run()
    return time.thread_time() - thread_s, time.perf_counter() - wall_s


def _write(
    folder: Path,
    decoder: dict[str, Any],
    graphs: dict[str, bytes],
    size: ExpertSize,
    robot: Robot,
) -> None:
    """A bundle whose padded, normalised actions are all that real ones have to be undone."""
    joints = list(robot.joint_names)
    columns = {"mean": [0.0] * len(joints), "std": [0.1] * len(joints)}
    document = {
        "format": "policy_package",
        "version": "1.1",
        "name": "overhead",
        "robot": robot.model,
        "rate": 30,
        "graphs": {name.removesuffix(".onnx"): name for name in graphs},
        "observations": {
            "state": {"kind": "state/joint/position", "names": joints, "normalize": "mean_std"}
        },
        "decoder": {**decoder, "shape": [size.rows, size.columns]},
        "action": {
            "normalize": "mean_std",
            "parts": [{"kind": "target/joint/position", "names": joints, "mode": "relative"}],
        },
        "chunk": {"size": size.rows, "execute": size.rows // 2},
        "stats": {"state": columns, "action": columns},
    }
    for name, content in graphs.items():
        (folder / name).write_bytes(content)
    (folder / "policy.yaml").write_text(yaml.safe_dump(document))
