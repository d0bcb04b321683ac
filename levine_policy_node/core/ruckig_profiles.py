# SPDX-License-Identifier: Apache-2.0
# pyright: basic, reportAttributeAccessIssue=false
"""The one place that calls Ruckig, whose binding carries no types."""

from __future__ import annotations

import ruckig

from levine_policy_node.core.jerk_profile import GRID_S, JerkProfile, Profiles, grid_cells
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.timeline import JointPoint


def stop_profiles(state: JointPoint, limits: JointLimits, *, straight: bool) -> Profiles | None:
    """Come to rest from `state`, wherever that is.

    Args:
        state: Where to begin.
        limits: What the profiles may use.
        straight: Stop all joints together, in a straight line where possible; else each one as
            soon as it can.

    Returns:
        The profiles, or None if Ruckig does not accept the state.
    """
    request = _request(state, limits)
    request.control_interface = ruckig.ControlInterface.Velocity
    # Phase falls back to Time where the state does not allow a straight line.
    request.synchronization = (
        ruckig.Synchronization.Phase if straight else ruckig.Synchronization.No
    )
    request.target_velocity = [0.0] * len(state.position)
    request.target_acceleration = [0.0] * len(state.position)
    return _solve(request, None)


def arrival_profiles(
    state: JointPoint, target: JointPoint, limits: JointLimits, cells: int | None = None
) -> Profiles | None:
    """Get from `state` to the moving `target`.

    Args:
        state: Where to begin.
        target: State to arrive in.
        limits: What the profiles may use.
        cells: Duration in grid cells, None for as soon as possible.

    Returns:
        The profiles, or None if it takes longer or Ruckig does not accept the states.
    """
    request = _request(state, limits)
    request.target_position = target.position.tolist()
    request.target_velocity = target.velocity.tolist()
    request.target_acceleration = target.acceleration.tolist()
    return _solve(request, cells)


def _request(state: JointPoint, limits: JointLimits) -> ruckig.InputParameter:
    request = ruckig.InputParameter(len(state.position))
    request.current_position = state.position.tolist()
    request.current_velocity = state.velocity.tolist()
    request.current_acceleration = state.acceleration.tolist()
    request.max_velocity = limits.velocity.tolist()
    request.max_acceleration = limits.acceleration.tolist()
    request.max_jerk = limits.jerk.tolist()
    return request


def _solve(request: ruckig.InputParameter, cells: int | None) -> Profiles | None:
    joints = request.degrees_of_freedom
    solver, solution = ruckig.Ruckig(joints), ruckig.Trajectory(joints)
    if cells is not None:
        request.minimum_duration = cells * GRID_S
    try:
        result = solver.calculate(request, solution)
    except ruckig.RuckigError:
        # It raises on what it cannot accept, such as values that are not finite.
        return None
    if result is not ruckig.Result.Working:
        return None
    # Without a duration to keep, the motion ends at rest, where the last cell is waited out.
    used = cells if cells is not None else grid_cells(solution.duration)
    if solution.duration > (used + 0.01) * GRID_S:
        return None
    return Profiles([_profile(joint) for joint in solution.profiles[0]], used)


def _profile(joint: ruckig.Profile) -> JerkProfile:
    """Flatten one Ruckig profile: getting inside the limits, the motion, and its end part."""
    parts = (joint.brake, joint, joint.accel)
    return [
        (float(t), float(j))
        for part in parts
        for t, j in zip(part.t, part.j, strict=True)
        if t > 0.0
    ]
