# SPDX-License-Identifier: Apache-2.0
"""Cases of the hazards in the ROS graph and security (56 to 70, less those of controllers)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from levine_policy_node.core.modes import Event
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.trajectory_message import trajectory_bytes
from levine_policy_node.core.units import StampNs
from levine_policy_node.dst.world import World
from levine_policy_node.faults.case import Case, injected_ns
from levine_policy_node.faults.rows_commands import still_commanded
from levine_policy_node.faults.rows_people import refused_to_arm
from levine_policy_node.faults.spoiled import second_chunk

_TICK_MS = 10.0
_RESPAWN_S, _DISCOVERY_S = 0.3, 2.3
_TRIES, _TRY_S = 60, 0.05
# Two commands at 50 Hz.
_GRAPH_MS = 40.0


def _second_publisher(world: World) -> None:
    world.supervisor.publishers = 2


def _second_publisher_first(world: World) -> None:
    world.supervisor.publishers = 2
    world.later(0.05, lambda: world.operator.ask(Event.ARM))


def _cut(world: World) -> None:
    world.bus.cut = True


def _slow_discovery(world: World) -> None:
    """The supervisor comes back and finds the arm only after a while; somebody is in a hurry."""
    heard = world.bus.links["joint_states"]
    world.bus.links["joint_states"] = replace(heard, loss=1.0)

    def found() -> None:
        world.bus.links["joint_states"] = heard
        world.observable()

    world.supervisor.kill()
    world.later(_RESPAWN_S, world.supervisor.start)
    world.later(_RESPAWN_S + world.rng.uniform(0.05, _DISCOVERY_S), found)
    for number in range(_TRIES):
        world.later(_RESPAWN_S + _TRY_S * number, lambda: world.operator.ask(Event.ARM))


def _armed_when_heard(world: World) -> str:
    """The arm is armed once it was found, and not before."""
    found = world.trace.first("observable")
    since = [r for r in world.trace.of("reply") if r.time_ns > injected_ns(world.trace)]
    granted = [record.time_ns for record in since if record.values[0]]
    if found is None or not granted:
        return "the arm was never armed"
    return "armed before the arm was found" if granted[0] < found.time_ns else ""


def _bytes(change: Callable[[bytes, World], bytes]) -> Callable[[World], None]:
    def inject(world: World) -> None:
        def publish(timeline: Timeline[StampNs]) -> bytes:
            return change(trajectory_bytes(timeline), world)

        world.policy.spoil = publish

    return inject


def _noise(data: bytes, world: World) -> bytes:
    return world.rng.randbytes(len(data))


def _torn(data: bytes, world: World) -> bytes:
    return data[: world.rng.randrange(len(data))]


def _swollen(data: bytes, world: World) -> bytes:
    """Says that it has four thousand million points."""
    del world
    names_end = data.index(b"policy:")
    return data[:names_end] + b"\xff" * (len(data) - names_end)


def _flipped(data: bytes, world: World) -> bytes:
    changed = bytearray(data)
    for _ in range(3):
        changed[world.rng.randrange(len(changed))] ^= 1 << world.rng.randrange(8)
    return bytes(changed)


def _slew(world: World) -> None:
    """NTP corrects by 20 ms, as it does without a step."""
    world.step_clocks(0.02)


CASES: tuple[Case, ...] = (
    Case(
        56,
        "second_publisher",
        "another publisher appears on the command topic",
        limit_ms=_GRAPH_MS,
        stop="FAULT",
        fault="FOREIGN_PUBLISHER",
        phases=("armed", "policy", "human", "paused"),
        inject=_second_publisher,
    ),
    Case(
        56,
        "arming_with_another",
        "another publisher is there when the arm is to be armed",
        phases=("disarmed",),
        inject=_second_publisher_first,
        check=refused_to_arm,
    ),
    Case(
        62,
        "network_cut",
        "the hosts of policy and operator are cut off",
        limit_ms=150.0,
        stop="PAUSED",
        phases=("policy", "human"),
        inject=_cut,
    ),
    Case(
        66,
        "slow_discovery",
        "the supervisor comes back and is slow to find the arm that somebody wants to arm",
        phases=("disarmed", "policy"),
        after_s=3.6,
        inject=_slow_discovery,
        check=_armed_when_heard,
    ),
    Case(
        67,
        "noise",
        "chunks that are random bytes",
        limit_ms=3 * _TICK_MS,
        stop="PSTOP",
        fault="BAD_CHUNKS",
        inject=_bytes(_noise),
        since=second_chunk,
    ),
    Case(
        67,
        "torn",
        "chunks that end in the middle",
        limit_ms=3 * _TICK_MS,
        stop="PSTOP",
        fault="BAD_CHUNKS",
        inject=_bytes(_torn),
        since=second_chunk,
    ),
    Case(
        67,
        "swollen",
        "chunks that claim to be of absurd size",
        limit_ms=3 * _TICK_MS,
        stop="PSTOP",
        fault="BAD_CHUNKS",
        inject=_bytes(_swollen),
        since=second_chunk,
    ),
    Case(
        67,
        "bits_flipped",
        "chunks with a few bits flipped",
        inject=_bytes(_flipped),
        check=still_commanded,
        rests=False,
    ),
    Case(
        70,
        "ntp",
        "NTP corrects the clock by 20 ms",
        phases=("policy", "human", "armed"),
        smooth=False,  # a controller plays by its own clock
        inject=_slew,
        rests=False,
    ),
)
