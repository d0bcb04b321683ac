# SPDX-License-Identifier: Apache-2.0
"""What happens to a life in `levine bench unsafe`: each changes what one tick brings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from levine_policy_node.bench.unsafe_streams import MS, Disturbance, Life
from levine_policy_node.core.modes import ACTS, Event
from levine_policy_node.core.supervision import BadChunk, Inputs, Measured, Request
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import StampNs, SteadyNs

_ALL_ACTS = sorted(ACTS, key=lambda act: act.name)


def _chunk(life: Life, extra: Inputs, chunk: Timeline[StampNs]) -> Inputs:
    return replace(extra, chunks=(life.handed_over(chunk),))


def _nothing(life: Life, extra: Inputs) -> Inputs:
    del life
    return extra


def _far(life: Life, extra: Inputs) -> Inputs:
    """A smooth chunk somewhere else."""
    return _chunk(life, extra, life.wave(life.rng.uniform(0.0, 1.0), life.rng.uniform(0.0, 5.0)))


def _rough(life: Life, extra: Inputs) -> Inputs:
    """Noise on any of the three, of any size."""
    chunk, rng = life.wave(), life.rng
    size = 10.0 ** rng.uniform(-9.0, 3.0)
    noise = rng.normal(0.0, size, (3, *chunk.positions.shape)) * (rng.random((3, 1, 1)) < 0.5)
    return _chunk(
        life,
        extra,
        replace(
            chunk,
            positions=chunk.positions + noise[0],
            velocities=chunk.velocities + noise[1],
            accelerations=chunk.accelerations + noise[2],
        ),
    )


def _strange_numbers(life: Life, extra: Inputs) -> Inputs:
    """NaN, infinities, huge and tiny numbers in random places."""
    chunk, rng = life.wave(), life.rng
    values = np.array([np.nan, np.inf, -np.inf, 1e308, -1e308, 1e12, 5e-324, -0.0])
    fields = {
        name: np.where(
            rng.random(chunk.positions.shape) < rng.choice([0.02, 0.5]),
            rng.choice(values, chunk.positions.shape),
            getattr(chunk, name),
        )
        for name in ("positions", "velocities", "accelerations")
    }
    return _chunk(life, extra, replace(chunk, **fields))


def _wrong_times(life: Life, extra: Inputs) -> Inputs:
    """Old, early, crowded or stretched chunks."""
    chunk, rng = life.wave(), life.rng
    shift_ns = int(rng.choice([-5000, -900, -100, 100, 900, 5000])) * MS
    scale = float(rng.choice([1e-6, 1e-3, 0.03, 1.0, 30.0, 1e4]))
    knots_ns = np.unique(np.rint(chunk.times_s * 1e9 * scale).astype(np.int64))
    keep = slice(0, len(knots_ns))
    return _chunk(
        life,
        extra,
        Timeline(
            chunk.joint_names,
            StampNs(int(chunk.start_ns) + shift_ns * int(rng.integers(2))),
            knots_ns / 1e9,
            chunk.positions[keep],
            chunk.velocities[keep],
            chunk.accelerations[keep],
            chunk.source,
        ),
    )


def _target(life: Life, extra: Inputs) -> Inputs:
    """A takeover, towards anything."""
    limits, rng = life.options.limits, life.rng
    spread = float(rng.choice([0.0, 0.01, 0.3, 3.0, 1e6, np.inf, np.nan]))
    with np.errstate(invalid="ignore"):
        offset = rng.uniform(-1.0, 1.0, len(limits.names)) * spread
    life.target = life.position + offset
    return replace(extra, requests=(Request(Event.TAKEOVER),))


def _acts(life: Life, extra: Inputs) -> Inputs:
    """One to three acts of any kind."""
    rng = life.rng
    count = int(rng.integers(1, 4))
    acts = (_ALL_ACTS[int(rng.integers(len(_ALL_ACTS)))] for _ in range(count))
    return replace(extra, requests=tuple(Request(act) for act in acts))


def _bad(life: Life, extra: Inputs) -> Inputs:
    """Unreadable chunks."""
    return replace(extra, chunks=(BadChunk("unreadable"),) * int(life.rng.integers(1, 3)))


def _silence(life: Life, extra: Inputs) -> Inputs:
    life.policy = False
    return extra


def _trouble(life: Life, extra: Inputs) -> Inputs:
    """Something of the robot or of the machine."""
    rng, now = life.rng, SteadyNs(life.now_ns)
    kind = int(rng.integers(5))
    if kind == 0:
        return replace(extra, estop=True)
    if kind == 1:
        return replace(extra, publishers=2)
    if kind == 2:
        life.offset_ns += int(rng.choice([-200, 20, 200])) * MS
        return replace(extra, ros_offset_ns=life.offset_ns)
    strange = rng.choice([np.nan, np.inf, 0.0, 1.0], len(life.position))
    position = life.position + (strange if kind == 3 else 0.0)
    return replace(extra, measured=Measured(position, life.velocity + strange, now))


DISTURBANCES: tuple[Disturbance, ...] = (
    _nothing,
    _nothing,
    _nothing,
    _far,
    _far,
    _rough,
    _rough,
    _strange_numbers,
    _wrong_times,
    _target,
    _target,
    _acts,
    _acts,
    _bad,
    _silence,
    _trouble,
)
