# SPDX-License-Identifier: Apache-2.0
"""How often a bundle succeeds on scenes it has not seen, in simulated time.

`sim/direct.py` calls the executor's merging and the supervisor's decisions in turn; transport and
scheduling are missing, which the episodes through ROS 2 have.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from success import Score

from levine_policy_node.runtime.merge_choice import MergeChoice
from levine_policy_node.sim.direct import Delay, run_direct
from levine_policy_node.sim.tasks import Episodes

ROBOT = "sim_so101"
_DELAY_S = 0.06
"""From capture to command, about what the running graph needs."""


def score(bundle: Path, seeds: Sequence[int], workers: int) -> Score:
    """Run one episode per seed in `workers` processes."""
    shares = [seeds[worker::workers] for worker in range(workers)]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        successes = sum(pool.map(partial(_successes, bundle), shares))
    return Score(successes, len(seeds))


def _successes(bundle: Path, seeds: Sequence[int]) -> int:
    if not seeds:
        return 0
    results = run_direct(
        robot=ROBOT,
        policy=str(bundle),
        episodes=Episodes(seeds),
        delay=Delay(_DELAY_S),
        merge=MergeChoice(),
        on_episode=lambda index, result: None,
    )
    return int(results["successes"])
