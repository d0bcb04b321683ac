# SPDX-License-Identifier: Apache-2.0
"""Distances by pinocchio and coal beside distances worked out here, and wrong robot files."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.core.plan import Plan
from levine_policy_node.core.safe_way import Kept, keep_clear
from levine_policy_node.core.shaper import move_to
from levine_policy_node.core.timeline import JointPoint
from levine_policy_node.core.units import SteadyNs
from levine_policy_node.errors import ConfigError, SystemDependencyError
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.collision_model import CollisionModel, collision_model
from levine_policy_node.runtime.hand_kinematics import HandKinematics

SHIPPED = load_robot("sim_so101")
MODEL = CollisionModel(SHIPPED)
BALL = {"type": "sphere", "radius": 0.1}
LIMITS = SHIPPED.limits()


def changed(tmp_path: Path, **parts: object) -> Path:
    """The shipped file with other parts."""
    document = yaml.safe_load(SHIPPED.path.read_text())
    for name, value in parts.items():
        document[name] = {**(document.get(name) or {}), **value}  # type: ignore[dict-item]
    path = tmp_path / "arm.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


within = st.lists(st.floats(0.0, 1.0), min_size=6, max_size=6).map(
    lambda u: LIMITS.lower + np.array(u) * (LIMITS.upper - LIMITS.lower)
)


def tip_height(position: np.ndarray, hand: HandKinematics) -> float:
    """Lowest point of the fixed jaw's capsule, from the pose of the hand's frame alone."""
    pose = hand.pose(position)
    # gripper_frame_joint: the frame is turned by pi about y, and this far from the link.
    link = pose.rotations @ np.diag([-1.0, 1.0, -1.0])
    origin = pose.positions - link @ np.array([-0.0079, -0.00021812, -0.0981274])
    ends = [[-0.0235, 0.0, -0.055], [-0.0115, 0.0, -0.0925]]
    return min(float((origin + link @ np.array(end))[2]) for end in ends) - 0.0125


HAND = HandKinematics(SHIPPED)
JAW = next(
    i for i, names in reversed(list(enumerate(MODEL.names))) if names == ("gripper_link", "table")
)


@settings(max_examples=50)
@given(position=within)
def test_the_jaw_is_as_high_as_its_capsule_is(position):
    assert MODEL.distances(position)[JAW] == pytest.approx(tip_height(position, HAND), abs=1e-6)


@settings(max_examples=50)
@given(position=within, step=st.lists(st.floats(-0.2, 0.2), min_size=6, max_size=6))
def test_no_pair_moves_further_than_its_reach_allows(position, step):
    moved = MODEL.distances(position + step) - MODEL.distances(position)
    assert np.all(np.abs(moved) <= MODEL.reach @ np.abs(step) + 1e-5)
    speed = MODEL.hand_speed(position, np.array(step))
    assert speed <= MODEL.hand_reach @ np.abs(step) + 1e-9
    assert speed == pytest.approx(
        float(np.linalg.norm(HAND.velocity(position, np.array(step))[:3])), abs=1e-9
    )


@settings(max_examples=15)
@given(target=within)
def test_a_motion_that_is_kept_stays_above_the_table(target):
    start = SHIPPED.home_position()
    motion = move_to(JointPoint.at_rest(start), target, LIMITS, SteadyNs(0))
    assert motion is not None
    kept = keep_clear(Plan(motion, ((0, "p"),)), SteadyNs(0), LIMITS, MODEL)
    if isinstance(kept, Kept):
        way = kept.plan.timeline
        for position in way.sample_each(np.linspace(0.0, way.duration_s, 200)).position:
            assert tip_height(position, HAND) >= MODEL.margins[JAW] - 1e-6


def test_robots_that_say_nothing_are_not_checked(tmp_path):
    document = yaml.safe_load(SHIPPED.path.read_text())
    del document["collision"]
    del document["hand"]["limits"]
    path = tmp_path / "arm.yaml"
    path.write_text(yaml.safe_dump(document))
    assert collision_model(load_robot(str(path))) is None


def test_the_workspace_alone_is_checked_too(tmp_path):
    document = yaml.safe_load(SHIPPED.path.read_text())
    del document["collision"]
    document["hand"]["limits"] = {
        "workspace": {"lower": [0.0, -0.3, 0.0], "upper": [0.4, 0.3, 0.4]},
        "source": {"workspace": "here"},
    }
    path = tmp_path / "arm.yaml"
    path.write_text(yaml.safe_dump(document))
    robot = load_robot(str(path))
    model = collision_model(robot)
    assert model is not None
    place = HandKinematics(robot).pose(robot.home_position()).positions
    expected = min(place - [0.0, -0.3, 0.0]), min([0.4, 0.3, 0.4] - place)
    assert model.distances(robot.home_position()) == pytest.approx([min(expected)])
    assert "workspace" in model.say(0, 0.0)


@pytest.mark.parametrize(
    ("collision", "said"),
    [
        ({"margin": 0.2}, "home: there"),
        ({"base": "nowhere"}, "collision.base: 'nowhere' is not a link"),
        ({"base": "wrist_link"}, "'wrist_link' is moved by wrist_flex"),
        ({"ignore": [["wrist_link", "tabel"]]}, "'tabel' is in neither"),
        ({"shapes": {"hand": [{"type": "sphere", "radius": 0.1}]}}, "ignore"),
        (
            {"shapes": {"hand": [{"type": "sphere", "radius": 0.1}]}, "ignore": []},
            "'hand' is not a",
        ),
        ({"keep_out": {"wrist_link": {"shape": {"type": "half_space"}}}}, "choose another name"),
    ],
)
def test_a_wrong_section_is_one_clear_error(tmp_path, collision, said):
    path = changed(tmp_path, collision=collision)
    with pytest.raises(ConfigError) as error:
        collision_model(load_robot(str(path)))
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_efforts_cannot_be_checked(tmp_path):
    path = tmp_path / "arm.yaml"
    document = yaml.safe_load(load_robot("sim_so101_effort").path.read_text())
    document["collision"] = yaml.safe_load(SHIPPED.path.read_text())["collision"]
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(ConfigError, match="interface effort"):
        load_robot(str(path))


@pytest.mark.parametrize("missing", ["pinocchio", "coal"])
def test_without_its_libraries_nothing_starts_unchecked(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemDependencyError, match="collision"):
        collision_model(SHIPPED)


@pytest.mark.parametrize("name", ["sim_so101", "so101", "fr3"])
def test_shipped_robots_are_clear_at_home(name):
    assert collision_model(load_robot(name)) is not None
