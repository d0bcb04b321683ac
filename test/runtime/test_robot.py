# SPDX-License-Identifier: Apache-2.0
"""Robot files: what ships is sound, and every mistake is one line that teaches."""

from __future__ import annotations

import copy
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from levine_policy_node.errors import ConfigError, UnknownNameError
from levine_policy_node.robot import load_robot, robots_directory
from levine_policy_node.urdf import find_urdf, hand_problems, read_urdf, urdf_problems

JOINT = {
    "position": [-1.0, 2.0],
    "velocity": 2.0,
    "acceleration": 8.0,
    "jerk": 80.0,
    "source": dict.fromkeys(("position", "velocity", "acceleration", "jerk"), "data sheet"),
}
DOCUMENT = {
    "name": "test_arm",
    "model": "arm",
    "urdf": "arm.urdf",
    "joints": {
        "pan": copy.deepcopy(JOINT),
        "grip": {**copy.deepcopy(JOINT), "role": "gripper", "placeholder": ["jerk"]},
    },
    "home": {"pan": 0.0, "grip": 1.0},
    "controller": {"type": "joint_trajectory", "name": "arm_controller"},
    "cameras": {"front": {"topic": "camera/front/image"}},
}
URDF = """<robot name="arm">
  <joint name="pan" type="revolute">
    <limit lower="-1.0" upper="2.0" velocity="2.0" effort="3"/></joint>
  <joint name="grip" type="prismatic">
    <limit lower="-1" upper="2" velocity="10" effort="3"/></joint>
  <joint name="mount" type="fixed"/>
</robot>"""


def changed(path: str, value: object = ...) -> dict:
    """The valid document with one field replaced, or removed."""
    document = copy.deepcopy(DOCUMENT)
    *parents, last = path.split(".")
    part = document
    for key in parents:
        part = part[key]
    if value is ...:
        del part[last]
    else:
        part[last] = value
    return document


@pytest.fixture
def write(tmp_path):
    def write_file(document: object) -> str:
        path = tmp_path / "arm.yaml"
        text = document if isinstance(document, str) else yaml.safe_dump(document, sort_keys=False)
        path.write_text(text)
        return str(path)

    return write_file


def test_a_valid_file(write):
    path = write(DOCUMENT)
    robot = load_robot(path)
    assert robot.joint_names == ("pan", "grip")
    limits = robot.limits()
    assert np.allclose(limits.lower, [-0.98, -0.98])
    assert np.allclose(limits.upper, [1.98, 1.98])
    assert np.allclose(limits.jerk, [80.0, 80.0])
    assert np.allclose(robot.home_position(), [0.0, 1.0])
    assert robot.placeholders() == ("grip.jerk",)
    with open(path, "rb") as stream:  # noqa: PTH123
        assert robot.sha256 == hashlib.sha256(stream.read()).hexdigest()


