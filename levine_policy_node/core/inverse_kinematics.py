# SPDX-License-Identifier: Apache-2.0
"""Joint positions that bring a hand to a pose, by damped least squares from where the arm is.

Each step solves for the position first and for the rotation with the motion that is left, so that
an arm of five joints meets the position and comes as near as it can to the rotation (Nakamura,
Hanafusa, Yoshikawa 1987). The damping falls with the square of what is left to do, which keeps
steps small near singularities and convergence fast at the solution (Sugihara 2011). Joints at a
limit that a step would take further are left out of it, and a search that ends at limits without
an answer is made once more from inside them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.cartesian import Poses
from levine_policy_node.core.rotations import from_matrices
from levine_policy_node.core.units import BoolArray, FloatArray

Forward = Callable[[FloatArray], tuple[FloatArray, FloatArray, FloatArray]]
"""Position (3,) [m], rotation (3, 3) and Jacobian (6, n), linear rows first, for joints (n,)."""

_CONVERGED = 1e-10
_STALLED = 1e-9
_STRAIGHT = 1e-12
_MAX_ITERATIONS = 60
_MAX_STEP = 0.3
_DAMPING = 0.5
# Of a rotation that joints cannot reach, rounding must not become motion.
_LEAST_DAMPING = 1e-9
_MET = 1e-7
# How far from its limits a second search begins [rad].
_INWARDS = 0.2
# A null space is exact only where nothing is damped; what leaks is corrected afterwards.
_PULL_DAMPING = 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class Reached:
    """Where the search ended.

    Attributes:
        joints: Shape (n,) [rad].
        position_error: How far the hand is from where it should be [m].
        rotation_error: How far it is turned from how it should be [rad].
    """

    joints: FloatArray
    position_error: float
    rotation_error: float


def reach(
    forward: Forward,
    target: Poses,
    start: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
) -> Reached:
    """Search the joint positions nearest to `start` that bring the hand to a pose.

    Args:
        forward: Where the hand is, and how the joints move it.
        target: One pose, shapes (3,) and (3, 3).
        start: Where the search begins, shape (n,) [rad].
        lower: Least joint positions, shape (n,) [rad].
        upper: Largest ones.
    """
    found = _search(forward, target, start, lower, upper)
    at_limit = (found.joints <= lower) | (found.joints >= upper)
    if _met(found) or not np.any(at_limit):
        return found
    inwards = np.minimum(_INWARDS, 0.5 * (upper - lower))
    inside = np.clip(start, lower + inwards, upper - inwards)
    again = _search(forward, target, inside, lower, upper)
    return again if _met(again) else found


def _search(
    forward: Forward,
    target: Poses,
    start: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
) -> Reached:
    joints = np.clip(start, lower, upper)
    for _ in range(_MAX_ITERATIONS):
        position, rotation, jacobian = forward(joints)
        moved = target.positions - position
        turned = _turn(target.rotations @ rotation.T)
        if _size(moved) < _CONVERGED and _size(turned) < _CONVERGED:
            return Reached(joints, _size(moved), _size(turned))
        step = _inside(jacobian, moved, turned, (joints <= lower, joints >= upper))
        step *= _MAX_STEP / max(float(np.max(np.abs(step))), _MAX_STEP)
        following = np.clip(joints + step, lower, upper)
        stalled = float(np.max(np.abs(following - joints))) < _STALLED
        joints = following
        if stalled:
            break
    position, rotation, _ = forward(joints)
    turned = _turn(target.rotations @ rotation.T)
    return Reached(joints, _size(target.positions - position), _size(turned))


def _met(found: Reached) -> bool:
    return max(found.position_error, found.rotation_error) < _MET


def pulled(forward: Forward, start: FloatArray, pull: FloatArray) -> FloatArray:
    """Move the joints without moving the hand, as far as that goes.

    Args:
        forward: How the joints move the hand.
        start: Shape (n,) [rad].
        pull: Where to, from `start`, shape (n,) [rad]; small.

    Returns:
        Shape (n,) [rad]; the hand has moved by terms of second order.
    """
    jacobian = forward(start)[2]
    step, _ = _least(jacobian, jacobian @ pull, _PULL_DAMPING)
    return start + (pull - step)


def _inside(
    jacobian: FloatArray,
    moved: FloatArray,
    turned: FloatArray,
    at_limit: tuple[BoolArray, BoolArray],
) -> FloatArray:
    """A step that leaves joints alone that are at a limit and would go beyond it.

    One after the other, the one that would go furthest first: without it, others may turn back.
    """
    at_lower, at_upper = at_limit
    blocked = np.zeros(jacobian.shape[1], dtype=np.bool_)
    for _ in range(len(blocked) + 1):
        step = _by_priority(jacobian * ~blocked, moved, turned)
        outwards = (at_lower & (step < 0.0)) | (at_upper & (step > 0.0))
        beyond = np.abs(step) * (outwards & ~blocked)
        if not np.any(beyond):
            return step
        blocked[np.argmax(beyond)] = True
    return np.zeros(len(blocked))


def _by_priority(jacobian: FloatArray, moved: FloatArray, turned: FloatArray) -> FloatArray:
    linear, angular = jacobian[:3], jacobian[3:]
    step, inverse = _least(linear, moved, _DAMPING * float(moved @ moved) + _LEAST_DAMPING)
    # Without N = I - J+ J, the motions that keep the position, written out.
    left = angular - (angular @ inverse) @ linear
    error = turned - angular @ step
    # Its gradient and not the error: a rotation may be out of reach, and the search still ends.
    slope = error @ left
    damping = _DAMPING * (float(slope @ slope) + float(moved @ moved)) + _LEAST_DAMPING
    rest, _ = _least(left, error, damping)
    return step + rest - inverse @ (linear @ rest)


def _least(
    jacobian: FloatArray, error: FloatArray, damping: float
) -> tuple[FloatArray, FloatArray]:
    """The damped least step for an error, and the damped inverse of the Jacobian."""
    square = jacobian @ jacobian.T
    square.flat[:: len(square) + 1] += damping
    inverse = jacobian.T @ np.linalg.inv(square)
    return inverse @ error, inverse


def _turn(rotation: FloatArray) -> FloatArray:
    """Axis times angle of one rotation, shape (3,) [rad]; exact and cheap where it is small."""
    twice = np.array(
        [
            rotation[2, 1] - rotation[1, 2],
            rotation[0, 2] - rotation[2, 0],
            rotation[1, 0] - rotation[0, 1],
        ]
    )
    sine, cosine = 0.5 * _size(twice), 0.5 * (float(np.trace(rotation)) - 1.0)
    if cosine < 0.0:
        return from_matrices(rotation, "axis_angle")
    angle = math.atan2(sine, cosine)
    return twice * (0.5 if sine < _STRAIGHT else 0.5 * angle / sine)


def _size(vector: FloatArray) -> float:
    return math.sqrt(float(vector @ vector))
