# SPDX-License-Identifier: Apache-2.0
"""The arms that ship: cautious fractions of published limits, and frames as published."""

from __future__ import annotations

import numpy as np
import pytest

from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.hand_kinematics import HandKinematics
from levine_policy_node.urdf import find_urdf, read_urdf

RAD = np.pi / 180.0
TURN = 2.0 * np.pi
# Lowest and highest position [rad], velocity and acceleration; NaN is not published.
# franka_description 1.0.1, ur_description 2.4.5, interbotix_xsarm_descriptions (0bb2b0e),
# lbr_description 2.1.2, and TheRobotStudio's so101_new_calib.urdf with the servo's velocity.
PUBLISHED = {
    "fr3": [
        (-2.7437, 2.7437, 2.62, 10),
        (-1.7837, 1.7837, 2.62, 10),
        (-2.9007, 2.9007, 2.62, 10),
        (-3.0421, -0.1518, 2.62, 10),
        (-2.8065, 2.8065, 5.26, 10),
        (0.5445, 4.5169, 4.18, 10),
        (-3.0159, 3.0159, 5.26, 10),
    ],
    "ur5e": [(-p, p, np.pi, np.nan) for p in (TURN, TURN, np.pi, TURN, TURN, TURN)],
    "widowx250s": [
        (-3.14158, 3.14158, np.pi, np.nan),
        (-108 * RAD, 114 * RAD, np.pi, np.nan),
        (-123 * RAD, 92 * RAD, np.pi, np.nan),
        (-3.14158, 3.14158, np.pi, np.nan),
        (-100 * RAD, 123 * RAD, np.pi, np.nan),
        (-3.14158, 3.14158, np.pi, np.nan),
    ],
    "vx300s": [
        (-3.14158, 3.14158, np.pi, np.nan),
        (-106 * RAD, 72 * RAD, np.pi, np.nan),
        (-101 * RAD, 92 * RAD, np.pi, np.nan),
        (-3.14158, 3.14158, np.pi, np.nan),
        (-107 * RAD, 128 * RAD, np.pi, np.nan),
        (-3.14158, 3.14158, np.pi, np.nan),
    ],
    "iiwa7": [
        (-p * RAD, p * RAD, v * RAD, np.nan)
        for p, v in (
            (170, 98),
            (120, 98),
            (170, 100),
            (120, 130),
            (170, 140),
            (120, 180),
            (175, 180),
        )
    ],
    "so101": [
        (-1.91986, 1.91986, 5.2, np.nan),
        (-1.74533, 1.74533, 5.2, np.nan),
        (-1.69, 1.69, 5.2, np.nan),
        (-1.65806, 1.65806, 5.2, np.nan),
        (-2.74385, 2.84121, 5.2, np.nan),
    ],
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_limits_are_cautious_fractions_of_what_is_published(name):
    robot = load_robot(name)
    arm = [joint for joint in robot.joints.values() if joint.role == "arm"]
    low, high, velocity, acceleration = np.array(PUBLISHED[name]).T
    limits, count = robot.limits(), len(arm)
    inset = 0.05 * (high - low) + 0.05
    assert np.all(limits.lower[:count] >= low + inset)
    assert np.all(limits.upper[:count] <= high - inset)
    # Rounded to whole digits, and not narrower than is meant.
    assert np.all(limits.upper[:count] >= high - inset - 2e-4)
    assert np.all(limits.velocity[:count] <= 0.5 * velocity)
    for joint, a in zip(arm, acceleration, strict=True):
        known = not np.isnan(a)
        assert known or {"acceleration", "jerk"} <= set(joint.placeholder)
        assert not known or joint.acceleration <= 0.5 * a
        assert not known or "acceleration" not in joint.placeholder


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_urdf_has_the_published_limits(name):
    robot = load_robot(name)
    urdf = read_urdf(find_urdf(robot))
    for joint, (low, high, velocity, _) in zip(robot.joints, PUBLISHED[name], strict=False):
        np.testing.assert_allclose((urdf[joint].lower, urdf[joint].upper), (low, high), atol=1e-5)
        assert urdf[joint].velocity <= velocity + 1e-6


def denavit_hartenberg(a, d, alpha, theta):
    ca, sa, ct, st = np.cos(alpha), np.sin(alpha), np.cos(theta), np.sin(theta)
    return np.array(
        [
            [ct, -st * ca, st * sa, a * ct],
            [st, ct * ca, -ct * sa, a * st],
            [0.0, sa, ca, d],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )


def turned(axis, angle):
    """Rotation about a unit axis; Rodrigues."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross


def chained(links):
    pose = np.eye(4)
    for link in links:
        pose = pose @ link
    return pose


def ur5e(q):
    """DH parameters of the UR5e that Universal Robots publishes, in base_link's axes."""
    a = (0.0, -0.425, -0.3922, 0.0, 0.0, 0.0)
    d = (0.1625, 0.0, 0.0, 0.1333, 0.0997, 0.0996)
    alpha = (np.pi / 2, 0.0, 0.0, np.pi / 2, -np.pi / 2, 0.0)
    pose = chained(map(denavit_hartenberg, a, d, alpha, q))
    # The controller's base points backwards.
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ pose


def iiwa7(q):
    """DH parameters of the LBR iiwa 7 R800 (KUKA's data sheet: 340, 400, 400 and 126 mm)."""
    quarter = np.pi / 2
    d = (0.34, 0.0, 0.4, 0.0, 0.4, 0.0, 0.126)
    alpha = (-quarter, quarter, quarter, -quarter, -quarter, quarter, 0.0)
    return chained(map(denavit_hartenberg, (0.0,) * 7, d, alpha, q))


def interbotix(home, screws):
    """Product of exponentials, as in Interbotix's mr_descriptions.py."""

    def pose(q):
        placed = np.eye(4)
        for (axis, through), angle in zip(screws, q, strict=True):
            step = np.eye(4)
            step[:3, :3] = turned(axis, angle)
            step[:3, 3] = through - step[:3, :3] @ through
            placed = placed @ step
        end = np.eye(4)
        end[:3, 3] = home
        return placed @ end

    return pose


X, Y, Z = np.eye(3)
# Home and screw axes of mr_descriptions.py: a point on each axis follows from -w x q.
WX250S = interbotix(
    (0.458325, 0.0, 0.36065),
    [
        (Z, np.zeros(3)),
        (Y, np.array([0.0, 0.0, 0.11065])),
        (Y, np.array([0.04975, 0.0, 0.36065])),
        (X, np.array([0.0, 0.0, 0.36065])),
        (Y, np.array([0.29975, 0.0, 0.36065])),
        (X, np.array([0.0, 0.0, 0.36065])),
    ],
)
VX300S = interbotix(
    (0.536494, 0.0, 0.42705),
    [
        (Z, np.zeros(3)),
        (Y, np.array([0.0, 0.0, 0.12705])),
        (Y, np.array([0.05955, 0.0, 0.42705])),
        (X, np.array([0.0, 0.0, 0.42705])),
        (Y, np.array([0.35955, 0.0, 0.42705])),
        (X, np.array([0.0, 0.0, 0.42705])),
    ],
)
KINEMATICS = {"ur5e": ur5e, "iiwa7": iiwa7, "widowx250s": WX250S, "vx300s": VX300S}


@pytest.mark.parametrize("name", KINEMATICS)
def test_the_hand_is_where_the_published_parameters_put_it(name):
    robot = load_robot(name)
    hand, limits = HandKinematics(robot), robot.limits()
    rng = np.random.default_rng(5)
    shares = [np.full(len(limits.names), 0.5), *rng.random((20, len(limits.names)))]
    for share in shares:
        joints = limits.lower + share * (limits.upper - limits.lower)
        found, wanted = hand.pose(joints), KINEMATICS[name](joints[hand.joints])
        np.testing.assert_allclose(found.positions, wanted[:3, 3], atol=1e-6)
        np.testing.assert_allclose(found.rotations, wanted[:3, :3], atol=1e-6)


def test_known_poses():
    """Stretched out, as the data sheets draw it."""
    reach = {"ur5e": (0.8172, 0.2329, 0.0628), "iiwa7": (0.0, 0.0, 1.266)}
    for name, place in reach.items():
        robot = load_robot(name)
        found = HandKinematics(robot).pose(np.zeros(len(robot.joints)))
        np.testing.assert_allclose(found.positions, place, atol=1e-9)
