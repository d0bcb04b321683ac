# SPDX-License-Identifier: Apache-2.0
"""Make policies/so101_pick_place from nothing: demonstrate, train, correct, export, evaluate."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import torch
from collect import Recipe, Samples, collect
from evaluate import Conditions, evaluate
from export import export_graph, write_bundle
from network import ChunkPolicy
from training import Schedule, new_policy, train

_HOME_SEEDS = range(20_000, 20_040)
_DISTURBED_SEEDS = range(20_100, 20_160)
_SCATTERED_SEEDS = range(20_200, 20_270)
_DAGGER_SEEDS = (range(30_000, 30_050), range(30_100, 30_150))
_HELD_OUT_SEEDS = range(600_000, 600_100)
_DISTURBED = Recipe(disturbance_rad=0.03)
_SCATTERED = Recipe(disturbance_rad=0.1, scattered=True)
_FIRST, _AGAIN = Schedule(1200), Schedule(1400)


def main() -> None:
    """Parse the command line and run every stage, saying how long each took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("policies/so101_pick_place"))
    parser.add_argument("--workers", type=int, default=2, help="processes that simulate")
    parser.add_argument("--threads", type=int, default=2, help="threads that train")
    arguments = parser.parse_args()
    # One thread per simulating process; they inherit this.
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(arguments.threads)
    began = time.monotonic()
    reproduce(arguments.out, arguments.workers)
    print(f"done in {(time.monotonic() - began) / 60:.1f} min")


def reproduce(out: Path, workers: int) -> None:
    """Run every stage and write the bundle to `out`."""
    samples = Samples.join(
        [
            _collect("demonstrations from home", _HOME_SEEDS, Recipe(), workers),
            _collect("disturbed demonstrations", _DISTURBED_SEEDS, _DISTURBED, workers),
        ]
    )
    policy = new_policy(samples)
    print("training on demonstrations")
    train(policy, samples, _FIRST)
    scattered = _collect("demonstrations from anywhere", _SCATTERED_SEEDS, _SCATTERED, workers)
    samples = Samples.join([samples, scattered])
    for number, seeds in enumerate(_DAGGER_SEEDS, 1):
        visited = _visited(policy, seeds, workers)
        samples = Samples.join([samples, visited])
        print(f"training on everything, {number} of {len(_DAGGER_SEEDS)}", flush=True)
        train(policy, samples, _AGAIN)
    write_bundle(policy, out)
    for conditions in (Conditions(delay_s=0.0), Conditions(delay_s=0.06)):
        score = evaluate(out / "policy.onnx", _HELD_OUT_SEEDS, conditions, workers)
        print(f"{conditions}: {score}", flush=True)


def _visited(policy: ChunkPolicy, seeds: range, workers: int) -> Samples:
    """What the expert would do in the states that the policy itself gets into (DAgger)."""
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "policy.onnx"
        export_graph(policy, graph)
        return _collect("the policy's own states", seeds, Recipe(policy=graph), workers)


def _collect(what: str, seeds: range, recipe: Recipe, workers: int) -> Samples:
    samples = collect(seeds, recipe, workers)
    print(
        f"{what}: {samples.successes}/{samples.episodes} succeeded, {len(samples.joints)} samples",
        flush=True,
    )
    return samples


if __name__ == "__main__":
    main()