MISTAKES = [
    # a field that is missing, unknown or of the wrong kind
    (changed("model"), "model: is missing. Add the field"),
    (changed("joints.pan.jerk"), "joints.pan.jerk: is missing"),
    (
        changed("vellocity", 1.0),
        "vellocity: is not a known field (found 1.0). Remove it or correct",
    ),
    (changed("joints.pan.max_speed", 1.0), "joints.pan.max_speed: is not a known field"),
    (changed("joints.pan.velocity", "2.0"), "joints.pan.velocity: .*number.* (found '2.0')"),
    (changed("joints.pan.velocity", True), "joints.pan.velocity: .*number.* (found True)"),
    (changed("joints.pan.position", 2.0), "joints.pan.position: expected a list (found 2.0)"),
    (changed("joints.pan.position", [0.0, 1.0, 2.0]), "joints.pan.position: expected at most 2"),
    (changed("joints", {}), "joints: expected at least 1 value(s)"),
    (changed("joints", ["pan"]), "joints: expected a mapping"),
    (changed("name", ""), "name: must not be empty"),
    (changed("name", 7), "name: expected a text (found 7). Put it in quotes"),
    # values that would be dangerous
    (changed("joints.pan.velocity", 0.0), "joints.pan.velocity: .*greater than 0 (found 0.0)"),
    (changed("joints.pan.jerk", -1.0), "joints.pan.jerk: .*greater than 0 (found -1.0)"),
    (changed("joints.pan.velocity", float("inf")), "joints.pan.velocity: .*finite number"),
    (
        changed("joints.pan.position", [float("nan"), 1.0]),
        "joints.pan.position.0: .*finite number",
    ),
    (changed("joints.pan.position", [1.0, 1.0]), "joints.pan: position: lower 1.0 must be below"),
    (changed("position_margin", 1.5), "joints.pan.position: no room left inside position_margin"),
    (changed("position_margin", -0.1), "position_margin: .*greater than or equal to 0"),
    # limits must say where they come from
    (changed("joints.pan.source.jerk"), "joints.pan: source: say where jerk come"),
    (changed("joints.pan.source.jerk", ""), "joints.pan.source.jerk: must not be empty"),
    (changed("joints.pan.source.torque", "x"), "joints.pan.source.torque: expected 'position'"),
    (changed("joints.pan.placeholder", ["torque"]), "joints.pan.placeholder.0: .*'torque'"),
    (changed("joints.pan.role", "leg"), "joints.pan.role: .*'arm' or 'gripper' (found 'leg')"),
    # home
    (changed("home.pan"), "home: give exactly the joints pan, grip"),
    (changed("home.elbow", 0.0), "home: give exactly the joints pan, grip"),
    (changed("home.pan", 1.99), "home.pan: 1.99 is outside the joint's limits"),
    # controller and cameras
    (changed("controller.type", "velocity"), "controller.type: .*'joint_trajectory' or"),
    (changed("controller.name", "/arm"), "controller.name: '/arm' must be relative"),
    (changed("controller.name", "my arm"), "controller.name: 'my arm' is not a ROS name"),
    (changed("controller.actuation_delay_s", 2.0), "controller.actuation_delay_s: .*equal to 1"),
    (changed("cameras.front.topic", "/image"), "cameras.front.topic: '/image' must be relative"),
    (changed("cameras.front.topic", "a//b"), "cameras.front.topic: 'a//b' is not a ROS name"),
    (changed("cameras.front.topic"), "cameras.front: give exactly one of 'topic' or 'device'"),
    (changed("cameras.front.device", "/dev/video0"), "cameras.front: give exactly one of"),
    (changed("cameras.front.width", 0), "cameras.front.width: .*greater than 0"),
    (changed("cameras.front.rate_hz", 0), "cameras.front.rate_hz: .*greater than 0"),
    # not a robot file at all
    ("joints: [", "not valid YAML .*line 1.*. Check indentation"),
    ("joints: {pan: 1}\njoints: {grip: 1}\n", "not valid YAML .*'joints' is given twice"),
    ("- a\n- b\n", "expected a mapping of fields to values"),
    ("", "expected a mapping of fields to values"),
    ("name: !!python/object/apply:os.system [id]", "not valid YAML"),
    ("day: 2026-99-99", "not valid YAML"),
    ("[" * 5000, "not valid YAML"),
]


@pytest.mark.parametrize(("document", "expected"), MISTAKES, ids=lambda v: str(v)[:40])
def test_every_mistake_is_one_line_with_file_and_field(write, document, expected):
    path = write(document)
    with pytest.raises(ConfigError) as caught:
        load_robot(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    pieces = iter(expected.split(".*"))
    assert message.removeprefix(f"{path}: ").startswith(next(pieces)), message
    assert all(piece in message for piece in pieces), message
    assert len(message) < 500


def test_the_number_of_further_mistakes_is_told(write):
    document = changed("joints.pan.jerk")
    del document["model"]
    with pytest.raises(ConfigError, match=r"1 more error\(s\) in this file"):
        load_robot(write(document))


def test_an_unknown_robot_lists_the_known_ones():
    with pytest.raises(
        UnknownNameError, match=r"'so102' is not known\. Known: .*sim_so101, .*so101"
    ):
        load_robot("so102")
    with pytest.raises(UnknownNameError, match="Known: "):
        load_robot("no/such/file.yaml")


@pytest.mark.parametrize("path", sorted(robots_directory().glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_files_are_sound(path):
    robot = load_robot(path.stem)
    assert robot.name == path.stem
    assert urdf_problems(robot, read_urdf(find_urdf(robot))) == []
    assert hand_problems(robot, find_urdf(robot)) == []


def test_the_simulated_and_the_real_arm_are_one_model():
    real, simulated = load_robot("so101"), load_robot("sim_so101")
    assert real.model == simulated.model
    assert real.joint_names == simulated.joint_names
    assert real.home == simulated.home
    assert set(real.cameras) == set(simulated.cameras)
    own = {"source", "position", "position_margin"}
    for one, other in zip(real.joints.values(), simulated.joints.values(), strict=True):
        assert one.model_dump(exclude=own) == other.model_dump(exclude=own)
        assert other.position[0] <= one.position[0] < one.position[1] <= other.position[1]


def test_the_example_in_the_documentation_is_valid(write):
    text = (Path(__file__).parents[2] / "docs" / "robots.md").read_text()
    [example] = re.findall(r"```yaml\n(name: .*?)```", text, re.DOTALL)
    assert load_robot(write(example)).placeholders()


def problems_with(write, tmp_path, document: dict, urdf: str = URDF) -> list[str]:
    robot = load_robot(write(document))
    (tmp_path / "arm.urdf").write_text(urdf)
    return [str(problem) for problem in urdf_problems(robot, read_urdf(find_urdf(robot)))]


def test_limits_inside_the_urdf_are_fine(write, tmp_path):
    assert problems_with(write, tmp_path, DOCUMENT) == []
    continuous = URDF.replace('type="revolute"', 'type="continuous"')
    assert problems_with(write, tmp_path, DOCUMENT, continuous) == []
    unstated = '<robot><joint name="pan" type="revolute"/><joint name="grip" type="prismatic"/>'
    assert problems_with(write, tmp_path, DOCUMENT, f"{unstated}</robot>") == []


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            changed("joints.pan.position", [-1.1, 2.0]),
            "joints.pan.position: -1.1 is wider than the URDF's -1",
        ),
        (
            changed("joints.pan.position", [-1.0, 2.1]),
            "joints.pan.position: 2.1 is wider than the URDF's 2",
        ),
        (
            changed("joints.pan.velocity", 2.5),
            "joints.pan.velocity: 2.5 is wider than the URDF's 2",
        ),
        (
            changed("joints.grip.effort", 4.0),
            "joints.grip.effort: 4 is wider than the URDF's 3",
        ),
    ],
)
def test_limits_wider_than_the_urdf_are_told(write, tmp_path, document, expected):
    [problem] = problems_with(write, tmp_path, document)
    assert problem.endswith(f"{expected}. Narrow it, or correct the URDF")


