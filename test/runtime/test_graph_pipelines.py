# SPDX-License-Identifier: Apache-2.0
"""Roles of several graphs: what one returns goes to those after it, by name."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from bundle_factory import JOINTS, RAMP, ROWS, constant, document, model, value_info, write_bundle
from onnx import helper

from levine_policy_node.core.observation import Observation
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import BundleError
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.onnx_policy import OnnxPolicy

ROBOT = load_robot("sim_so101")
WIDTH = len(JOINTS)
STATE = value_info("observation.state", [1, WIDTH])
BOTH = {"step": ["first.onnx", "second.onnx"]}
MEASURED = np.linspace(-0.2, 0.2, WIDTH)


def first(name: str = "ramp", shape: tuple[int, ...] = (1, ROWS, WIDTH)) -> bytes:
    rows = np.repeat(RAMP * np.arange(1, ROWS + 1)[:, None], WIDTH, axis=1)[None]
    values = np.resize(rows, shape)
    return model([constant(name, values)], [value_info(name, list(shape))], [])


def second(output: str = "action") -> bytes:
    """The ramp, and the state in every row."""
    shape = [1, ROWS, WIDTH]
    add = helper.make_node("Add", ["ramp", "observation.state"], [output])
    return model([add], [value_info(output, shape)], [value_info("ramp", shape), STATE])


def policy(directory, graphs, files, **changes) -> OnnxPolicy:
    observations = {"observation.state": {"kind": "state/joint/position", "names": list(JOINTS)}}
    described = document(graphs=graphs, observations=observations, **changes)
    described["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    write_bundle(directory, described, files=files)
    return OnnxPolicy(load_bundle(directory), ROBOT)


def test_one_graph_goes_on_with_what_the_other_returns(tmp_path):
    absolute = [{"kind": "target/joint/position", "names": list(JOINTS)}]
    files = {"first.onnx": first(), "second.onnx": second()}
    made = policy(tmp_path, BOTH, files, action__parts=absolute)
    try:
        positions = made.infer(Observation(StampNs(0), MEASURED, {})).positions
    finally:
        made.close()
    expected = RAMP * np.arange(1, ROWS + 1)[:, None] + MEASURED
    np.testing.assert_allclose(positions, expected, atol=1e-6)


def test_each_may_have_its_hash_beside_it(tmp_path):
    files = {"first.onnx": first(), "second.onnx": second()}
    hashed = [{"file": n, "sha256": hashlib.sha256(d).hexdigest()} for n, d in files.items()]
    policy(tmp_path, {"step": hashed}, files).close()
    hashed[1]["sha256"] = "0" * 64
    with pytest.raises(BundleError, match="graphs and files state different hashes"):
        policy(tmp_path / "wrong", {"step": hashed}, files)


REFUSED = {
    "in the wrong order": (
        {"step": ["second.onnx", "first.onnx"]},
        first(),
        second(),
        "input ramp: nothing feeds it",
    ),
    "a name twice": (BOTH, first("action"), second(), "a graph before returns it, too"),
    "shapes that cannot be": (
        BOTH,
        first(shape=(1, ROWS, 3)),
        second(),
        f"is float32 of shape [1, {ROWS}, 6], but is float32 of shape [1, {ROWS}, 3]",
    ),
    "an output that nobody named": (BOTH, first(), second("other"), "'action' is not an output"),
    "no graph": ({"step": []}, first(), second(), "graphs.step"),
    "a path out of the bundle": ({"step": ["../a.onnx"]}, first(), second(), "inside the bundle"),
    "a file that is not there": ({"step": ["first.onnx", "x.onnx"]}, first(), second(), "x.onnx"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path, case):
    graphs, one, other, expected = REFUSED[case]
    with pytest.raises(BundleError) as caught:
        policy(tmp_path, graphs, {"first.onnx": one, "second.onnx": other})
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
