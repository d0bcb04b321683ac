# SPDX-License-Identifier: Apache-2.0
"""Short episodes for exports: a policy drives, a person takes over and hands back.

Frames carry their number in their pixels, bit by bit, so that a picture tells which frame it is.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from written_episode import (
    START_NS,
    WrittenEpisode,
    header,
    image,
    joint_state,
    make,
    string,
)

from levine_policy_node.core.plan import HOLD
from levine_policy_node.runtime.episode_files import create_session, write_json

NAMES = ("lift", "turn")
HEIGHT, WIDTH = 32, 48
CAMERA_HZ, TICK_HZ = 15, 50
POLICY, HUMAN = "policy:weak@0123abcd#1", "operator:leader"
OFFSET = 0.2
"""By how much what the person does is ahead of what the policy wants [s]."""
BITS = 8


@dataclass(frozen=True)
class Script:
    """When who drives [s]; the policy has the arm first."""

    seconds: float = 3.0
    takeover_s: float | None = 1.22
    handback_s: float = 2.22
    pause_s: tuple[float, float] | None = None
    rewards: tuple[tuple[float, float], ...] = ()
    outcome: str = "success"
    task: str = "lift the cube"
    seed: int = 0

    def drives(self, time_s: float) -> bool:
        """Whether a person does."""
        if self.takeover_s is None or self.pause_s is not None:
            return False
        return self.takeover_s <= time_s < self.handback_s


def robot_file(folder: Path) -> Path:
    """A robot of two joints and two small cameras."""
    joint = {
        "position": [-2.0, 2.0], "velocity": 2.0, "acceleration": 8.0, "jerk": 80.0,
        "source": dict.fromkeys(("position", "velocity", "acceleration", "jerk"), "test"),
    }  # fmt: skip
    document = {
        "name": "two_joints",
        "model": "two_joints",
        "urdf": "two_joints.urdf",
        "joints": {name: dict(joint) for name in NAMES},
        "home": dict.fromkeys(NAMES, 0.0),
        "controller": {"type": "joint_trajectory", "name": "arm_controller"},
        "cameras": {
            name: {
                "topic": f"camera/{name}/image", "width": WIDTH, "height": HEIGHT,
                "rate_hz": float(CAMERA_HZ), "capture_delay_s": 0.01,
            }
            for name in ("front", "wrist")
        },
    }  # fmt: skip
    path = folder / "two_joints.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def frame(number: int, seed: int) -> np.ndarray:
    """Noise under blocks that spell `number` in black and white."""
    rng = np.random.default_rng([seed, number])
    pixels = rng.integers(90, 160, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for bit in range(BITS):
        left = bit * WIDTH // BITS
        pixels[: HEIGHT // 2, left : left + WIDTH // BITS] = 255 if number >> bit & 1 else 0
    return pixels


def number_of(pixels: np.ndarray) -> int:
    """Read the number back, also after lossy compression."""
    half = pixels[: HEIGHT // 2].astype(float)
    blocks = half.reshape(HEIGHT // 2, BITS, WIDTH // BITS, 3).mean(axis=(0, 2, 3))
    return int(sum(1 << bit for bit in range(BITS) if blocks[bit] > 127))


def where(time_s: float, phase: float = 0.0) -> np.ndarray:
    """Joint positions of a smooth motion."""
    return np.array([0.5 * np.sin(time_s + phase), 0.3 * np.cos(2.0 * time_s + phase)])


def event(stamp_ns: int, text: str):
    status = make("diagnostic_msgs/msg/DiagnosticStatus", 0, "MODE", text, "safety_supervisor", [])
    return make("diagnostic_msgs/msg/DiagnosticArray", header(stamp_ns), [status])


def write_episodes(root: Path, robot: Path, *scripts: Script) -> Path:
    """Write one session per script below `root`; returns that."""
    digest = hashlib.sha256(robot.read_bytes()).hexdigest()
    for number, script in enumerate(scripts, len(list(root.glob("s*")))):
        name = f"s{number}"
        session = create_session(root, name, {"session": name})
        written = WrittenEpisode(
            session,
            session=name,
            robot=str(robot),
            robot_sha256=digest,
            task=script.task,
            seed=script.seed,
        )
        closed = _fill(written, script)
        path = closed.parent / "episode.json"
        document = json.loads(path.read_text())
        write_json(path, {**document, "outcome": script.outcome, "outcome_source": "test"})
    return root


@dataclass
class _Tape:
    """Messages with the time at which they are received."""

    messages: list = field(default_factory=list)

    def at(self, time_s: float, name: str, message, late_s: float = 0.002) -> None:
        stamp_ns = START_NS + round(time_s * 1e9)
        self.messages.append((stamp_ns + round(late_s * 1e9), name, message(stamp_ns)))


def _fill(written: WrittenEpisode, script: Script) -> Path:
    tape = _Tape()
    _motion(tape, script)
    for k in range(round(script.seconds * CAMERA_HZ)):
        for offset, name in enumerate(("front", "wrist")):
            # The stamp is 10 ms late, and a picture needs 20 ms; the second camera lags 8 ms.
            pixels = frame(k, script.seed)
            time_s = k / CAMERA_HZ + 0.008 * offset + 0.01
            tape.at(time_s, f"camera/{name}/image", partial(image, pixels=pixels), 0.01)
    for k in range(round(script.seconds * 5)):
        tape.at(k / 5, "policy/action_chunk", partial(_chunk, time_s=k / 5), 0.05)
    changes = [(0.0, "ARMED", "POLICY", "operator: start")]
    if script.takeover_s is not None and script.pause_s is None:
        changes += [
            (script.takeover_s, "POLICY", "HUMAN", "operator: takeover"),
            (script.handback_s, "HUMAN", "POLICY", "operator: handback"),
        ]
    if script.pause_s is not None:
        begin_s, end_s = script.pause_s
        changes = [
            changes[0],
            (begin_s, "POLICY", "PAUSED", "operator: pause"),
            (end_s, "PAUSED", "POLICY", "operator: resume"),
        ]
    for time_s, before, after, why in changes:
        tape.at(time_s, "supervisor/events", partial(event, text=f"{before} -> {after}: {why}"))
        tape.at(time_s, "supervisor/mode", lambda _, mode=after: string(mode))
    for time_s, value in script.rewards:
        tape.at(time_s, "reward", lambda _, given=value: make("std_msgs/msg/Float64", given))
    for log_ns, name, message in sorted(tape.messages, key=lambda m: m[0]):
        written.put(name, message, log_ns)
    return written.end(START_NS + round(script.seconds * 1e9))


def _motion(tape: _Tape, script: Script) -> None:
    for k in range(round(script.seconds * TICK_HZ)):
        time_s = k / TICK_HZ
        human = script.drives(time_s)
        tag, phase = (HUMAN, OFFSET) if human else (POLICY, 0.0)
        if script.pause_s is not None and script.pause_s[0] <= time_s < script.pause_s[1]:
            tag = HOLD
        measured = partial(
            joint_state, names=NAMES, position=where(time_s - 0.03), velocity=where(time_s)
        )
        tape.at(time_s, "joint_states", measured)
        told = partial(joint_state, names=NAMES, position=where(time_s, phase), frame_id=tag)
        tape.at(time_s, "supervisor/command", told)
        tape.at(time_s, "supervisor/proposal", told)
        if human:
            tape.at(time_s, "operator/target", told)


def _chunk(stamp_ns: int, time_s: float):
    """One second of the policy's motion, as a timeline."""
    times = np.arange(0.0, 1.01, 0.1)
    points = [
        make(
            "trajectory_msgs/msg/JointTrajectoryPoint",
            where(time_s + t),
            np.array([0.5 * np.cos(time_s + t), -0.6 * np.sin(2 * (time_s + t))]),
            np.array([-0.5 * np.sin(time_s + t), -1.2 * np.cos(2 * (time_s + t))]),
            np.zeros(0),
            make("builtin_interfaces/msg/Duration", *divmod(round(t * 1e9), 1_000_000_000)),
        )
        for t in times
    ]
    return make(
        "trajectory_msgs/msg/JointTrajectory", header(stamp_ns, POLICY), list(NAMES), points
    )
