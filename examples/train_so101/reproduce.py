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
from training import Schedule, new_policy, train

_CLEAN_SEEDS = range(20_000, 20_040)
_DISTURBED_SEEDS = range(20_200, 20_270)
_DAGGER_SEEDS = (range(30_000, 30_050), range(31_000, 31_050))
_HELD_OUT_SEEDS = range(500_000, 500_100)
_DISTURBANCE_RAD = 0.1
_FIRST = Schedule(1300)
_CORRECTIONS = (Schedule(800, 7e-4), Schedule(1200, 7e-4))


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
    samples = _demonstrate(workers)
    policy = new_policy(samples)
    print("training on demonstrations")
    train(policy, samples, _FIRST)
    with tempfile.TemporaryDirectory() as folder:
        for seeds, schedule in zip(_DAGGER_SEEDS, _CORRECTIONS, strict=True):
            graph = Path(folder) / f"policy_{seeds.start}.onnx"
            export_graph(policy, graph)
            visited = collect(seeds, Recipe(policy=graph), workers)
            _report("the policy's own states, labelled", visited)
            samples = Samples.join([samples, visited])
            print("training with corrections")
            train(policy, samples, schedule)
    write_bundle(policy, out)
    for conditions in (Conditions(delay_s=0.0), Conditions(delay_s=0.06)):
        score = evaluate(out / "policy.onnx", _HELD_OUT_SEEDS, conditions, workers)
        print(f"{conditions}: {score}", flush=True)


def _demonstrate(workers: int) -> Samples:
    clean = collect(_CLEAN_SEEDS, Recipe(), workers)
    _report("demonstrations from home", clean)
    disturbed = collect(_DISTURBED_SEEDS, Recipe(_DISTURBANCE_RAD, scattered=True), workers)
    _report("disturbed demonstrations from anywhere", disturbed)
    return Samples.join([clean, disturbed])


def _report(what: str, samples: Samples) -> None:
    print(
        f"{what}: {samples.successes}/{samples.episodes} succeeded, {len(samples.joints)} samples",
        flush=True,
    )


if __name__ == "__main__":
    main()
