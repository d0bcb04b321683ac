# SPDX-License-Identifier: Apache-2.0
"""The columns of one recording. Row k is an observation, and what was done about it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.episode import policy_of_tag
from levine_policy_node.core.labels import (
    SIRIUS_WINDOW_S,
    ControlSource,
    Phase,
    evo_rl_states,
    intervened,
    rlif_rewards,
    sirius_labels,
)
from levine_policy_node.core.observation_grid import ObservedGrid
from levine_policy_node.core.units import FloatArray
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.export.export_episode import (
    ACTION,
    DONE,
    EXTRA,
    INTERVENTION,
    REWARD,
    STATE,
    SUCCESS,
    VELOCITY,
    Column,
)
from levine_policy_node.runtime.export.recorded_acts import Acts, BoolArray


def usable(acts: Acts, *, everything: bool) -> BoolArray:
    """Which rows (N,) belong into a data set: somebody drives, and what was done is known.

    Args:
        acts: Of all rows.
        everything: Also those in which nobody drives: handovers, pauses, the home motion.
    """
    known = ~_any_nan(acts.executed)
    return known if everything else known & np.isin(acts.phase, (Phase.POLICY, Phase.HUMAN))


def columns_of(grid: ObservedGrid, acts: Acts, robot: Robot) -> dict[str, Column]:
    """The columns of all rows; labels look at all of them, so choose rows afterwards."""
    names = robot.joint_names
    count = len(grid.now_ns)
    driven = intervened(acts.phase)
    columns = {STATE: Column(_f32(grid.positions), names, "measured joint positions [rad]")}
    if grid.velocities is not None:
        columns[VELOCITY] = Column(
            _f32(grid.velocities), names, "measured joint velocities [rad/s]"
        )
    columns |= {
        ACTION: Column(_f32(acts.executed), names, "commanded joint positions [rad]"),
        REWARD: Column(
            np.zeros(count, np.float32),
            about="as given; else 1 on the last frame of a success",
        ),
        DONE: Column(np.zeros(count, np.bool_), about="the last frame"),
        SUCCESS: Column(np.zeros(count, np.bool_), about="the last frame of a success"),
        INTERVENTION: Column(driven, about="a person drove after a policy had acted"),
    }
    columns |= {f"{EXTRA}{name}": column for name, column in _extra(grid, acts, names).items()}
    return columns


def _extra(grid: ObservedGrid, acts: Acts, names: tuple[str, ...]) -> dict[str, Column]:
    proposed_valid = ~_any_nan(acts.proposed)
    wanted_valid: BoolArray = np.asarray((~np.isnan(acts.wanted)).any(axis=1))
    # Where it is not known, what was done stands there: a number that trains nothing wrong.
    proposed = np.where(proposed_valid[:, None], acts.proposed, acts.executed)
    wanted = np.where(np.isnan(acts.wanted), acts.executed, acts.wanted)
    policies = [
        "human" if source == ControlSource.HUMAN else policy_of_tag(tag) or tag
        for source, tag in zip(acts.source, acts.tags, strict=True)
    ]
    age_ms = (grid.now_ns - grid.oldest_ns) / 1e6
    labels = sirius_labels(acts.action_ns, acts.phase, SIRIUS_WINDOW_S)
    return {
        "is_intervention": Column(
            _f32(intervened(acts.phase)), about="`intervention` as a number"
        ),
        "policy_action": Column(
            _f32(proposed), names, "what the policy proposed [rad]; the action where not valid"
        ),
        "policy_action_valid": Column(proposed_valid, about="`policy_action` is one"),
        "human_action": Column(
            _f32(wanted), names, "where the person wanted the arm [rad]; else the action"
        ),
        "human_action_valid": Column(wanted_valid, about="`human_action` is one"),
        "state": Column(
            _f32(evo_rl_states(acts.phase)), about="0 policy, 1 person, 2 changes hands (Evo-RL)"
        ),
        "phase": Column(acts.phase, about="0 policy, 1 person, 2 paused, 3 handover, 4 reset"),
        "control_source": Column(
            acts.source, about="-1 nobody, 0 policy, 1 person, 2 hold, 3 stop, 4 home, 5 both"
        ),
        "collector_policy_id": Column(
            np.array(policies, dtype=object), about="`human`, or <policy>@<hash>"
        ),
        "intv_label": Column(
            labels, about="Sirius: -1 demonstration, 0 policy, 1 intervention, -10 before one"
        ),
        "rlif_reward": Column(
            _f32(rlif_rewards(acts.phase)), about="RLIF: -1 before a takeover, else 0"
        ),
        "stamp_ns": Column(grid.stamp_ns, about="reference time of the observation [ns]"),
        "max_obs_age_ms": Column(_f32(age_ms), about="age of its oldest picture [ms]"),
        "filter_flags": Column(
            acts.verdict, about="supervisor: 1 altered, 2 slowed, 4 cut, 8 refused"
        ),
    }


def chosen(
    columns: Mapping[str, Column],
    rows: BoolArray,
    rewards: FloatArray | None,
    *,
    success: bool,
) -> dict[str, Column]:
    """The rows that are kept, with rewards and the marks of the last and of gaps.

    Args:
        columns: Of all N rows.
        rows: Which are kept (N,); at least one.
        rewards: Of those that are kept, None if none were given.
        success: How the episode ended.
    """
    found = {
        name: Column(column.values[rows], column.names, column.about)
        for name, column in columns.items()
    }
    found[DONE].values[-1] = True
    found[SUCCESS].values[-1] = success
    if rewards is None:
        found[REWARD].values[-1] = float(success)
    else:
        found[REWARD].values[:] = rewards
    kept = np.flatnonzero(rows)
    stretch = np.cumsum(np.diff(kept, prepend=kept[:1]) > 1)
    found[f"{EXTRA}segment"] = Column(
        stretch.astype(np.int64), about="counts stretches; frames between two are left out"
    )
    return found


def _any_nan(rows: FloatArray) -> BoolArray:
    return np.asarray(np.isnan(rows).any(axis=1))


def _f32(values: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    return values.astype(np.float32)
