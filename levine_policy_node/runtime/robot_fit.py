# SPDX-License-Identifier: Apache-2.0
"""Whether a policy was made for a robot."""

from __future__ import annotations

from collections.abc import Iterable

from levine_policy_node.errors import BundleError
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.bundle_schema import BundleDocument
from levine_policy_node.runtime.effort_rules import interface_problem
from levine_policy_node.urdf import hand_joints


def check_fit(document: BundleDocument, robot: Robot, source: str) -> None:
    """Refuse a robot this policy was not made for.

    Args:
        document: Of the bundle.
        robot: The robot file.
        source: Where the document was read, for messages.

    Raises:
        BundleError: With the first thing that does not fit.
    """
    _Fit(document.for_cameras(robot.cameras), robot, source).check()


class _Fit:
    def __init__(self, document: BundleDocument, robot: Robot, source: str) -> None:
        self._document, self._robot, self._source = document, robot, source

    def check(self) -> None:
        document, robot = self._document, self._robot
        if document.robot != robot.model:
            raise self._error(
                "robot",
                f"was made for '{document.robot}', and robot file {robot.name} describes "
                f"'{robot.model}'",
                "Choose a policy or a robot file that fits the other",
            )
        problem, fix = interface_problem(document.action, robot)
        if problem:
            raise self._error("action.parts", problem, fix)
        known = robot.joint_names
        self._known("observations", "joint", document.observed_joints, known)
        self._known("action.parts", "joint", document.action.names, known)
        self._known("names", "gripper", document.grippers, tuple(robot.gripper_ends()))
        self._check_commanded()
        self._check_cameras()

    def _check_commanded(self) -> None:
        """Every joint must have one target."""
        action, robot = self._document.action, self._robot
        grippers = tuple(robot.gripper_ends())
        moved = self._moved_by_hand()
        if self._document.unnamed_gripper and len(grippers) != 1:
            raise self._error(
                "names",
                f"no joint is named for a gripper, and robot {robot.name} has {len(grippers)}",
                "Name the gripper's joint",
            )
        unnamed = grippers if any(not g.names for g in action.grippers) else ()
        given = (*action.names, *unnamed, *moved)
        twice = [name for name in robot.joint_names if given.count(name) > 1]
        if twice:
            raise self._error("action.parts", f"joint(s) {', '.join(twice)} are given twice", "")
        missing = [name for name in robot.joint_names if name not in given]
        if missing:
            raise self._error(
                "action.parts",
                f"no target for joint(s) {', '.join(missing)} of robot {robot.name}",
                "A policy must command every joint",
            )

    def _check_cameras(self) -> None:
        document, robot = self._document, self._robot
        cameras = tuple(dict.fromkeys(document.cameras.values()))
        self._known("observations", "camera", cameras, tuple(robot.cameras))
        replan_s = document.chunk.execute / document.rate
        for camera in cameras if document.chunk.replan == "every" else ():
            if replan_s < 0.9 / robot.cameras[camera].rate_hz:
                raise self._error(
                    "chunk.execute",
                    f"asks for an observation every {replan_s:.4g} s, but camera {camera} of "
                    f"robot {robot.name} gives {robot.cameras[camera].rate_hz:g} Hz",
                    "Execute more rows per chunk or use a faster camera",
                )

    def _moved_by_hand(self) -> tuple[str, ...]:
        """The joints that follow from where the policy wants the hand."""
        hand, robot = self._robot.hand, self._robot
        for field, frame in self._document.hand_frames.items():
            if hand is None:
                raise self._error(
                    field,
                    f"robot file {robot.name} does not say which frame is its hand",
                    "Add 'hand' to it",
                )
            if frame not in ("base", "tcp", hand.base, hand.frame):
                raise self._error(
                    field,
                    f"'{frame}' is not known",
                    f"It is base ({hand.base}) or tcp ({hand.frame})",
                )
        return hand_joints(robot) if self._document.action.body else ()

    def _known(self, field: str, what: str, names: Iterable[str], known: tuple[str, ...]) -> None:
        unknown = [name for name in names if name not in known]
        if unknown:
            raise self._error(
                field,
                f"{what}(s) {', '.join(unknown)} not in the robot file",
                f"It has {', '.join(known) or 'none'}",
            )

    def _error(self, field: str, problem: str, fix: str) -> BundleError:
        return BundleError(self._source, field, problem, fix)
