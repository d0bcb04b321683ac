# SPDX-License-Identifier: Apache-2.0
"""When a watching person would take over, and when hand back. No torch, no ROS, no simulation.

The watcher judges what is plain to see: the hand went down beside the cube, pushed it, closed on
nothing, dropped it, or nothing comes of it. It does not foresee: a person takes over once
something has gone wrong, and so the recorded corrections begin where the policy fails.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Place = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Facts:
    """What can be seen at one instant.

    Attributes:
        time_s: Since the policy was let go [s].
        hand: Point between the jaws (3,) [m].
        cube: Centre of the cube (3,) [m].
        gripper: How far the jaws are open [rad].
        held: Both jaws touch the cube.
        in_bin: The cube lies in the bin.
    """

    time_s: float
    hand: Place
    cube: Place
    gripper: float
    held: bool
    in_bin: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """What is bad enough.

    Attributes:
        low_m: Below this the hand is down at the table [m].
        beside_m: So far beside the cube it cannot grasp it [m].
        beside_s: For how long it may be down there beside it [s].
        pushed_m: The cube may be moved so far without being held [m].
        empty_rad: Jaws so far closed with nothing between them grasped nothing [rad].
        lifted_m: A held cube this high is lifted [m].
        lift_s: Time to lift the cube [s].
        place_s: Time from the lift to the bin [s].
        carried_m: The hand is this high with the cube when the policy gets the arm back [m].
        least_s: A person keeps the arm at least this long [s].
    """

    low_m: float = 0.032
    beside_m: float = 0.013
    beside_s: float = 0.4
    pushed_m: float = 0.02
    empty_rad: float = 0.3
    lifted_m: float = 0.04
    lift_s: float = 5.5
    place_s: float = 5.0
    carried_m: float = 0.085
    least_s: float = 0.6


@dataclass(frozen=True, slots=True)
class Watched:
    """What the watcher remembers.

    Attributes:
        cube: Where the cube lay when this attempt began (3,) [m].
        since_s: When the attempt, or the carrying, began [s].
        beside_s: Since when the hand has been down beside the cube, None if it is not [s].
        lifted: Whether the cube has been lifted in this attempt.
    """

    cube: Place
    since_s: float
    beside_s: float | None = None
    lifted: bool = False

    @staticmethod
    def beginning(facts: Facts, *, lifted: bool = False) -> Watched:
        """The memory at the beginning of an attempt; `lifted` if the cube is in the air."""
        return Watched(facts.cube, facts.time_s, None, lifted)

    def after(self, facts: Facts, rule: Rule) -> Watched:
        """The memory once `facts` have been seen."""
        beside_s = None
        if _is_beside(facts, rule):
            beside_s = facts.time_s if self.beside_s is None else self.beside_s
        if not self.lifted and facts.held and facts.cube[2] > rule.lifted_m:
            return Watched(self.cube, facts.time_s, beside_s, lifted=True)
        return replace(self, beside_s=beside_s)


def why_take_over(watched: Watched, facts: Facts, rule: Rule) -> str:
    """What went wrong, or "" if nothing did.

    Args:
        watched: With `facts` taken in.
        facts: Of now.
        rule: What is bad enough.
    """
    if facts.in_bin:
        return ""
    moved_m = float(np.linalg.norm(facts.cube[:2] - watched.cube[:2]))
    allowed_s = rule.place_s if watched.lifted else rule.lift_s
    on_table = float(facts.cube[2]) < rule.low_m
    beside = watched.beside_s
    findings = {
        "dropped": watched.lifted and on_table and not facts.held,
        "missed": beside is not None and facts.time_s - beside > rule.beside_s,
        "pushed": moved_m > rule.pushed_m and on_table and not facts.held,
        "empty grasp": facts.gripper < rule.empty_rad and not facts.held,
        "stalled": facts.time_s - watched.since_s > allowed_s,
    }
    return next((name for name, found in findings.items() if found), "")


def may_hand_back(taken_s: float, facts: Facts, rule: Rule) -> bool:
    """Whether the policy can go on from here: the cube is held, and high.

    Args:
        taken_s: When the person took over [s].
        facts: Of now.
        rule: How high, and how long at least.
    """
    high = bool(facts.hand[2] > rule.carried_m)
    return facts.held and high and facts.time_s - taken_s >= rule.least_s


def _is_beside(facts: Facts, rule: Rule) -> bool:
    apart_m = float(np.linalg.norm(facts.hand[:2] - facts.cube[:2]))
    return bool(facts.hand[2] < rule.low_m) and apart_m > rule.beside_m and not facts.held
