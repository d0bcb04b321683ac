# SPDX-License-Identifier: Apache-2.0
"""What a broken or hostile policy publishes: bytes that no `Timeline` would let through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np

from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.trajectory_message import trajectory_bytes
from levine_policy_node.core.units import FloatArray, StampNs, nanoseconds
from levine_policy_node.dst.world import World
from levine_policy_node.faults.case import injected_ns


@dataclass(slots=True)
class Draft:
    """The fields of a timeline, which nobody has checked."""

    joint_names: tuple[str, ...]
    start_ns: StampNs
    times_s: FloatArray
    positions: FloatArray
    velocities: FloatArray
    accelerations: FloatArray
    source: str

    @staticmethod
    def of(timeline: Timeline[StampNs]) -> Draft:
        """Copies of the fields of a good one."""
        return Draft(
            timeline.joint_names,
            timeline.start_ns,
            timeline.times_s.copy(),
            timeline.positions.copy(),
            timeline.velocities.copy(),
            timeline.accelerations.copy(),
            timeline.source,
        )

    def data(self) -> bytes:
        """As it goes over the wire."""
        return trajectory_bytes(cast("Timeline[StampNs]", self))


Change = Callable[[Draft], None]


def spoil(change: Change, times: int | None = None) -> Callable[[World], None]:
    """Change what the policy publishes, for the first `times` chunks or for ever."""

    def inject(world: World) -> None:
        left = [times]

        def publish(timeline: Timeline[StampNs]) -> bytes:
            draft = Draft.of(timeline)
            change(draft)
            if left[0] is not None:
                left[0] -= 1
                if left[0] == 0:
                    world.policy.spoil = None
            return draft.data()

        world.policy.spoil = publish

    return inject


def second_chunk(world: World) -> int:
    """When the second spoiled chunk arrived; one may be lost on the way."""
    began_ns = injected_ns(world.trace)
    dropped = [
        record.time_ns
        for record in world.trace.of("dropped")
        if record.time_ns >= began_ns and record.values[0].startswith("policy/action_chunk")
    ]
    return dropped[1] if len(dropped) > 1 else began_ns


def with_value(value: float, field: str) -> Change:
    """One entry in the middle of a field is `value`."""

    def change(draft: Draft) -> None:
        table = getattr(draft, field)
        table[len(table) // 2, 0] = value

    return change


def moved(by_rad: float) -> Change:
    """The whole chunk lies elsewhere."""

    def change(draft: Draft) -> None:
        draft.positions += by_rad

    return change


def enlarged(factor: float) -> Change:
    """The same motion, larger: velocity, acceleration and jerk with it."""

    def change(draft: Draft) -> None:
        first = draft.positions[:1].copy()
        draft.positions = first + factor * (draft.positions - first)
        draft.velocities *= factor
        draft.accelerations *= factor

    return change


def hurried(factor: float) -> Change:
    """The same way in less time, derivatives fitting."""

    def change(draft: Draft) -> None:
        draft.times_s /= factor
        draft.velocities *= factor
        draft.accelerations *= factor**2

    return change


def renamed(names: Callable[[tuple[str, ...]], tuple[str, ...]]) -> Change:
    """Other joint names for the same columns."""

    def change(draft: Draft) -> None:
        draft.joint_names = names(draft.joint_names)

    return change


def reordered(draft: Draft) -> None:
    """Names and columns in another order, which is the same chunk."""
    order = np.arange(len(draft.joint_names))[::-1]
    draft.joint_names = tuple(draft.joint_names[i] for i in order)
    draft.positions = draft.positions[:, order]
    draft.velocities = draft.velocities[:, order]
    draft.accelerations = draft.accelerations[:, order]


def shifted(by_s: float) -> Change:
    """A stamp that is off."""

    def change(draft: Draft) -> None:
        draft.start_ns = StampNs(int(draft.start_ns) + nanoseconds(by_s))

    return change


def standing_time(draft: Draft) -> None:
    """Two knots at the same time."""
    middle = len(draft.times_s) // 2
    draft.times_s[middle] = draft.times_s[middle - 1]


def reversed_time(draft: Draft) -> None:
    """Times that decrease."""
    draft.times_s = draft.times_s[::-1].copy()


def fewer_columns(draft: Draft) -> None:
    """A column less than there are names."""
    draft.joint_names = draft.joint_names[:-1]
    draft.positions = draft.positions[:, :-1]
    draft.velocities = draft.velocities[:, :-1]
    draft.accelerations = draft.accelerations[:, :-1]
