# SPDX-License-Identifier: Apache-2.0
"""What a slow inference costs: success of the demo policy for each merge rule and added delay.

Closed loop in the simulation without ROS: the policy sees what its own chunks, late as they are,
have done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from multiprocessing import get_context

from levine_policy_node.core.merge import MergeRule
from levine_policy_node.core.success_rate import EpisodeResult
from levine_policy_node.runtime.merge_choice import MergeChoice
from levine_policy_node.sim.direct import Delay, run_direct


@dataclass(frozen=True, slots=True)
class Way:
    """One way to use chunks.

    Attributes:
        rule: Merge rule.
        smoothing_s: Standard deviation of the smoothing [s].
        aligned: Whether rows are placed where their observation says, or from arrival on.
    """

    rule: MergeRule
    smoothing_s: float = 0.06
    aligned: bool = True

    def __str__(self) -> str:
        """As the table calls it."""
        if not self.aligned:
            return f"levine {self.rule}, rows from arrival on"
        return f"levine {self.rule}, smoothing {1e3 * self.smoothing_s:.0f} ms"


WAYS = (
    Way("replace"),
    Way("blend"),
    Way("blend", smoothing_s=0.0),
    Way("ensemble"),
    Way("blend", aligned=False),
)


@dataclass(frozen=True, slots=True)
class DelayResult:
    """How often one way succeeded with one delay."""

    way: Way
    delay_s: float
    episodes: int
    successes: int


def run_delays(
    delays_s: Sequence[float], seeds: range, workers: int, *, robot: str, policy: str
) -> Iterator[DelayResult]:
    """Every way with every delay on the same seeds, in `workers` processes."""
    run = partial(_run, seeds=seeds, robot=robot, policy=policy)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from pool.map(run, product(WAYS, delays_s))


def _run(case: tuple[Way, float], *, seeds: range, robot: str, policy: str) -> DelayResult:
    way, delay_s = case
    results = run_direct(
        robot=robot,
        policy=policy,
        seeds=seeds,
        delay=Delay(delay_s, way.aligned),
        merge=MergeChoice(rule=way.rule, smoothing_s=way.smoothing_s),
        on_episode=_ignore,
    )
    return DelayResult(way, delay_s, int(results["episodes"]), int(results["successes"]))


def _ignore(index: int, result: EpisodeResult) -> None:
    del index, result
