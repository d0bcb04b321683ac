# SPDX-License-Identifier: Apache-2.0
"""Cases in which somebody else joins or publishes, or the disk is full."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import yaml

from levine_policy_node.bench.sil_cases import (
    CannotRunHereError,
    SilCase,
    Trial,
    braked,
    comes_to_rest,
    ends_at_rest,
    stayed_down,
)
from levine_policy_node.bench.sil_world import SilWorld
from levine_policy_node.graph import GraphOptions, ParameterValue
from levine_policy_node.robot import load_robot
from levine_policy_node.ros.operator_client import LATCHED_MODES
from levine_policy_node.ros.rollout import RolloutError
from levine_policy_node.sros2 import command_topic
from levine_policy_node.transports import PROFILE_VARIABLES

_FULL_DISK_MB = 24
_TOLD_S = 3.0
_JOINED_S = 20.0
_LEFT_S = 0.5
_END_S = 5.0
# What a controller is given ahead: a gap that is shorter is not noticed by the arm.
_GAP_MS = 100.0
_CHUNK = bytes(1 << 16)
_LENS_TOPIC = "lens/image"
_IMAGE_NOISE = 2.0
# Three frames at 15 Hz and a tick.
_FROZEN_MS = 210.0


def rogue_publisher(world: SilWorld, rng: random.Random) -> Trial:
    """Somebody else commands the controller at 50 Hz while the policy moves the arm."""
    with _intruder("rogue", command_topic(world.robot)) as intruder:
        world.engage(rng)
        reaction_ms = braked(world, _let_loose(intruder))
        latched = world.rollout.spin_until(lambda: world.rollout.mode in LATCHED_MODES, _END_S)
    problem = "" if latched else f"ended in {world.rollout.mode}"
    return Trial(reaction_ms, problem or comes_to_rest(world))


def somebody_joins(world: SilWorld, rng: random.Random) -> Trial:
    """Somebody types `ros2 service call` in a shell as it comes: the arm goes on."""
    command = [sys.executable, "-m", "levine_policy_node.bench.intruder", "call", "supervisor/arm"]
    plain = {key: value for key, value in os.environ.items() if key not in PROFILE_VARIABLES}
    # Whatever range the graph has, it is on this host.
    plain["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    world.engage(rng)
    begun_ns = world.now_ns()
    with subprocess.Popen(command, env=plain) as process:
        world.spin_until(lambda: process.poll() is not None, _JOINED_S, "an answer")
    world.rollout.spin_for(_LEFT_S)
    problem, gap_ms = _goes_on(world, begun_ns)
    if process.returncode != 0:
        problem = problem or "got no answer"
    world.disarm()
    return Trial(None, problem, {"gap_ms": gap_ms})


def message_flood(world: SilWorld, rng: random.Random) -> Trial:
    """Heartbeats at 10 kHz: the ticks go on, and the supervisor latches."""
    with _intruder("flood", "policy/heartbeat") as intruder:
        world.engage(rng)
        begun_ns = _let_loose(intruder)
        reaction_ms = braked(world, begun_ns)
        latched = world.rollout.spin_until(lambda: world.rollout.mode in LATCHED_MODES, _END_S)
    problem = "" if latched else f"ended in {world.rollout.mode}"
    gap_ms = world.longest_gap_ms(begun_ns)
    if gap_ms > _GAP_MS:
        problem = problem or f"{gap_ms:.0f} ms between two windows"
    return Trial(reaction_ms, problem or comes_to_rest(world), {"gap_ms": gap_ms})


def full_disk(world: SilWorld, rng: random.Random) -> Trial:
    """The recorder's disk fills up in an episode: it says so, and the arm goes on."""
    world.engage(rng)
    filler = world.recordings / "filler"
    world.complaints.clear()
    try:
        _fill(filler)
        full_ns = world.now_ns()
        told = lambda: any("space" in text.lower() for _, _, text in world.complaints)  # noqa: E731
        if not world.rollout.spin_until(told, _TOLD_S):
            raise RolloutError(f"nobody says that the disk is full, but {world.complaints}")
        # The recorder may come to the end of the disk before the last byte is taken.
        reaction_ms = max(0.0, (world.complaints[-1][0] - full_ns) / 1e6)
        world.rollout.spin_for(0.5)
        problem, gap_ms = _goes_on(world, full_ns)
    finally:
        filler.unlink()
    world.disarm()
    return Trial(reaction_ms, problem or _not_whole(world.recordings), {"gap_ms": gap_ms})


def camera_frozen(world: SilWorld, rng: random.Random) -> Trial:
    """A camera repeats its last image with fresh stamps."""
    if not isinstance(world, _LensWorld):
        raise TypeError("a frozen camera needs a lens")
    world.engage(rng)
    frozen_ns = _let_loose(world.lens)
    try:
        reaction_ms = braked(world, frozen_ns)
        problem = ends_at_rest(world)
    finally:
        _say(world.lens, "thaw")
    return Trial(reaction_ms, problem or world.stands_still(0.3) or stayed_down(world))


