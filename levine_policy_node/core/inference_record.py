# SPDX-License-Identifier: Apache-2.0
"""What one inference saw, as the text that is recorded on `policy/inference`.

With the recorded streams it is everything that is needed to build the observation again: which
frames, which joint states, the task, the goal, what was said to be played meanwhile, and which
inference since the policy was reset this is, which decides its noise and what it remembers. JSON
numbers are written so that they are read back bit for bit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from levine_policy_node.core.action_prefix import ActionPrefix
from levine_policy_node.core.observation import Goal, Observation, Pixels
from levine_policy_node.core.units import FloatArray, StampNs

VERSION = 1


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """One camera image that was seen.

    Attributes:
        stamp_ns: When the light was captured, on the ROS clock.
        digest: Of its pixels (`pixel_digest`); "" if it was not computed.
    """

    stamp_ns: StampNs
    digest: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class SeenMoment:
    """One instant that was seen.

    Attributes:
        stamp_ns: Reference time, on the ROS clock.
        joints_ns: Stamps of the joint states that `positions` lie between, one or two.
        positions: Shape (J,) [rad].
        velocities: Shape (J,) [rad/s], or None if the robot does not measure them.
        frames: Images by camera.
    """

    stamp_ns: StampNs
    joints_ns: tuple[StampNs, ...]
    positions: FloatArray
    velocities: FloatArray | None = None
    frames: Mapping[str, SeenFrame] = field(default_factory=dict[str, SeenFrame])


@dataclass(frozen=True, slots=True, eq=False)
class InferenceRecord:
    """One inference.

    Attributes:
        source: Whose chunk it is, `policy:<name>@<hash8>#<epoch>`.
        epoch: Counts the times the policy was reset.
        number: Inferences since then, from 0. Noise and all that a policy remembers begin anew at
            0, so those that follow each other from 0 on can be computed again.
        joint_names: J names, the order of every array.
        seen: The present.
        past: Moments before it, oldest first, for a policy that sees them.
        task: What was to be done, in words.
        goal: Where the hand was to be; None if nobody had said.
        prefix: What was told to be played meanwhile (real-time chunking).
        delays_s: Capture delay that was subtracted from a camera's stamps, by camera [s].
        ended_ns: When the inference was done, on the ROS clock; None if nobody noted it.
        duration_s: How long it took [s].
        error: Why there is no chunk, or "".
        used: Whether the chunk was played or could have been; one that came after the policy was
            reset was not, and is not on `policy/raw_chunk`.
    """

    source: str
    epoch: int
    number: int
    joint_names: tuple[str, ...]
    seen: SeenMoment
    past: tuple[SeenMoment, ...] = ()
    task: str = ""
    goal: Goal | None = None
    prefix: ActionPrefix | None = None
    delays_s: Mapping[str, float] = field(default_factory=dict[str, float])
    ended_ns: StampNs | None = None
    duration_s: float = 0.0
    error: str = ""
    used: bool = True


Digest = Callable[[str, StampNs, Pixels], str]
"""The digest of one image, by its camera, capture stamp and pixels."""


def pixel_digest(pixels: Pixels) -> str:
    """64 bits that tell images of one size apart, as 16 hexadecimal digits.

    They are the first of SHA-1, the quickest of `hashlib`, and guard against mistakes only.
    """
    found = hashlib.sha1(np.ascontiguousarray(pixels).data, usedforsecurity=False)
    return found.hexdigest()[:16]


def seen_moment(observation: Observation, digest: Digest) -> SeenMoment:
    """What an observation was made of."""
    return SeenMoment(
        observation.stamp_ns,
        observation.joints_ns,
        observation.joint_positions,
        observation.joint_velocities,
        {
            name: SeenFrame(stamp_ns, digest(name, stamp_ns, observation.images[name]))
            for name, stamp_ns in observation.frames_ns.items()
        },
    )


def inference_text(record: InferenceRecord) -> str:
    """The record as JSON in one line; `read_inference` reads it."""
    goal, prefix = record.goal, record.prefix
    document: dict[str, Any] = {
        "version": VERSION,
        "source": record.source,
        "epoch": record.epoch,
        "number": record.number,
        "joints": list(record.joint_names),
        "seen": _moment_document(record.seen),
        "past": [_moment_document(moment) for moment in record.past],
        "task": record.task,
        "goal": None if goal is None else {"frame": goal.frame, "at": goal.position.tolist()},
        "prefix": None
        if prefix is None
        else {"delay_rows": prefix.delay_rows, "rows": prefix.rows.tolist()},
        "delays_s": dict(record.delays_s),
        "ended_ns": record.ended_ns,
        "duration_s": record.duration_s,
        "error": record.error,
        "used": record.used,
    }
    return json.dumps(document, separators=(",", ":"))


def read_inference(text: str) -> InferenceRecord:
    """Read what `inference_text` wrote.

    Raises:
        ValueError: If it is no such text, or of another version.
    """
    try:
        found = json.loads(text)
        if found["version"] != VERSION:
            raise ValueError(f"version {found['version']} of policy/inference; expected {VERSION}")
        goal, prefix = found["goal"], found["prefix"]
        return InferenceRecord(
            source=str(found["source"]),
            epoch=int(found["epoch"]),
            number=int(found["number"]),
            joint_names=tuple(str(name) for name in found["joints"]),
            seen=_moment(found["seen"]),
            past=tuple(_moment(moment) for moment in found["past"]),
            task=str(found["task"]),
            goal=None if goal is None else Goal(str(goal["frame"]), _array(goal["at"])),
            prefix=None
            if prefix is None
            else ActionPrefix(_array(prefix["rows"]), int(prefix["delay_rows"])),
            delays_s={str(name): float(s) for name, s in found["delays_s"].items()},
            ended_ns=None if found["ended_ns"] is None else StampNs(int(found["ended_ns"])),
            duration_s=float(found["duration_s"]),
            error=str(found["error"]),
            used=bool(found["used"]),
        )
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"not a policy/inference ({type(error).__name__}: {error})") from error


def _moment_document(moment: SeenMoment) -> dict[str, Any]:
    return {
        "stamp_ns": moment.stamp_ns,
        "joints_ns": list(moment.joints_ns),
        "position": moment.positions.tolist(),
        "velocity": None if moment.velocities is None else moment.velocities.tolist(),
        "frames": {name: [seen.stamp_ns, seen.digest] for name, seen in moment.frames.items()},
    }


def _moment(found: Any) -> SeenMoment:
    velocity = found["velocity"]
    return SeenMoment(
        StampNs(int(found["stamp_ns"])),
        tuple(StampNs(int(stamp)) for stamp in found["joints_ns"]),
        _array(found["position"]),
        None if velocity is None else _array(velocity),
        {
            str(name): SeenFrame(StampNs(int(stamp)), str(digest))
            for name, (stamp, digest) in found["frames"].items()
        },
    )


def _array(values: Any) -> FloatArray:
    return np.array(values, dtype=np.float64)
