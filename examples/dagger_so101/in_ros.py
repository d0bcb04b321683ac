# SPDX-License-Identifier: Apache-2.0
"""The running graph of the example: supervised episodes, a hot swap, and a few without help."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from score import ROBOT
from success import Score
from supervised import Supervised, SupervisedRollout

from levine_policy_node.bench.rollouts import require_alive
from levine_policy_node.cli.isolation import isolate_dds
from levine_policy_node.errors import LevineError
from levine_policy_node.graph import GraphOptions, build_graph
from levine_policy_node.processes import ProcessGroup
from levine_policy_node.ros.rollout import RolloutError
from levine_policy_node.ros.swap_client import SwapClient
from levine_policy_node.sim.tasks import PickPlaceTask

_SWAP_TIMEOUT_S = 60.0


@contextmanager
def running(bundle: Path, folder: Path) -> Iterator[SupervisedRollout]:
    """The graph with the simulated arm and the recorder, and a client of it.

    Args:
        bundle: The policy it starts with.
        folder: For recordings and logs.

    Raises:
        RolloutError: If it does not come up, or a process of it dies.
    """
    isolate_dds()
    options = GraphOptions(
        robot=ROBOT,
        policy=str(bundle),
        recorder=True,
        recordings=folder / "recordings",
        simulate=True,
        log_level="warn",
    )
    graph = build_graph(options)
    with ProcessGroup(graph, options, log_directory=folder / "logs") as group:
        rollout = SupervisedRollout()
        alive = partial(require_alive, group)
        try:
            rollout.wait_ready(alive)
            yield rollout
        except LevineError:
            alive()  # A dead process explains more than the call that failed because of it.
            raise
        finally:
            rollout.close()


def supervised_episodes(
    rollout: SupervisedRollout, seeds: Sequence[int], told: Callable[[Supervised], None]
) -> list[Supervised]:
    """One supervised episode per seed; `told` hears of each."""
    episodes: list[Supervised] = []
    for seed in seeds:
        episodes.append(rollout.run_supervised(seed))
        told(episodes[-1])
    return episodes


def autonomous_episodes(rollout: SupervisedRollout, seeds: Sequence[int]) -> Score:
    """One episode per seed without anybody's help."""
    return Score(sum(_wins(rollout, seed) for seed in seeds), len(seeds))


def _wins(rollout: SupervisedRollout, seed: int) -> bool:
    try:
        return rollout.run_episode(seed, PickPlaceTask.horizon_s).success
    except RolloutError:
        # An arm that a watchdog stopped, and that may not go on from where it hangs, has failed.
        rollout.finish(success=False)
        return False


def swap(rollout: SupervisedRollout, bundle: Path) -> None:
    """Give the running graph another policy, without stopping anything.

    Raises:
        RolloutError: If the policy did not become the active one.
    """
    client = SwapClient(rollout)
    state = client.wait(client.request(str(bundle.resolve())), _SWAP_TIMEOUT_S)
    if state["state"] != "done":
        raise RolloutError(f"{bundle}: not swapped in: {state['state']}: {state['reason']}")
