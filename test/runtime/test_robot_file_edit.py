# SPDX-License-Identifier: Apache-2.0
"""A delay is written into a robot file and nothing else changes, in every layout of YAML."""

import stat

import pytest
import yaml

from levine_policy_node.errors import ConfigError
from levine_policy_node.robot import load_robot, robots_directory
from levine_policy_node.runtime.robot_file_edit import check_editable, with_number, write_numbers

ACTUATION = ("controller", "actuation_delay_s")
FRONT = ("cameras", "front", "capture_delay_s")
WRIST = ("cameras", "wrist", "capture_delay_s")

# Before and after setting x of the mapping m to 0.0812.
LAYOUTS = [
    ("m: {a: 1, x: 0.5}  # why\n", "m: {a: 1, x: 0.0812}  # why\n"),
    ("m: {x: 5e-1, a: 1}\n", "m: {x: 0.0812, a: 1}\n"),
    ("m: {a: 1}\n", "m: {a: 1, x: 0.0812}\n"),
    ("m: {a: 1,\n    b: 2}\nn: 1\n", "m: {a: 1,\n    b: 2, x: 0.0812}\nn: 1\n"),
    ("m: {a: 1, # one\n    }\n", "m: {a: 1, x: 0.0812, # one\n    }\n"),
    ("m: {}\n", "m: {x: 0.0812}\n"),
    ("m:\n  a: 1\n  x: 0.5  # measured\n", "m:\n  a: 1\n  x: 0.0812  # measured\n"),
    ("m:\n    a: 1  # one\n\n# n\nn: 1\n", "m:\n    a: 1  # one\n    x: 0.0812\n\n# n\nn: 1\n"),
    ("m:\n  a: 1", "m:\n  a: 1\n  x: 0.0812"),
    ("m:\n  a: [1, 2]\nn: 1\n", "m:\n  a: [1, 2]\n  x: 0.0812\nn: 1\n"),
    ("m:\r\n  a: 1\r\nn: 2\r\n", "m:\r\n  a: 1\r\n  x: 0.0812\r\nn: 2\r\n"),
    ("m:\n  a:\n    b: 1\nn: 1\n", "m:\n  x: 0.0812\n  a:\n    b: 1\nn: 1\n"),
    ("m:\n  a: |\n    text\nn: 1\n", "m:\n  x: 0.0812\n  a: |\n    text\nn: 1\n"),
    ('"m": {"x": 0.5}\n', '"m": {"x": 0.0812}\n'),
    ("w: &w 3\nm: {a: *w}\n", "w: &w 3\nm: {x: 0.0812, a: *w}\n"),
    ("w: &w 3\nm:\n  a: *w\n  b: 2\n", "w: &w 3\nm:\n  a: *w\n  b: 2\n  x: 0.0812\n"),
    ("w: &w {x: 1}\nm:\n  <<: *w\n  b: 2\n", "w: &w {x: 1}\nm:\n  <<: *w\n  b: 2\n  x: 0.0812\n"),
]


@pytest.mark.parametrize(("before", "after"), LAYOUTS, ids=[repr(b)[:40] for b, _ in LAYOUTS])
def test_only_the_number_changes(before, after):
    changed = with_number(before, ("m", "x"), 0.08119)
    assert changed == after
    wanted = yaml.safe_load(before)
    wanted["m"]["x"] = 0.0812
    assert yaml.safe_load(changed) == wanted


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("m: &m {x: 1}\nn: *m\n", "m: shares its values"),
        ("w: &w {x: 1}\nm: *w\n", "m: shares its values"),
        ("w: &w 1\nm: {x: *w}\n", "m.x: is no plain number"),
        ("m: {x: [1]}\n", "m.x: is no plain number"),
        ("m: 1\n", "m: expected a mapping"),
        ("n: 1\n", "m: is missing"),
        ("", "m: is missing"),
        ("m: [", "not valid YAML"),
    ],
)
def test_what_cannot_be_changed_alone_is_refused(text, problem):
    with pytest.raises(ConfigError, match=problem.replace(".", r"\.")):
        with_number(text, ("m", "x"), 0.1)


@pytest.mark.parametrize("name", [p.stem for p in robots_directory().glob("*.yaml")])
def test_every_shipped_file_can_be_calibrated(name, tmp_path):
    source = robots_directory() / f"{name}.yaml"
    path = tmp_path / f"{name}.yaml"
    path.write_bytes(source.read_bytes())
    path.chmod(0o640)
    delays = {camera: 0.12 * (i % 2) for i, camera in enumerate(load_robot(name).cameras)}
    captures = {("cameras", camera, "capture_delay_s"): delays[camera] for camera in delays}
    write_numbers(path, {ACTUATION: 0.0804, **captures})
    robot = load_robot(str(path))
    assert robot.controller.actuation_delay_s == 0.0804
    assert {camera: s.capture_delay_s for camera, s in robot.cameras.items()} == delays
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    before, after = source.read_text().splitlines(), path.read_text().splitlines()
    comments = [line for line in before if "#" in line]
    assert comments == [line for line in after if "#" in line]
    # Writing again, the same or other values, changes nothing else.
    write_numbers(path, {ACTUATION: 0.0804, **captures})
    assert path.read_text().splitlines() == after


def test_a_value_the_schema_refuses_leaves_the_file_alone(tmp_path):
    path = tmp_path / "arm.yaml"
    path.write_bytes((robots_directory() / "sim_so101.yaml").read_bytes())
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="less than or equal to 1"):
        write_numbers(path, {ACTUATION: 1.5})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_merge_key_that_would_hide_the_value_is_noticed(tmp_path):
    path = tmp_path / "arm.yaml"
    text = (robots_directory() / "sim_so101.yaml").read_text()
    shared = text.replace("  front: {", "  front: &front {").replace(
        "  wrist: {topic: camera/wrist/image, width: 96, height: 96, rate_hz: 15.0, ",
        "  wrist: {<<: *front, topic: camera/wrist/image, ",
    )
    path.write_text(shared)
    with pytest.raises(ConfigError, match=r"cameras\.front: shares its values"):
        write_numbers(path, {FRONT: 0.1})
    write_numbers(path, {WRIST: 0.1})
    assert load_robot(str(path)).cameras["wrist"].capture_delay_s == 0.1
    assert load_robot(str(path)).cameras["front"].capture_delay_s == 0.0


def test_a_shipped_robot_is_not_written_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"Copy .*sim_so101\.yaml"):
        check_editable("sim_so101")
    check_editable(str(tmp_path / "arm.yaml"))


def test_a_directory_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="cannot be written"):
        write_numbers(tmp_path / "nowhere" / "arm.yaml", {ACTUATION: 0.1})
