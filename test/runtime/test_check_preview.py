# SPDX-License-Identifier: Apache-2.0
"""`levine check --preview` and `--schema`: pictures for people, schemas for editors."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from levine_policy_node.cli.main import main
from levine_policy_node.robot import robots_directory
from levine_policy_node.runtime.image_preview import pattern_frame, shown
from levine_policy_node.runtime.image_schema import ImageSpec

HOLD = Path(__file__).parents[1] / "data" / "bundles" / "hold"


def check(bundle, *more: str) -> int:
    return main(["check", str(bundle), "--robot", "sim_so101", "--no-trial", *more])


def test_a_preview_is_what_the_network_sees(tmp_path, capsys):
    frame = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "front.png"), frame[..., ::-1])
    out = tmp_path / "previews"
    given = f"front={tmp_path / 'front.png'}"
    assert check(HOLD, "--preview", str(out), "--frame", given) == 0
    assert "preview     observation.images.front" in capsys.readouterr().out
    names = sorted(path.name for path in out.iterdir())
    assert names == ["observation.images.front.png", "observation.images.wrist.png"]
    seen = {name: cv2.imread(str(out / name))[..., ::-1] for name in names}
    np.testing.assert_array_equal(seen["observation.images.front.png"], frame)
    np.testing.assert_array_equal(seen["observation.images.wrist.png"], pattern_frame(96, 96))


@pytest.mark.parametrize(
    "how",
    [
        {"range": (-1.0, 1.0)},
        {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
        {"dtype": "uint8", "layout": "hwc"},
    ],
)
def test_scaling_is_undone(how):
    frame = pattern_frame(40, 60)
    np.testing.assert_array_equal(shown(frame, ImageSpec(size=(40, 60), **how)), frame)


def test_a_crop_and_bars_are_seen():
    frame = pattern_frame(40, 40)
    cropped = shown(frame, ImageSpec(size=(20, 20), crop=(20, 20, 20, 20)))
    np.testing.assert_array_equal(cropped, frame[20:, 20:])
    padded = shown(frame, ImageSpec(size=(40, 80), resize="pad"))
    assert not padded[:, :20].any()
    np.testing.assert_array_equal(padded[:, 20:60], frame)


BAD = {
    "another camera": ("top=x.png", "sees no camera top"),
    "no file": ("front=nowhere.png", "cannot be read"),
    "no picture": ("front={bundle}/policy.yaml", "is no picture"),
    "another size": ("front={small}", "is 8 x 8, the camera of the robot file 96 x 96"),
    "no camera named": ("front.png", "is not CAMERA=FILE"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_frame_is_one_line(tmp_path, capsys, case):
    frame, expected = BAD[case]
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((8, 8, 3), np.uint8))
    frame = frame.format(bundle=HOLD, small=tmp_path / "small.png")
    assert check(HOLD, "--preview", str(tmp_path / "out"), "--frame", frame) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


def test_the_table_has_hashes_and_camera_sizes(capsys):
    assert check(HOLD) == 0
    printed = capsys.readouterr().out
    for name, digest in yaml.safe_load((HOLD / "policy.yaml").read_text())["files"].items():
        assert digest in next(line for line in printed.splitlines() if name in line)
    assert "camera front, 96 x 96" in printed


def schema(capsys, *of: str) -> dict:
    assert main(["check", "--schema", *of]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_schemas_name_every_field(capsys):
    policy, robot = schema(capsys), schema(capsys, "robot")
    assert {"robot", "rate", "graphs", "observations", "decoder"} <= set(policy["properties"])
    assert set(yaml.safe_load((HOLD / "policy.yaml").read_text())) <= set(policy["properties"])
    for path in robots_directory().glob("*.yaml"):
        assert set(yaml.safe_load(path.read_text())) <= set(robot["properties"])
    assert not {"path", "sha256"} & set(robot["properties"])


def test_without_a_bundle_there_is_one_line(capsys):
    assert main(["check"]) == 2
    assert "BUNDLE: is missing" in capsys.readouterr().err
