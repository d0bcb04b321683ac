# SPDX-License-Identifier: Apache-2.0
"""What a slow inference costs: success of a policy for each way to use chunks and added delay.

Closed loop in the simulation without ROS: the policy sees what its own chunks, late as they are,
have done. Real-time chunking needs a policy that can be told what is being played: a flow policy
of the same task, in the three forms it comes in.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import yaml

from levine_policy_node.core.merge import MergeRule
from levine_policy_node.core.success_rate import EpisodeResult
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.merge_choice import MergeChoice
from levine_policy_node.sim.direct import Delay, run_direct
from levine_policy_node.sim.tasks import Episodes

REGRESSION = "so101_pick_place"
FLOW = "so101_flow"
FLOW_GRAPH = "so101_flow_graph"


@dataclass(frozen=True, slots=True)
class Way:
    """One way to use chunks.

    Attributes:
        policy: Bundle.
        rule: Merge rule.
        smoothing_s: Standard deviation of the smoothing [s].
        aligned: Whether rows are placed where their observation says, or from arrival on.
        rtc: Mode of real-time chunking if it is another than the bundle's.
    """

    policy: str
    rule: MergeRule
    smoothing_s: float = 0.06
    aligned: bool = True
    rtc: str = ""

    def __str__(self) -> str:
        """As the table calls it."""
        if not self.aligned:
            return f"{self.rule}, rows from arrival on"
        if self.rule == "rtc":
            return f"levine rtc {self.rtc}"
        return f"levine {self.rule}, smoothing {1e3 * self.smoothing_s:.0f} ms"


WAYS = (
    Way(REGRESSION, "replace"),
    Way(REGRESSION, "blend"),
    Way(REGRESSION, "blend", smoothing_s=0.0),
    Way(REGRESSION, "ensemble"),
    Way(REGRESSION, "blend", aligned=False),
    Way(FLOW, "blend"),
    Way(FLOW, "rtc", rtc="guided"),
    Way(FLOW, "rtc", rtc="trained"),
    Way(FLOW_GRAPH, "rtc", rtc="graph"),
    Way(FLOW, "blend", aligned=False),
)


@dataclass(frozen=True, slots=True)
class DelayResult:
    """What one way made of one delay.

    Attributes:
        way: Of the row.
        delay_s: From observation to chunk [s].
        episodes: How many were tried.
        successes: How many succeeded.
        success_s: Mean time of a success [s].
        gap_mrad: Median distance of a chunk from what was being played, at the seam [mrad].
    """

    way: Way
    delay_s: float
    episodes: int
    successes: int
    success_s: float
    gap_mrad: float


def run_delays(
    ways: Sequence[Way], delays_s: Sequence[float], seeds: range, workers: int, *, robot: str
) -> Iterator[DelayResult]:
    """Every way with every delay on the same seeds, in `workers` processes."""
    run = partial(_run, seeds=seeds, robot=robot)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from pool.map(run, product(ways, delays_s))


def _run(case: tuple[Way, float], *, seeds: range, robot: str) -> DelayResult:
    way, delay_s = case
    episodes: list[EpisodeResult] = []
    with tempfile.TemporaryDirectory(prefix="levine_bench_") as folder:
        figures = run_direct(
            robot=robot,
            policy=_bundle(way, Path(folder)),
            episodes=Episodes(seeds),
            delay=Delay(delay_s, way.aligned),
            merge=MergeChoice(rule=way.rule, smoothing_s=way.smoothing_s),
            on_episode=lambda _, result: episodes.append(result),
        )
    took_s = [episode.duration_s for episode in episodes if episode.success]
    mean_s = sum(took_s) / len(took_s) if took_s else float("nan")
    gap_mrad = round(float(figures.get("seam_gap_mrad_p50", "nan")), 1)
    return DelayResult(way, delay_s, len(episodes), len(took_s), round(mean_s, 2), gap_mrad)


def _bundle(way: Way, folder: Path) -> str:
    """The bundle, or a copy of it that names the mode of real-time chunking wanted."""
    bundle = load_bundle(way.policy)
    rtc = bundle.document.rtc
    if not way.rtc or (rtc is not None and rtc.mode == way.rtc):
        return way.policy
    copy = folder / bundle.path.name
    shutil.copytree(bundle.path, copy)
    document = yaml.safe_load((copy / "policy.yaml").read_text())
    document["chunk"]["rtc"] = {"mode": way.rtc}
    (copy / "policy.yaml").write_text(yaml.safe_dump(document))
    return str(copy)
