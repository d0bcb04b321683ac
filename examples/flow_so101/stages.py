# SPDX-License-Identifier: Apache-2.0
"""The data of every stage, made by `examples/train_so101`, kept in a folder between runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from collect import Recipe, Samples, collect

MAX_DELAY = 6
"""Rows of a chunk that the motion under way may take up, at most."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Episodes of one kind: name, seeds and recipe."""

    name: str
    seeds: range
    recipe: Recipe


def demonstrations() -> tuple[Stage, ...]:
    """Of the expert: from home, disturbed, and from anywhere."""
    kinds = (
        ("home", range(40_000, 40_040), 0.0, False),
        ("disturbed", range(40_100, 40_160), 0.03, False),
        ("scattered", range(40_200, 40_270), 0.1, True),
    )
    return tuple(
        Stage(name, seeds, Recipe(rad, scattered, max_committed=MAX_DELAY))
        for name, seeds, rad, scattered in kinds
    )


def visits(name: str, seeds: range, policy: Path, *, max_delay_s: float) -> Stage:
    """What a policy meets that is up to `max_delay_s` [s] late."""
    return Stage(
        name, seeds, Recipe(policy=policy, max_delay_s=max_delay_s, max_committed=MAX_DELAY)
    )


def gather(stages: tuple[Stage, ...], folder: Path, workers: int) -> Samples:
    """Collect what `folder` does not have yet, and return all of it."""
    return Samples.join([_gather(stage, folder, workers) for stage in stages])


def _gather(stage: Stage, folder: Path, workers: int) -> Samples:
    path = folder / f"{stage.name}.npz"
    if path.exists():
        return _read(path)
    samples = collect(stage.seeds, stage.recipe, workers)
    print(
        f"{stage.name}: {samples.successes}/{samples.episodes} succeeded, "
        f"{len(samples.joints)} samples",
        flush=True,
    )
    folder.mkdir(parents=True, exist_ok=True)
    # Renamed when complete, so that an interrupted run leaves no half a file.
    partial = path.with_suffix(".part.npz")
    np.savez(
        partial,
        frames=samples.frames,
        joints=samples.joints,
        rows=samples.rows,
        committed=samples.committed,
        counts=np.array([samples.episodes, samples.successes]),
    )
    partial.rename(path)
    return samples


def _read(path: Path) -> Samples:
    with np.load(path, allow_pickle=False) as file:
        episodes, successes = (int(count) for count in file["counts"])
        return Samples(
            file["frames"], file["joints"], file["rows"], file["committed"], episodes, successes
        )
