# SPDX-License-Identifier: Apache-2.0
"""Make the bundles so101_flow and so101_flow_graph: demonstrate, train, correct, evaluate.

The policy of examples/train_so101 lends its image encoders, and drives some of the episodes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "train_so101"))

from collect import Samples
from evaluate import Conditions, evaluate
from flow_export import export_sampler, write_bundles
from flow_network import FlowPolicy
from flow_training import Schedule, look, new_policy, train
from stages import demonstrations, gather, visits

_TEACHER_SEEDS = range(40_300, 40_350)
_DAGGER_SEEDS = range(40_400, 40_450)
_HELD_OUT_SEEDS = range(600_000, 600_100)
_LATE_S = 0.6
_FIRST, _AGAIN = Schedule(3000), Schedule(4000)


def main() -> None:
    """Parse the command line and run every stage, saying how long all of it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of both bundles")
    parser.add_argument("--data", type=Path, help="keep the samples here, and use those there are")
    parser.add_argument("--teacher", type=Path, default=Path("policies/so101_pick_place"))
    parser.add_argument("--workers", type=int, default=2, help="processes that simulate")
    parser.add_argument("--threads", type=int, default=2, help="threads that train")
    arguments = parser.parse_args()
    # One thread per simulating process; they inherit this.
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(arguments.threads)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data or Path(folder)
        reproduce(arguments.out, data, arguments.teacher / "policy.onnx", arguments.workers)
    times = os.times()
    cpu_s = times.user + times.system + times.children_user + times.children_system
    print(f"done in {(time.monotonic() - began) / 60:.1f} min, CPU {cpu_s / 60:.1f} min")


def reproduce(out: Path, data: Path, teacher: Path, workers: int) -> None:
    """Run every stage and write both bundles to `out`."""
    late = visits("teacher", _TEACHER_SEEDS, teacher, max_delay_s=_LATE_S)
    samples = gather((*demonstrations(), late), data, workers)
    policy = new_policy(samples, teacher)
    sampler = data / "sampler.onnx"
    _train(policy, samples, _FIRST)
    export_sampler(policy, sampler)
    own = visits("own", _DAGGER_SEEDS, sampler, max_delay_s=_LATE_S)
    samples = Samples.join([samples, gather((own,), data, workers)])
    _train(policy, samples, _AGAIN)
    write_bundles(policy, out)
    export_sampler(policy, sampler)
    score = evaluate(sampler, _HELD_OUT_SEEDS, Conditions(delay_s=0.0), workers)
    print(f"{Conditions(delay_s=0.0)}: {score}", flush=True)


def _train(policy: FlowPolicy, samples: Samples, schedule: Schedule) -> None:
    print(f"training on {len(samples.joints)} samples", flush=True)
    train(policy, look(policy, samples), schedule)


if __name__ == "__main__":
    main()
