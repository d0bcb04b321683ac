# SPDX-License-Identifier: Apache-2.0
"""Cases that call production code: bundles, policies that are exchanged, the recorder's queue."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from random import Random

import numpy as np
import yaml

from levine_policy_node.bench.bad_bundles import BAD_BUNDLES, copied
from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.shadow import implausible
from levine_policy_node.core.swap import (
    Compared,
    Loaded,
    Moment,
    Requested,
    SwapEvent,
    SwapOptions,
    SwapState,
    Switch,
    step,
)
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import BundleError, LevineError
from levine_policy_node.faults.case import Case
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.byte_queue import ByteQueue

_POLICY, _ROBOT = "so101_pick_place", "sim_so101"


@lru_cache(maxsize=1)
def _good() -> Path:
    return load_bundle(_POLICY).path


def _refused(folder: Path) -> str:
    try:
        load_bundle(folder).check_robot(load_robot(_ROBOT))
    except BundleError as error:
        lines = str(error).count("\n") + 1
        return "" if lines == 1 else f"the refusal has {lines} lines"
    return "it was accepted"


def _corrupt(rng: Random, folder: Path) -> str:
    kind = rng.choice(["half-written", "corrupt"])
    return _refused(BAD_BUNDLES[kind](_good(), folder / "bundle", rng))


def _another_robot(rng: Random, folder: Path) -> str:
    return _refused(BAD_BUNDLES["wrong robot"](_good(), folder / "bundle", rng))


def _mismatched(rng: Random, folder: Path) -> str:
    """One name or number of the document that no longer fits the robot or the network."""
    document = yaml.safe_load((_good() / "policy.yaml").read_text())
    action = document["action"]
    names = action["parts"][0]["names"]
    kind = rng.randrange(3)
    if kind == 0:
        names[rng.randrange(len(names))] = f"joint_{rng.randrange(100)}"
    elif kind == 1:
        del names[rng.randrange(len(names))]
    else:
        names[0] = names[1]
    return _refused(copied(_good(), folder / "bundle", action=action))


def _document_fuzz(rng: Random, folder: Path) -> str:
    """Bytes of the document changed: refused in one line, or as good as before."""
    copy = copied(_good(), folder / "bundle")
    path = copy / "policy.yaml"
    data = bytearray(path.read_bytes())
    for _ in range(rng.randrange(1, 4)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(bytes(data))
    try:
        load_bundle(copy).check_robot(load_robot(_ROBOT))
    except LevineError as error:
        return "" if "\n" not in str(error) else "the refusal has several lines"
    return ""


def _degrees_in_shadow(rng: Random, folder: Path) -> str:
    """What a policy in degrees, or with the statistics of another robot, asks for."""
    del folder
    robot = load_robot(_ROBOT)
    limits, arm = robot.limits(), robot.arm_joints()
    turn = np.array([rng.uniform(0.5, 1.0) for _ in limits.names])
    rows = 0.8 * limits.upper * np.sin(np.arange(16)[:, None] * 0.05 * turn)
    good = ActionChunk(limits.names, StampNs(0), 0.05, rows)
    if implausible(good, limits, arm):
        return f"a good chunk was refused: {implausible(good, limits, arm)}"
    factor = rng.choice([57.3, 20.0])
    shift = rng.choice([0.0, 8.0])
    bad = ActionChunk(limits.names, StampNs(0), 0.05, factor * rows + shift)
    return "" if implausible(bad, limits, arm) else "it was accepted"


def _swaps(rng: Random, folder: Path) -> str:
    """Any order of events: no switch while the arm moves unless the shadow agrees at a seam."""
    del folder
    options = SwapOptions()
    state, number = SwapState(), 0
    for _ in range(200):
        moving = rng.random() < 0.7
        events: list[SwapEvent] = [
            Moment(moving=moving, seam=rng.random() < 0.5),
            Compared(state.candidate or 0, rng.choice([0.0, 0.05, 1.0, float("nan")])),
            Loaded(state.candidate or 0),
        ]
        if rng.random() < 0.2:
            number += 1
            events.append(Requested(number))
        event = rng.choice(events)
        state, actions = step(state, event, options)
        if any(isinstance(action, Switch) for action in actions) and (
            not isinstance(event, Moment) or event.moving
        ):
            return f"switched at {event}"
    return ""


def _queue(rng: Random, folder: Path) -> str:
    """A writer that takes nothing: memory stays bounded and nobody waits."""
    del folder
    queue: ByteQueue[int] = ByteQueue(10_000)
    taken = refused = 0
    for item in range(2_000):
        size = rng.randrange(1, 100)
        if queue.put(item, size, bulky=rng.random() < 0.5):
            taken += size
        else:
            refused += 1
    if taken > 10_000:
        return f"holds {taken} bytes, and may hold 10000"
    return "" if refused > 0 else "nothing was refused"


CASES: tuple[Case, ...] = (
    Case(41, "writer_blocked", "the recorder's writer takes nothing", direct=_queue),
    Case(43, "corrupt_network", "bits of a network's file changed, or it is cut", direct=_corrupt),
    Case(7, "document_fuzz", "bytes of a bundle's document changed", direct=_document_fuzz),
    Case(45, "another_robot", "a bundle for another robot", direct=_another_robot),
    Case(45, "mismatched_names", "a bundle that names other joints", direct=_mismatched),
    Case(46, "swap_any_order", "a swap with events in any order", direct=_swaps),
    Case(47, "other_statistics", "targets of another unit or scale", direct=_degrees_in_shadow),
)
