# SPDX-License-Identifier: Apache-2.0
"""What a replay of an episode showed, in figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from levine_policy_node.runtime.replay import ReplayedInference


@dataclass(frozen=True, slots=True)
class JointDifference:
    """How far a joint's rows are from the recorded ones [rad] ([N m] for efforts)."""

    rms: float
    largest: float


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """All inferences of an episode.

    Attributes:
        inferences: How many were recorded.
        compared: Of how many there is a chunk now and then, or the same failure.
        bit_exact: How many of these are equal bit for bit.
        observations: Of how many what was seen is known.
        observations_exact: Of how many of these it was made again bit for bit.
        out_of_sequence: How many came after a gap, so that what the policy remembers is not what
            it remembered then.
        original: How many were of the policy that was asked now.
        unlike: How often each thing was not what was seen.
        problems: How often each thing stood in the way.
        joints: Differences by joint, over every row that both have.
    """

    inferences: int
    compared: int
    bit_exact: int
    observations: int
    observations_exact: int
    out_of_sequence: int
    original: int
    unlike: dict[str, int]
    problems: dict[str, int]
    joints: dict[str, JointDifference]


def report_of(replayed: Sequence[ReplayedInference], joint_names: Sequence[str]) -> ReplayReport:
    """Sum up a replay.

    Args:
        replayed: Every inference.
        joint_names: J names, the columns of the differences.
    """
    differences = [r.difference for r in replayed if r.difference is not None]
    rows = np.concatenate(differences) if differences else np.zeros((0, len(joint_names)))
    known = [r for r in replayed if r.told and not (r.problem and r.difference is None)]
    return ReplayReport(
        inferences=len(replayed),
        compared=sum(r.difference is not None or r.exact for r in replayed),
        bit_exact=sum(r.exact for r in replayed),
        observations=len(known),
        observations_exact=sum(not r.unlike for r in known),
        out_of_sequence=sum(not r.in_sequence for r in replayed),
        original=sum(r.original for r in replayed),
        unlike=dict(Counter(thing for r in replayed for thing in r.unlike)),
        problems=dict(Counter(r.problem for r in replayed if r.problem)),
        joints={
            name: JointDifference(
                float(np.sqrt(np.mean(rows[:, j] ** 2))), float(np.max(np.abs(rows[:, j])))
            )
            for j, name in enumerate(joint_names)
            if len(rows)
        },
    )


def inference_document(replayed: ReplayedInference, joint_names: Sequence[str]) -> dict[str, Any]:
    """One inference as plain values."""
    difference = replayed.difference
    return {
        "stamp_ns": replayed.stamp_ns,
        "source": replayed.source,
        "original": replayed.original,
        "in_sequence": replayed.in_sequence,
        "unlike": list(replayed.unlike),
        "exact": replayed.exact,
        "problem": replayed.problem,
        "largest": None
        if difference is None
        else dict(zip(joint_names, np.max(np.abs(difference), axis=0).tolist(), strict=True)),
    }
