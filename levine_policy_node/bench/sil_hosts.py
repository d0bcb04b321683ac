# SPDX-License-Identifier: Apache-2.0
"""Policy and supervisor on two hosts, and the network between them cut."""

from __future__ import annotations

import contextlib
import os
import random
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.bench.bad_link import Quality, TwoHosts, inside, why_not
from levine_policy_node.bench.rollouts import require_alive
from levine_policy_node.bench.sil_cases import (
    CannotRunHereError,
    SilCase,
    Trial,
    braked,
    ends_at_rest,
    stayed_down,
)
from levine_policy_node.bench.sil_world import POLICY, SilWorld
from levine_policy_node.graph import GraphOptions, build_graph
from levine_policy_node.processes import ProcessGroup
from levine_policy_node.ros import qos
from levine_policy_node.transports import PROFILE_VARIABLES

LINK = Quality(delay_ms=2.0, jitter_ms=5.0, loss=0.01)
ROBOT_HOST = ("sim_arm", "safety_supervisor")
POLICY_HOST = (POLICY,)

_CUT_S = 2.0
# The policy may finish what it is at, and notice.
_NOTICED_NS = 600_000_000
_BACK_S = 30.0
_STARTS_S = 40.0
_NETWORK = {
    # Shared memory would be a way around the cut.
    "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4",
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
}


class TwoHostsWorld(SilWorld):
    """The arm and its supervisor on this host, the policy on another.

    Attributes:
        hosts: The network.
        chunks_ns: When the policy published chunks [ns].
    """

    def __init__(self, options: GraphOptions, folder: Path, hosts: TwoHosts) -> None:
        super().__init__(replace(options, only=ROBOT_HOST), folder)
        there = replace(options, only=POLICY_HOST)
        self._policy = ProcessGroup(build_graph(there), there, log_directory=folder / "policy")
        self.hosts = hosts
        self.chunks_ns: deque[int] = deque(maxlen=1000)

    def __enter__(self) -> TwoHostsWorld:
        with inside(self.hosts.names[0]):
            self._policy.__enter__()
        try:
            super().__enter__()
        except BaseException:
            self._policy.stop()
            raise
        try:
            node: Any = self.rollout.node
            node.create_subscription(
                JointTrajectory, "policy/raw_chunk", self._on_chunk, qos.TICKS, raw=True
            )
            found = lambda: "policy_executor" in self.rollout.diagnostics  # noqa: E731
            self.spin_until(found, _STARTS_S, "the policy on the other host")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._policy.stop()
        super().__exit__(*error)

    def alive(self) -> None:
        """Check that no process has ended by itself, on both hosts.

        Raises:
            RolloutError: With its last words.
        """
        super().alive()
        require_alive(self._policy)

    def _on_chunk(self, data: bytes, info: Mapping[str, int]) -> None:
        del data
        self.chunks_ns.append(info["source_timestamp"])


def network_cut(world: SilWorld, rng: random.Random) -> Trial:
    """Pull the plug between policy and supervisor, and put it back after two seconds."""
    if not isinstance(world, TwoHostsWorld):
        raise TypeError("a network cut needs two hosts")
    world.engage(rng)
    cut_ns = world.now_ns()
    world.hosts.cut()
    try:
        reaction_ms = braked(world, cut_ns)
        problem = ends_at_rest(world)
        left_s = _CUT_S - (world.now_ns() - cut_ns) / 1e9
        world.rollout.spin_for(max(0.0, left_s))
    finally:
        world.hosts.cut(connected=True)
    back_ns = world.now_ns()
    world.rollout.diagnostics.pop("policy_executor", None)
    heard = lambda: "policy_executor" in world.rollout.diagnostics  # noqa: E731
    world.spin_until(heard, _BACK_S, "the other host")
    problem = problem or world.stands_still(1.0) or stayed_down(world)
    # What it published last meanwhile is delivered now, with the time it was published at.
    late = [t for t in world.chunks_ns if cut_ns + _NOTICED_NS < t < back_ns]
    if late:
        problem = problem or f"inferred {(late[-1] - cut_ns) / 1e9:.1f} s after the cut"
    return Trial(reaction_ms, problem)


@contextlib.contextmanager
def _two_hosts(options: GraphOptions, folder: Path) -> Iterator[SilWorld]:
    """The graph on two hosts, joined by a network that delays and loses."""
    reason = why_not()
    if reason:
        raise CannotRunHereError(reason)
    # A profile for this host alone would not reach the other one.
    changed = {**dict.fromkeys(PROFILE_VARIABLES), **_NETWORK}
    before = {name: os.environ.get(name) for name in changed}
    _set(changed)
    try:
        with (
            TwoHosts(LINK) as hosts,
            inside(hosts.names[1]),
            TwoHostsWorld(options, folder, hosts) as world,
        ):
            yield world
    finally:
        _set(before)


def _set(environment: Mapping[str, str | None]) -> None:
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


CASES: Mapping[str, SilCase] = {
    "network_cut": SilCase(
        (62,),
        f"two hosts, {LINK.delay_ms:g} to {LINK.delay_ms + LINK.jitter_ms:g} ms and "
        f"{LINK.loss:.0%} lost between them; the link goes down for {_CUT_S:g} s",
        150.0,
        network_cut,
        opened=_two_hosts,
        apart=True,
    ),
}
