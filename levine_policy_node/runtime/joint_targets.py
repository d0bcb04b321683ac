# SPDX-License-Identifier: Apache-2.0
"""From a policy's actions to joint targets of one robot, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.action_layout import ActionLayout, Gripper
from levine_policy_node.core.cartesian import CartesianMode, Mode, Poses
from levine_policy_node.core.gripper_orders import OpenClose, Orders, Toggle, obeyed
from levine_policy_node.core.hand_columns import HandColumns, Turns
from levine_policy_node.core.observation import Observation
from levine_policy_node.core.singularity import along
from levine_policy_node.core.units import FloatArray, nanoseconds
from levine_policy_node.errors import InferenceError, OutOfReachError
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.action_schema import (
    ActionPart,
    ActionSpec,
    EffortTarget,
    GripperOpenClose,
    GripperTarget,
    GripperToggle,
    Ignored,
    JointTarget,
    VelocityTarget,
)
from levine_policy_node.runtime.body_schema import (
    PoseTarget,
    PositionTarget,
    RotationTarget,
    turn_width,
)
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.bundle_stats import ACTION
from levine_policy_node.runtime.hand_kinematics import HandKinematics
from levine_policy_node.runtime.vector_terms import columns, gripper_joint, gripper_line


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    """What a gripper was told: from a stamp on, one position per row."""

    began_ns: int
    positions: FloatArray


@dataclass(frozen=True, slots=True)
class _Switched:
    """A gripper that is told to open or close.

    Attributes:
        joint: Which joint of the robot.
        orders: What its columns say.
        ends: Where it is closed and where open.
    """

    joint: int
    orders: Orders
    ends: tuple[float, float]


class JointTargets:
    """What the columns of a bundle's actions are, for a robot that it fits.

    Args:
        bundle: A bundle that fits the robot.
        robot: The robot.
        hand: Its kinematics; needed by policies that move the hand.
    """

    def __init__(self, bundle: Bundle, robot: Robot, hand: HandKinematics | None = None) -> None:
        document = bundle.document
        action = document.action
        self._source = bundle.source
        self._start = document.chunk.start
        self._dt_s = 1.0 / document.rate
        self._layout = _layout(bundle, robot)
        self._grippers = ~robot.arm_joints()
        self._hand = (
            None if hand is None or not action.body else (hand, _hand_columns(action, robot))
        )
        self._switched = [
            _switched(part, begin, robot)
            for part, begin in zip(action.parts, action.begins, strict=True)
            if isinstance(part, GripperToggle | GripperOpenClose)
        ]
        self.reset()

    def reset(self) -> None:
        """Forget what grippers were told."""
        self._told: dict[int, _Told] = {}

    def positions(self, actions: FloatArray, observation: Observation) -> FloatArray:
        """Turn actions into absolute joint targets.

        Args:
            actions: Shape (T, A), in the network's unit.
            observation: What they were inferred from.

        Returns:
            Rows from the first that belongs to the future, shape (T - start, J) [rad].

        Raises:
            InferenceError: If a row is no rotation.
            OutOfReachError: If the hand cannot go there.
        """
        measured = observation.joint_positions
        values = self._layout.columns(actions)
        targets = self._layout.targets(values, measured)[self._start :]
        if self._hand is not None:
            hand, layout = self._hand
            try:
                poses = layout.poses(values, hand.pose(measured))
                rows = Poses(poses.positions[self._start :], poses.rotations[self._start :])
                turned = layout.turns is not None
                targets[:, hand.joints] = hand.follow(rows, measured, self._dt_s, turned=turned)
                targets = self._unhurried(hand, targets, measured)
            except OutOfReachError as error:
                raise OutOfReachError(f"{self._source}: {error}") from error
            except ValueError as error:
                raise InferenceError(f"{self._source}: {error}") from error
        for gripper in self._switched:
            # Last, for what is a fault is not played, and tells a gripper nothing.
            targets[:, gripper.joint] = self._obeyed(gripper, values, observation)
        return targets

    def _unhurried(
        self, hand: HandKinematics, targets: FloatArray, measured: FloatArray
    ) -> FloatArray:
        """Slow the whole chunk where the hand would rush into a singularity."""
        rows = np.vstack([measured, targets])
        reached = hand.progress(rows)
        if reached is None or bool((reached >= np.arange(1, len(rows))).all()):
            return targets
        return along(rows, reached, self._grippers)

    def actions(self, positions: FloatArray, measured: FloatArray) -> FloatArray:
        """Turn absolute joint targets into actions, the inverse of `positions`.

        Args:
            positions: The first L rows of a chunk, shape (L, J) [rad].
            measured: Joint positions of the observation, shape (J,) [rad].

        Returns:
            Shape (L, A), in the network's unit.
        """
        values = self._layout.values(positions, measured)
        if self._hand is not None:
            hand, layout = self._hand
            poses = [hand.pose(row) for row in positions]
            rows = Poses(
                np.array([pose.positions for pose in poses]).reshape(-1, 3),
                np.array([pose.rotations for pose in poses]).reshape(-1, 3, 3),
            )
            layout.write(rows, hand.pose(measured), values)
        return self._layout.network(values)

    def _obeyed(
        self, gripper: _Switched, values: FloatArray, observation: Observation
    ) -> FloatArray:
        """Positions of a gripper that keeps what it was told, from one inference to the next."""
        now_ns, joint = int(observation.stamp_ns), gripper.joint
        before = float(observation.joint_positions[joint])
        told = self._told.get(joint)
        if told is not None and told.began_ns <= now_ns:
            # The row that is due now; what would have been due later was never played.
            row = (now_ns - told.began_ns) // max(int(nanoseconds(self._dt_s)), 1)
            before = float(told.positions[min(row, len(told.positions) - 1)])
        rows = obeyed(gripper.orders.orders(values), before, gripper.ends)[self._start :]
        self._told[joint] = _Told(now_ns, np.concatenate([[before], rows]))
        return rows


def _layout(bundle: Bundle, robot: Robot) -> ActionLayout:
    action = bundle.document.action
    lines = [_line(part, robot) for part in action.parts]
    modes = [_joint_mode(part) for part in action.parts for _ in range(part.width)]
    held: dict[str, int] = {}
    for part, begin in zip(action.parts, action.begins, strict=True):
        if isinstance(part, (JointTarget, VelocityTarget, EffortTarget)):
            held.update({name: begin + i for i, name in enumerate(part.names)})
        elif isinstance(part, GripperTarget):
            held[gripper_joint(part.names, robot.gripper_ends())] = begin
    return ActionLayout(
        normalization=bundle.normalizations.get(ACTION),
        scale=np.concatenate([scale for scale, _ in lines]),
        offset=np.concatenate([offset for _, offset in lines]),
        relative=np.array([mode == "relative" for mode in modes]),
        order=np.array([held.get(name, -1) for name in robot.joint_names]),
        delta=np.array([mode == "delta" for mode in modes]) if "delta" in modes else None,
        grippers=tuple(
            Gripper(begin, part.closed, part.open, part.binarize)
            for part, begin in zip(action.parts, action.begins, strict=True)
            if isinstance(part, GripperTarget)
        ),
    )


def _joint_mode(part: ActionPart) -> Mode:
    return part.mode if isinstance(part, JointTarget) else "absolute"


def _line(part: ActionPart, robot: Robot) -> tuple[FloatArray, FloatArray]:
    """Scale and offset of every column of a part."""
    if isinstance(part, GripperTarget):
        ends = robot.gripper_ends()
        scale, offset = gripper_line(part, ends[gripper_joint(part.names, ends)])
        return columns(scale, 1), columns(offset, 1)
    if isinstance(part, (GripperToggle, GripperOpenClose, Ignored)):
        return columns(1.0, part.width), columns(0.0, part.width)
    return columns(part.scale, part.width), columns(part.offset, part.width)


def _switched(part: GripperToggle | GripperOpenClose, begin: int, robot: Robot) -> _Switched:
    ends = robot.gripper_ends()
    name = gripper_joint(part.names, ends)
    orders: Orders = (
        Toggle(begin, part.closed, part.open)
        if isinstance(part, GripperToggle)
        else OpenClose(begin, begin + 1, part.binarize)
    )
    return _Switched(robot.joint_names.index(name), orders, ends[name])


def _hand_columns(action: ActionSpec, robot: Robot) -> HandColumns:
    body = robot.hand.frame if robot.hand is not None else ""
    moved: list[int] = []
    axes: tuple[int, ...] = ()
    turns: Turns | None = None
    modes: dict[str, tuple[Mode, bool]] = {}
    for part, begin in zip(action.parts, action.begins, strict=True):
        if not isinstance(part, (PositionTarget, RotationTarget, PoseTarget)):
            continue
        mode = (part.mode, part.frame in ("tcp", body))
        if isinstance(part, (PositionTarget, PoseTarget)):
            axes = part.kept
            moved = list(range(begin, begin + len(axes)))
            modes["moved"] = mode
        if isinstance(part, (RotationTarget, PoseTarget)):
            turns = _turns(part, begin if isinstance(part, RotationTarget) else begin + 3)
            modes["turned"] = mode
    still: tuple[Mode, bool] = ("relative", False)
    (moves, moves_in_body), (turned, turned_in_body) = (
        modes.get(what, still) for what in ("moved", "turned")
    )
    return HandColumns(
        moved=np.array(moved, dtype=np.intp),
        axes=np.array(axes, dtype=np.intp),
        turns=turns,
        mode=CartesianMode(moves, turned, moves_in_body, turned_in_body),
    )


def _turns(part: RotationTarget | PoseTarget, begin: int) -> Turns:
    form = None if part.rotation == "yaw_cos_sin" else part.rotation
    whole = tuple(range(turn_width(part.rotation)))
    return Turns(
        columns=np.arange(begin, begin + part.turn),
        form=form,
        axes=np.array(whole if part.axes is None else part.kept, dtype=np.intp),
    )