def test_joints_the_urdf_does_not_move_are_told(write, tmp_path):
    document = changed("joints.mount", JOINT)
    document["joints"]["elbow"] = JOINT
    document["home"] |= {"mount": 0.0, "elbow": 0.0}
    fixed, missing = problems_with(write, tmp_path, document)
    assert "joints.mount: is fixed in the URDF. Joints that move there: pan, grip" in fixed
    assert "joints.elbow: is not in the URDF" in missing


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<robot", "cannot be read as XML"),
        ("<model/>", "is not a URDF: its root is <model>, not <robot>"),
        (
            '<robot><joint name="pan" type="revolute"><limit lower="x"/></joint></robot>',
            "joint pan.limit.lower: expected a number, found 'x'",
        ),
    ],
)
def test_a_bad_urdf_is_one_clear_line(tmp_path, text, expected):
    path = tmp_path / "arm.urdf"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_urdf(path)
    assert expected in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_or_unexpanded_urdf_says_what_to_do(write, tmp_path):
    robot = load_robot(write(changed("urdf", "none.urdf")))
    with pytest.raises(ConfigError, match=r"urdf: none.urdf does not exist \(looked for"):
        find_urdf(robot)
    with pytest.raises(ConfigError, match=r"Expand it: xacro .*arm.urdf.xacro > arm.urdf"):
        read_urdf(tmp_path / "arm.urdf.xacro")


def test_a_joint_may_have_a_margin_of_its_own():
    robot = load_robot("fr3")
    np.testing.assert_allclose(robot.margins(), [0.05] * 7 + [0.0])
    np.testing.assert_allclose(robot.limits().upper[-2:], [2.6643, 0.04])


SLOWER = {"velocity_offset": 0.2, "deceleration_limit": 3.0, "lower": -1.1, "upper": 2.1}


def slower(**changes):
    """A robot whose first joint is slower near the ends of its range."""
    document = changed("joints.pan.position_based_velocity_limits", {**SLOWER, **changes})
    document["joints"]["pan"]["source"]["position_based_velocity_limits"] = "a data sheet"
    return document


def test_velocity_limits_by_position_are_read(write):
    limits = load_robot(write(slower())).limits()
    places = limits.upper - np.array([[1.0], [0.0]])
    distances = 2.1 - places[:, 0]
    expected = np.sqrt(6.0 * distances) - 0.2
    np.testing.assert_allclose(limits.by_position.upwards(places)[:, 0], expected)
    assert np.all(np.isinf(limits.by_position.upwards(places)[:, 1]))
    assert load_robot(write(changed("name", "plain"))).limits().by_position is None


def test_velocity_limits_by_position_that_cannot_be_kept_are_refused(write):
    with pytest.raises(
        ConfigError, match=r"joints.pan.position: at its end, less the margin, .*0.4;"
    ):
        load_robot(write(slower(upper=2.0)))
    document = slower()
    del document["joints"]["pan"]["source"]["position_based_velocity_limits"]
    with pytest.raises(ConfigError, match="say where position_based_velocity_limits come"):
        load_robot(write(document))
    with pytest.raises(ConfigError, match="velocity_offset"):
        load_robot(write(slower(velocity_offset=-0.1)))


def test_a_hand_that_the_urdf_has_not_is_named():
    robot = load_robot("fr3")
    wrong = robot.model_copy(update={"hand": robot.hand.model_copy(update={"frame": "tool"})})
    [problem] = hand_problems(wrong, find_urdf(robot))
    assert "hand.frame: tool is not a link of the URDF. It has base, fr3_link0" in str(problem)
