# SPDX-License-Identifier: Apache-2.0
"""Exports of vision-language-action policies: exact tokens, and what goes wrong without an error.

`test_family_exports.py` says that the documents are right; here one line of each is as a careless
export would have it, and the arm would go somewhere else.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import cache
from itertools import islice

import numpy as np
import pytest
import yaml

from levine_policy_node.core.observation import Observation
from levine_policy_node.core.units import StampNs
from levine_policy_node.resources import share_directory
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.onnx_policy import OnnxPolicy

EXPORTS = share_directory() / "examples" / "export"
MOMENTS = 2
VISIBLE = 1e-4
"""Smallest difference of a joint that counts [rad]."""

FRONT = "observations.pixel_values.image"
WORDS = "observations.input_ids.text"
PROMPT = "observations.lang_tokens.text"
TOKENS = "decoder.detokenize"
CARELESS = {
    "openvla": {
        "crop of 0.9 per side": {f"{FRONT}.crop": 0.81},
        "crop of whole pixels": {f"{FRONT}.interpolation": "area"},
        "capital letters": {f"{WORDS}.lower": False},
        "no empty token at the end": {"decoder.prompt_end": None},
        "edges of bins": {f"{TOKENS}.value": "edges"},
        "padding is counted": {f"{TOKENS}.first_token": 391},
        "a gripper the wrong way round": {"action.parts.2.closed": 1, "action.parts.2.open": 0},
    },
    "openvla_oft": {
        "a pose that is not cut": {"observations.proprio.clip": None},
        "cameras are exchanged": {
            "observations.pixel_values.camera": "wrist",
            "observations.pixel_values_wrist.camera": "front",
        },
        "a normalised gripper": {"action.unnormalize_mask": None},
        "all from one pose": {"action.parts.0.mode": "relative"},
    },
    "rt1": {
        "centres of bins": {"decoder.value": "centers"},
    },
    "rt2": {
        "another question": {f"{WORDS}.template": "{task}"},
        "a gripper the wrong way round": {"action.parts.3.closed": 0, "action.parts.3.open": 1},
    },
    "pi0": {
        "padded at one side": {"observations.image_0.image.resize": "pad_top_left"},
        "underscores": {f"{PROMPT}.clean": False},
        "a gripper the wrong way round": {"action.parts.1.closed": 0, "action.parts.1.open": 1},
    },
    "pi05": {
        "other bins": {f"{PROMPT}.template": "Task: {task}, State: {state:bins255};\nAction: "},
        "no blank at the end": {
            f"{PROMPT}.template": "Task: {task}, State: {state:bins256};\nAction:"
        },
    },
    "smolvla": {
        "padded around": {"observations.image_0.image.resize": "pad"},
        "no line break": {f"{PROMPT}.template": "{task}"},
    },
}


def robot_of(bundle):
    return load_robot("fr3" if bundle.document.robot == "fr3" else "sim_so101")


def seen(family: str, robot, rate: float):
    """The recorded observations."""
    with np.load(EXPORTS / "parity" / f"{family}.npz") as file:
        recorded = dict(file)
    order = [list(recorded["joint_names"]).index(name) for name in robot.joint_names]
    for index, joints in enumerate(recorded["state.position"]):
        yield Observation(
            stamp_ns=StampNs(round(1e9 * (1.0 + index / rate))),
            joint_positions=joints[order],
            images={n[6:]: recorded[n][index] for n in recorded if n.startswith("image.")},
            task=str(recorded["task"]),
        )


def answers(folder, family: str):
    """Joint targets to the first of the recorded observations."""
    bundle = load_bundle(folder)
    robot = robot_of(bundle)
    policy = OnnxPolicy(bundle, robot)
    shown = islice(seen(family, robot, bundle.document.rate), MOMENTS)
    found = [policy.infer(observation).positions for observation in shown]
    policy.close()
    return np.array(found)


@cache
def right_answers(family: str):
    return answers(EXPORTS / "bundles" / family, family)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        pytest.param(family, changes, id=f"{family}: {what}")
        for family, all_changes in CARELESS.items()
        for what, changes in all_changes.items()
    ],
)
def test_a_careless_line_moves_the_arm_elsewhere(tmp_path, family, changes):
    pytest.importorskip("tokenizers")
    pytest.importorskip("pinocchio")
    folder = tmp_path / family
    shutil.copytree(EXPORTS / "bundles" / family, folder)
    document = yaml.safe_load((folder / "policy.yaml").read_text())
    for path, value in changes.items():
        *parents, last = path.split(".")
        part = document
        for name in parents:
            part = part[int(name) if isinstance(part, list) else name]
        part[last] = value
    (folder / "policy.yaml").write_text(yaml.safe_dump(document))
    difference = np.abs(answers(folder, family) - right_answers(family)).max()
    assert difference > VISIBLE


class Heard:
    """Notes the tokens that a detokenizer is given, or the bins that values are asked for."""

    def __init__(self, heard):
        self._heard = heard
        self.tokens = []

    def actions(self, tokens):
        self.tokens.append(list(tokens))
        return self._heard.actions(tokens)

    def values(self, numbers):
        self.tokens.append(numbers[0].tolist())
        return self._heard.values(numbers)


@pytest.mark.parametrize(
    ("family", "field"), [("openvla", "detokenizer"), ("rt2", "detokenizer"), ("rt1", "values")]
)
def test_tokens_are_those_of_the_familys_own_code(family, field):
    pytest.importorskip("tokenizers")
    pytest.importorskip("pinocchio")
    bundle = load_bundle(EXPORTS / "bundles" / family)
    robot = robot_of(bundle)
    policy = OnnxPolicy(bundle, robot)
    heard = Heard(getattr(policy._decoder, field))
    policy._decoder = replace(policy._decoder, **{field: heard})
    for observation in seen(family, robot, bundle.document.rate):
        policy.infer(observation)
    policy.close()
    with np.load(EXPORTS / "parity" / f"{family}.npz") as recorded:
        np.testing.assert_array_equal(heard.tokens, recorded["tokens"])
