# SPDX-License-Identifier: Apache-2.0
"""A candidate beside the active policy: what it says of the same observations."""

from __future__ import annotations

import math

import numpy as np

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.alignment import StreamFault
from levine_policy_node.core.observation import Observation
from levine_policy_node.core.shadow import ShadowRows, accident, common_rows, implausible
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import InferenceError
from levine_policy_node.nodes.policy_slot import PolicySlot
from levine_policy_node.robot import Robot


class PolicyShadow:
    """The comparisons of one candidate.

    Attributes:
        figures: What came out of them so far.
    """

    def __init__(self, slot: PolicySlot, robot: Robot) -> None:
        self.figures: dict[str, float] = {}
        self._slot = slot
        self._robot = robot
        self._rows: list[ShadowRows] = []

    def sees(
        self, observation: Observation, active: PolicySlot, now_ns: StampNs
    ) -> Observation | StreamFault | None:
        """The observation, or one of the candidate's own if it sees other cameras."""
        if set(self._slot.bundle.cameras) <= set(observation.images):
            return observation
        replanner = self._slot.replanner
        replanner.continue_from(active.replanner)
        replanner.restart()
        found = replanner.observe(now_ns)
        replanner.answered()
        return found

    def recall(self, moments: list[tuple[Observation, ActionChunk]]) -> None:
        """Look for accidents in what was seen earlier.

        Raises:
            InferenceError: If this policy must not take over.
        """
        cameras = set(self._slot.bundle.cameras)
        rows = [
            common_rows(chunk, self._slot.policy.infer(seen), seen.joint_positions)
            for seen, chunk in moments
            if cameras <= set(seen.images)
        ]
        told = [each for each in rows if each is not None]
        problem = self._accident(told) if told else ""
        self._slot.policy.reset()
        if problem:
            raise InferenceError(problem)

    def _accident(self, rows: list[ShadowRows]) -> str:
        absolute = self._slot.bundle.document.action.absolute
        return accident(rows, self._robot.joint_names, absolute=absolute)

    def compare(self, seen: Observation, chunk: ActionChunk, keep: int) -> float:
        """Infer and compare.

        Args:
            seen: What the candidate infers from.
            chunk: What the active policy said.
            keep: How many comparisons count.

        Returns:
            The worst joint's distance on the worst common row [rad].

        Raises:
            InferenceError: If this policy must not take over.
            ObservationError: If it lacks something in the observation.
        """
        said = self._slot.policy.infer(seen)
        if said.efforts is not None:
            # How far apart two efforts lead is not a distance of rows: it waits for standstill.
            self.figures["observations"] = self.figures.get("observations", 0) + 1
            return math.inf
        rows = common_rows(chunk, said, seen.joint_positions)
        problem = implausible(said, self._robot.limits(), self._robot.arm_joints())
        if problem:
            raise InferenceError(problem)
        if rows is None:
            raise InferenceError("its chunks and the active policy's have no time in common")
        self._rows = [*self._rows, rows][-max(1, keep) :]
        distances = np.concatenate([each.distances for each in self._rows])
        self.figures["observations"] = self.figures.get("observations", 0) + 1
        self.figures["worst_rad"] = round(float(distances.max()), 5)
        self.figures["median_rad"] = round(float(np.median(distances)), 5)
        if len(self._rows) >= keep:
            problem = self._accident(self._rows)
        if problem:
            raise InferenceError(problem)
        return float(rows.distances.max())
