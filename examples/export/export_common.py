# SPDX-License-Identifier: Apache-2.0
"""What every export script shares: the bundle's folder, the recording, and the oracle's answer.

A script makes two things from nothing, deterministically:

- `bundles/<family>/`: what a lab would hand to the runtime;
- `parity/<family>.npz`: raw observations, and what the family's own code makes of them.

Nothing here imports the runtime: the second must not depend on what it is to be compared with.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from safetensors.numpy import save

HERE = Path(__file__).parent
BUNDLES = HERE / "bundles"
PARITY = HERE / "parity"
OPSET = 17

SO101_JOINTS = (
    "shoulder_pan",
    "shoulder_lift",
    "elbow_flex",
    "wrist_flex",
    "wrist_roll",
    "gripper",
)
SO101_HOME = (0.08, -1.24, 0.72, 1.37, 1.73, 1.0)
"""[rad], where episodes of the simulated arm begin."""

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Recording:
    """N observations, one period of the bundle apart, as the robot gives them.

    Attributes:
        joint_names: (J,), in the order of the columns.
        position: (N, J) [rad].
        velocity: (N, J) [rad/s].
        images: (N, H, W, 3) uint8 RGB by camera, as large as the camera's frames; the camera
            `goal` is a goal image.
        task: What the policy is told in words, or "".
        goals: (N, ...) by name; `position` is a place for the hand in the base frame [m].
    """

    joint_names: tuple[str, ...]
    position: npt.NDArray[np.float64]
    velocity: npt.NDArray[np.float64]
    images: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    task: str = ""
    goals: Mapping[str, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True)
class Oracle:
    """What the family's own code answers to each of the N observations.

    Attributes:
        actions: (N, T, K): row i is for `(i + 1) / rate` after the observation; joint targets
            [rad] unless `kind` says efforts [N m].
        names: (K,) joints of the columns of `actions`.
        poses: (N, T, 7) x y z qx qy qz qw of `frame` in the base frame, of Cartesian policies.
        frame: The hand's frame.
        tokens: (N, M), of policies that emit tokens.
        kind: What `actions` are.
    """

    actions: FloatArray | None = None
    names: Sequence[str] = ()
    poses: FloatArray | None = None
    frame: str = ""
    tokens: npt.NDArray[np.int64] | None = None
    kind: Literal["position", "effort"] = "position"


def record(
    rate: float,
    *,
    seed: int = 0,
    steps: int = 5,
    names: Sequence[str] = SO101_JOINTS,
    home: Sequence[float] = SO101_HOME,
    cameras: Mapping[str, tuple[int, int]] | None = None,
) -> Recording:
    """A slow smooth motion around `home`, and frames in which things move.

    A task is added with `dataclasses.replace`, a goal with `with_goal`.

    Args:
        rate: Of the bundle [Hz].
        seed: Of everything.
        steps: Observations.
        names: Joints.
        home: Where the motion is (J,) [rad].
        cameras: (height, width) of each camera's frames [px].
    """
    rng = np.random.default_rng(seed)
    time_s = np.arange(steps)[:, None] / rate
    swing = rng.uniform(0.05, 0.2, len(names))
    turn, phase = rng.uniform(0.5, 1.5, len(names)), rng.uniform(0.0, 6.28, len(names))
    images = {
        name: np.stack([_frame(np.random.default_rng([seed, k]), size, i) for i in range(steps)])
        for k, (name, size) in enumerate((cameras or {}).items())
    }
    return Recording(
        tuple(names),
        np.array(home) + swing * np.sin(turn * time_s + phase),
        swing * turn * np.cos(turn * time_s + phase),
        images,
    )


def with_goal(
    seen: Recording, begin: Sequence[float] = (0.2, -0.05, 0.12), way: float = 0.05
) -> Recording:
    """The recording, with a place for the hand that moves from `begin` on, `way` per axis [m]."""
    goals = np.array(begin) + np.linspace(0, way, len(seen.position))[:, None]
    return replace(seen, goals={"position": goals})


def _frame(rng: np.random.Generator, size: tuple[int, int], index: int) -> npt.NDArray[np.uint8]:
    """Coloured blocks that move over a gradient: compresses well, and no two frames are alike."""
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([rows * 200 // height, columns * 200 // width, (rows + columns) // 2], -1)
    for _ in range(8):
        top, left = rng.integers(0, height), rng.integers(0, width)
        move = rng.integers(-3, 4, 2) * index
        down = rng.integers(height // 8, height // 3)
        right = rng.integers(width // 8, width // 3)
        box = (
            slice(max(top + move[0], 0), top + down),
            slice(max(left + move[1], 0), left + right),
        )
        pixels[box] = rng.integers(0, 256, 3)
    return pixels.astype(np.uint8)


def export_graph(
    module: torch.nn.Module,
    inputs: Mapping[str, torch.Tensor],
    outputs: Sequence[str],
    path: Path,
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None,
    tolerance: float = 1e-5,
) -> None:
    """Write `module` as one file, and make sure that ONNX Runtime gives what torch gives.

    Args:
        module: Takes the inputs in their order.
        inputs: An example of each, by name.
        outputs: Names.
        path: File; its folder is made.
        dynamic_axes: As `torch.onnx.export` takes them.
        tolerance: Largest difference, relative to the larger of 1 and the output.

    Raises:
        RuntimeError: If the graph differs from the network.
    """
    axes = None if dynamic_axes is None else {k: dict(v) for k, v in dynamic_axes.items()}
    module.eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        module,
        tuple(inputs.values()),
        str(path),
        input_names=list(inputs),
        output_names=list(outputs),
        opset_version=OPSET,
        dynamic_axes=axes,
        dynamo=False,
    )
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    # The exporter leaves out an input that nothing depends on.
    taken = {given.name for given in session.get_inputs()}
    found = session.run(list(outputs), {n: t.numpy() for n, t in inputs.items() if n in taken})
    with torch.no_grad():
        wanted = module(*inputs.values())
    wanted = wanted if isinstance(wanted, tuple | list) else (wanted,)
    for name, ours, theirs in zip(outputs, found, wanted, strict=True):
        reference = theirs.numpy().astype(np.float64)
        scale = max(1.0, float(np.abs(reference).max(initial=0.0)))
        difference = float(np.abs(np.asarray(ours) - reference).max(initial=0.0)) / scale
        if difference > tolerance:
            raise RuntimeError(f"{path}: {name} differs from the network by {difference:.1e}")


def begin_bundle(family: str) -> Path:
    """The family's empty folder under `bundles`."""
    folder = BUNDLES / family
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def single(stats: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, npt.NDArray[np.float64]]:
    """Statistics as the file has them: single precision."""
    return {name: value.astype(np.float32).astype(np.float64) for name, value in stats.items()}