def _goes_on(world: SilWorld, since_ns: int) -> tuple[str, float]:
    """What is wrong with a motion that nothing was to end, or "", and its longest gap [ms]."""
    gap_ms = world.longest_gap_ms(since_ns)
    problem = "" if world.rollout.mode == "POLICY" else f"went to {world.rollout.mode}"
    if gap_ms > _GAP_MS:
        problem = problem or f"{gap_ms:.0f} ms between two windows"
    return problem, gap_ms


class _LensWorld(SilWorld):
    """The graph with a process between a camera and the policy.

    Attributes:
        lens: That process.
    """

    lens: subprocess.Popen[str]


@contextlib.contextmanager
def _through_a_lens(options: GraphOptions, folder: Path) -> Iterator[SilWorld]:
    """The graph; the policy sees its first camera through a process of ours, and with noise."""
    document = yaml.safe_load(load_robot(options.robot).path.read_text())
    camera = next(iter(document["cameras"].values()))
    # Of a camera that is rendered a frozen image cannot be told from one in which nothing moves.
    camera.pop("noiseless", None)
    real, camera["topic"] = camera["topic"], _LENS_TOPIC
    path = folder / "robot.yaml"
    path.write_text(yaml.safe_dump(document))
    arm: dict[str, ParameterValue] = {"robot": options.robot, "image_noise": _IMAGE_NOISE}
    overrides = {**options.overrides, "sim_arm": arm}
    chosen = replace(options, robot=str(path), overrides=overrides)
    with _intruder("camera", real, _LENS_TOPIC) as lens, _LensWorld(chosen, folder) as world:
        if isinstance(world, _LensWorld):
            world.lens = lens
        yield world


def _not_whole(recordings: Path) -> str:
    """The newest episode must not pass for a whole one."""
    documents = sorted(recordings.rglob("episode.json"), key=lambda path: path.stat().st_mtime)
    if not documents:
        return "no episode was recorded"
    document = json.loads(documents[-1].read_text())
    whole = document["state"] == "closed" and document["outcome"] == "success"
    return f"{documents[-1].parent.name} passes for whole" if whole else ""


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(_CHUNK):
            pass


@contextlib.contextmanager
def _small_disk(options: GraphOptions, folder: Path) -> Iterator[SilWorld]:
    """The graph, recording to a disk of its own that is small."""
    options.recordings.mkdir()
    size = f"size={_FULL_DISK_MB}m"
    command = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(options.recordings)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise CannotRunHereError("there is no mount here") from error
    if mounted.returncode != 0:
        raise CannotRunHereError(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        with SilWorld(options, folder) as world:
            yield world
    finally:
        subprocess.run(["umount", "--lazy", str(options.recordings)], check=False)


@contextlib.contextmanager
def _intruder(kind: str, *topics: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has joined the graph and waits to be let loose."""
    command = [sys.executable, "-m", "levine_policy_node.bench.intruder", kind, *topics]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        try:
            _line(process)
            yield process
        finally:
            # It leaves the graph by itself; killed, it would seem to be there for a while.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=_END_S)
            process.kill()


def _let_loose(process: subprocess.Popen[str]) -> int:
    """Begin; returns when the first message was sent [ns]."""
    _say(process, "go")
    return int(_line(process))


def _say(process: subprocess.Popen[str], text: str) -> None:
    if process.stdin is not None:
        process.stdin.write(f"{text}\n")
        process.stdin.flush()


def _line(process: subprocess.Popen[str]) -> str:
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        raise RolloutError("the intruder ended")
    return line.strip()


_RECORDED = {
    "intervention_recorder": {"min_free_gb": 0.0, "reserve_gb": 0.0},
}

CASES: Mapping[str, SilCase] = {
    "rogue_publisher": SilCase(
        (56, 57), "another process commands the controller at 50 Hz", 40.0, rogue_publisher
    ),
    "somebody_joins": SilCase(
        (66,),
        "somebody joins the graph, calls a service and leaves",
        None,
        somebody_joins,
        trials=60,
    ),
    "message_flood": SilCase((64,), "heartbeats at 10 kHz", 200.0, message_flood),
    "camera_frozen": SilCase(
        (17,),
        "a camera repeats its last image with fresh stamps",
        _FROZEN_MS,
        camera_frozen,
        opened=_through_a_lens,
    ),
    "full_disk": SilCase(
        (40,),
        f"a tmpfs of {_FULL_DISK_MB} MiB fills up in an episode",
        1000.0,
        full_disk,
        options={"recorder": True},
        overrides=_RECORDED,
        opened=_small_disk,
    ),
}