def write_stats(folder: Path, values: Mapping[str, FloatArray]) -> None:
    """Write `stats.safetensors`: `<feature>.<mean|std|min|max|...>`, float32."""
    arrays = {name: np.ascontiguousarray(value, np.float32) for name, value in values.items()}
    (folder / "stats.safetensors").write_bytes(save(arrays))


def finish_bundle(folder: Path, document: str) -> None:
    """Write `policy.yaml`: `document`, and the hash of every other file of the folder."""
    files = sorted(path for path in folder.iterdir() if path.name != "policy.yaml")
    hashes = "".join(f"  {p.name}: {hashlib.sha256(p.read_bytes()).hexdigest()}\n" for p in files)
    head = f"# Made by examples/export/{folder.name}.py.\n"
    (folder / "policy.yaml").write_text(f"{head}{document.strip()}\nfiles:\n{hashes}")
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"bundles/{folder.name}: {size / 1e3:.0f} kB")


def write_parity(family: str, seen: Recording, answer: Oracle, tolerance: float = 1e-5) -> None:
    """Write `parity/<family>.npz`; docs/families.md describes its keys.

    Raises:
        ValueError: If the oracle did not answer every observation, or not with numbers.
    """
    values: dict[str, Any] = {
        "joint_names": np.array(seen.joint_names),
        "state.position": seen.position,
        "state.velocity": seen.velocity,
        "tolerance": np.array(tolerance),
        **{f"image.{name}": frames for name, frames in seen.images.items()},
        **{f"goal.{name}": np.asarray(goal, np.float64) for name, goal in seen.goals.items()},
    }
    if seen.task:
        values["task"] = np.array(seen.task)
    if answer.actions is not None:
        values["actions"] = np.asarray(answer.actions, np.float64)
        values["action_names"] = np.array(list(answer.names))
    if answer.poses is not None:
        values["poses"] = np.asarray(answer.poses, np.float64)
        values["frame"] = np.array(answer.frame)
    if answer.tokens is not None:
        values["tokens"] = np.asarray(answer.tokens, np.int64)
    if answer.kind != "position":
        values["kind"] = np.array(answer.kind)
    for name in ("actions", "poses", "tokens"):
        rows = values.get(name)
        if rows is not None and (len(rows) != len(seen.position) or not np.all(np.isfinite(rows))):
            raise ValueError(f"{family}: {name} must be one finite answer per observation")
    PARITY.mkdir(exist_ok=True)
    path = PARITY / f"{family}.npz"
    np.savez_compressed(path, **values)
    print(f"parity/{family}.npz: {path.stat().st_size / 1e3:.0f} kB")
