# SPDX-License-Identifier: Apache-2.0
"""Cartesian policies on real ONNX Runtime, from the graph's output to where the hand goes."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from bundle_factory import constant, model, value_info, write_bundle
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from levine_policy_node.core.observation import Observation
from levine_policy_node.core.rotations import from_matrices
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import BundleError, InferenceError, OutOfReachError
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.body_schema import turn_width
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.embodiment import Embodiment
from levine_policy_node.runtime.onnx_policy import OnnxPolicy

ROBOT = load_robot("fr3")
ARM = list(ROBOT.joint_names[:-1])
FINGER = ROBOT.joint_names[-1]
READY = ROBOT.home_position()


def rotation(axis, angle):
    """Rodrigues' formula, written anew."""
    x, y, z = np.asarray(axis, dtype=np.float64) / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k)


def hand(positions):
    """Where the hand of an FR3 is, by its Denavit-Hartenberg parameters (Craig's convention).

    Source: Franka's documentation of the control parameters; the hand is turned by -45 degrees
    and its tool centre point is 0.1034 m in front of it.
    """
    rows = [
        (0, 0.333, 0),
        (0, 0, -np.pi / 2),
        (0, 0.316, np.pi / 2),
        (0.0825, 0, np.pi / 2),
        (-0.0825, 0.384, -np.pi / 2),
        (0, 0, np.pi / 2),
        (0.088, 0, np.pi / 2),
        (0, 0.107 + 0.1034, 0),
    ]
    pose = np.eye(4)
    for (a, d, alpha), theta in zip(rows, [*positions[:7], -np.pi / 4], strict=True):
        ca, sa, ct, st = np.cos(alpha), np.sin(alpha), np.cos(theta), np.sin(theta)
        pose = pose @ np.array(
            [
                [ct, -st, 0, a],
                [st * ca, ct * ca, -sa, -d * sa],
                [st * sa, ct * sa, ca, d * ca],
                [0, 0, 0, 1],
            ]
        )
    return pose[:3, 3], pose[:3, :3]


def document(parts, rows, **changes):
    observations = {
        "state": {"kind": "state/joint/position", "names": [*ARM, FINGER]},
        **changes.pop("observations", {}),
    }
    return {
        "format": "policy_package",
        "version": "1.1",
        "name": "hand",
        "robot": "fr3",
        "rate": 5,
        "graphs": {"step": "policy.onnx"},
        "observations": observations,
        "decoder": {"type": "direct"},
        "action": {"parts": parts},
        "chunk": {"size": rows, "execute": 1},
        **changes,
    }


def policy(directory, parts, rows, **changes):
    """A policy that always answers with `rows`, shape (T, A)."""
    seen = [value_info("state", [1, 8])]
    written = model(
        [constant("action", rows[None])], [value_info("action", [1, *rows.shape])], seen
    )
    write_bundle(directory, document(parts, len(rows), **changes), written)
    return OnnxPolicy(load_bundle(directory), ROBOT)


def moved(directory, parts, rows, measured=READY, **changes):
    made = policy(directory, parts, rows, **changes)
    try:
        return made.infer(Observation(StampNs(0), measured, {})).positions
    finally:
        made.close()


def position(**changes):
    return {"kind": "target/body/position", **changes}


def turn(**changes):
    return {"kind": "target/body/rotation", "rotation": "axis_angle", **changes}


GRIPPER = {"kind": "target/gripper/position", "dim": 1}
STEPS = np.float32(
    [
        [0.01, -0.02, 0.015, 0.05, -0.1, 0.08, 1.0],
        [0.02, 0.01, -0.01, -0.02, 0.06, 0.1, 0.5],
        [0.0, 0.03, 0.02, 0.1, 0.02, -0.15, 0.0],
    ]
)


def check_hand(joints, expected):
    for row, (where, how) in zip(joints, expected, strict=True):
        found = hand(row)
        np.testing.assert_allclose(found[0], where, atol=1e-7)
        np.testing.assert_allclose(found[1], how, atol=1e-7)


@pytest.mark.parametrize("frame", ["base", "tcp", "fr3_hand_tcp"])
def test_steps_along_the_axes_of_the_base_or_of_the_hand(tmp_path, frame):
    parts = [position(frame=frame, mode="delta", scale=0.5), turn(frame=frame, mode="delta")]
    joints = moved(tmp_path, [*parts, GRIPPER], STEPS)
    where, how = hand(READY)
    expected = []
    for step in STEPS.astype(np.float64):
        by = rotation(step[3:6], np.linalg.norm(step[3:6]))
        along = how if frame != "base" else np.eye(3)
        where = where + 0.5 * along @ step[:3]
        how = how @ by if frame != "base" else by @ how
        expected.append((where, how))
    check_hand(joints, expected)
    np.testing.assert_allclose(joints[:, 7], [0.04, 0.02, 0.0], atol=1e-9)


def test_offsets_from_the_pose_at_inference(tmp_path):
    parts = [{"kind": "target/body/pose", "frame": "tcp", "mode": "relative"}]
    parts[0]["rotation"] = "axis_angle"
    joints = moved(tmp_path, [*parts, GRIPPER], STEPS)
    where, how = hand(READY)
    expected = [
        (where + how @ s[:3], how @ rotation(s[3:6], np.linalg.norm(s[3:6])))
        for s in STEPS.astype(np.float64)
    ]
    check_hand(joints, expected)


def test_absolute_poses_with_the_first_two_rows_of_a_matrix(tmp_path):
    where, how = hand(READY)
    aims = [(where + np.array([0.05, 0.1, -0.04]), how @ rotation([1, 2, 3], 0.3)), (where, how)]
    rows = np.float32([[*p, *r[0], *r[1], 1.0] for p, r in aims])
    parts = [position(frame="base"), turn(rotation="rot6d_rows", dim=6), GRIPPER]
    joints = moved(tmp_path, parts, rows)
    for row, (p, r) in zip(joints, aims, strict=True):
        np.testing.assert_allclose(hand(row)[0], p, atol=1e-6)
        np.testing.assert_allclose(hand(row)[1], r, atol=1e-6)


def test_what_no_column_moves_stays(tmp_path):
    parts = [position(axes=["z"], mode="delta"), turn(axes=["z"], mode="delta")]
    rows = np.float32([[0.02, 0.3, 1.0], [0.02, -0.1, 1.0]])
    joints = moved(tmp_path, [*parts, GRIPPER], rows)
    where, how = hand(READY)
    expected = [
        (where + up * np.array([0, 0, 1]), rotation([0, 0, 1], by) @ how)
        for up, by in np.cumsum(rows[:, :2], axis=0)
    ]
    check_hand(joints, expected)
    only = moved(tmp_path / "still", [position(mode="delta"), GRIPPER], STEPS[:, [0, 1, 2, 6]])
    np.testing.assert_allclose(hand(only[-1])[1], how, atol=1e-7)


def test_a_pose_out_of_reach_is_a_fault_that_says_by_how_much(tmp_path):
    rows = np.float32([[0.0, 0.0, 0.0, 1.0], [0.9, 0.0, 0.0, 1.0]])
    made = policy(tmp_path, [position(mode="relative"), GRIPPER], rows)
    with pytest.raises(
        OutOfReachError,
        match=r"policy:hand@.*: pose of row 1 at \(1\.[0-9]+, .*"
        r"would miss it by 0\.[0-9]+ m and .* \(allowed: 0.001 m, 0.01 rad\)",
    ):
        made.infer(Observation(StampNs(0), READY, {}))
    made.close()


def test_a_sampled_yaw_is_a_cosine_and_a_sine(tmp_path):
    rows = np.float32([[2.0 * np.cos(0.4), 2.0 * np.sin(0.4), 0.0, 0.0, 1.0, 0.3]])
    parts = [
        turn(rotation="yaw_cos_sin", mode="delta", dim=2),
        {"kind": "target/gripper/open_close", "dim": 2},
        {"kind": "policy/terminate", "binarize": 0.5},
        {"kind": "target/base/velocity"},
    ]
    [row] = moved(tmp_path, parts, rows)
    where, how = hand(READY)
    check_hand([row], [(where, rotation([0, 0, 1], 0.4) @ how)])


TOGGLE = [position(mode="delta"), {"kind": "target/gripper/toggle", "closed": -1, "open": 1}]


def test_a_gripper_that_is_not_told_anything_stays_as_it_was_told(tmp_path):
    rows = np.zeros((3, 4), dtype=np.float32)
    rows[:, 3] = [-0.2, -0.9, 0.3]
    held = np.append(READY[:7], 0.031)
    made = policy(tmp_path, TOGGLE, rows)
    first = made.infer(Observation(StampNs(0), held, {})).positions[:, 7]
    np.testing.assert_allclose(first, [0.031, 0.0, 0.0])
    # 0.4 s later, two rows were played: it was told to close, and holds something 0.02 m wide.
    held[7] = 0.02
    second = made.infer(Observation(StampNs(400_000_000), held, {})).positions[:, 7]
    np.testing.assert_allclose(second, 0.0)
    made.reset()
    again = made.infer(Observation(StampNs(800_000_000), held, {})).positions[:, 7]
    np.testing.assert_allclose(again, [0.02, 0.0, 0.0])
    made.close()


def test_a_chunk_that_is_a_fault_tells_the_gripper_nothing(tmp_path):
    made = policy(tmp_path, TOGGLE, np.zeros((1, 4), dtype=np.float32))
    held = np.append(READY[:7], 0.031)
    with pytest.raises(OutOfReachError):
        made._body.targets.positions(
            np.array([[2.0, 0.0, 0.0, -1.0]]), Observation(StampNs(0), held, {})
        )
    later = made.infer(Observation(StampNs(200_000_000), held, {})).positions[:, 7]
    np.testing.assert_allclose(later, 0.031)
    made.close()


def test_the_hand_is_observed_by_its_joints(tmp_path):
    observed = {
        "pose": {"kind": "state/body/pose", "frame": "tcp", "rotation": "rot6d_columns"},
        "moved": {
            "terms": [
                {"kind": "state/body/position", "frame": "tcp", "relative_to": "start"},
                {"kind": "state/body/velocity", "frame": "tcp"},
                {"kind": "state/body/position", "axes": ["z"], "scale": 2.0},
                {"kind": "state/gripper/position", "dim": 1},
            ]
        },
    }
    named = [value_info("state", [1, 8]), value_info("pose", [1, 9]), value_info("moved", [1, 11])]
    graph = model(
        [constant("action", np.zeros((1, 1, 4)))], [value_info("action", [1, 1, 4])], named
    )
    parts = [position(mode="delta"), GRIPPER]
    write_bundle(tmp_path, document(parts, 1, observations=observed), graph)
    made = OnnxPolicy(load_bundle(tmp_path), ROBOT)
    speed = np.linspace(-0.3, 0.3, 8)
    begin, now = READY, READY + np.append(np.linspace(-0.2, 0.2, 7), -0.01)
    body = Embodiment(made.bundle, ROBOT)
    made.close()
    body.recall(Observation(StampNs(0), begin, {}, joint_velocities=0 * speed))
    moments = body.recall(Observation(StampNs(200_000_000), now, {}, joint_velocities=speed))
    tensors = body.preprocessor.tensors(moments)
    where, how = hand(now)
    np.testing.assert_allclose(tensors["pose"][0], [*where, *how[:, 0], *how[:, 1]], atol=1e-6)
    start, axes = hand(begin)
    later, turned = hand(now + 1e-6 * speed)
    linear = how.T @ (later - where) / 1e-6
    spin = (turned @ how.T - np.eye(3)) / 1e-6
    angular = how.T @ np.array([spin[2, 1], spin[0, 2], spin[1, 0]])
    expected = [*(axes.T @ (where - start)), *linear, *angular, 2.0 * where[2], 0.75]
    np.testing.assert_allclose(tensors["moved"][0], expected, atol=1e-4)


def test_what_is_being_played_is_told_to_the_network_in_its_columns(tmp_path):
    parts = [position(mode="delta", scale=0.5), turn(frame="tcp", mode="relative"), GRIPPER]
    made = policy(tmp_path, parts, STEPS)
    joints = made.infer(Observation(StampNs(0), READY, {})).positions
    body = Embodiment(made.bundle, ROBOT)
    np.testing.assert_allclose(body.targets.actions(joints, READY), STEPS, atol=1e-6)
    made.close()


STEP = "{kind: target/body/position, frame: base, mode: delta, dim: 3}"
TURN = "{kind: target/body/rotation, frame: base, mode: delta, rotation: euler_xyz, dim: 3}"
OPENVLA = f"""[{STEP}, {TURN},
  {{kind: target/gripper/position, dim: 1, closed: 0, open: 1, binarize: 0.5}}]"""
FAMILIES = {
    "RT-1": (
        """[{kind: policy/terminate, dim: 1},
  {kind: target/body/position, frame: base, mode: delta, dim: 3, scale: 0.1},
  {kind: target/body/rotation, frame: base, mode: delta, rotation: euler_xyz, dim: 3},
  {kind: target/gripper/position, dim: 1, open: -1, closed: 1},
  {kind: target/base/velocity, dim: 3}]""",
        11,
    ),
    "OpenVLA": (OPENVLA, 7),
    "HIL-SERL": (
        """[{kind: target/body/position, frame: tcp, mode: delta, dim: 3, scale: 0.01},
  {kind: target/body/rotation, frame: tcp, mode: delta, rotation: euler_xyz, dim: 3, scale: 0.06},
  {kind: target/gripper/toggle, dim: 1, closed: -1, open: 1}]""",
        7,
    ),
    "QT-Opt": (
        """[{kind: target/body/position, frame: tcp, mode: delta, dim: 3, scale: 0.1},
  {kind: target/body/rotation, frame: tcp, mode: delta, rotation: yaw_cos_sin, dim: 2},
  {kind: target/gripper/open_close, dim: 2, binarize: 0.5},
  {kind: policy/terminate, dim: 1, binarize: 0.5}]""",
        8,
    ),
    "visual foresight": (
        f"""[{STEP},
  {{kind: target/body/rotation, mode: delta, rotation: euler_xyz, axes: [z], dim: 1}},
  {{kind: target/gripper/position, dim: 1}}]""",
        5,
    ),
    "Diffusion Policy": (
        """[{kind: target/body/position, frame: base, dim: 3},
  {kind: target/body/rotation, frame: base, rotation: rot6d_rows, dim: 6},
  {kind: target/gripper/position, dim: 1, open: 0.085, closed: 0.0}]""",
        10,
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_actions_of_the_families_move_the_arm(tmp_path, family):
    written, columns = FAMILIES[family]
    rows = np.zeros((2, columns), dtype=np.float32)
    rows[:, :7] = 0.02
    if family == "Diffusion Policy":
        where, how = hand(READY)
        rows[:, :9] = np.float32([*where, *how[0], *how[1]])
    joints = moved(tmp_path, yaml.safe_load(written), rows)
    assert joints.shape == (2, 8)
    assert np.all(np.isfinite(joints))


FORMS = ["rot6d_rows", "quaternion_wxyz", "euler_zyx", "axis_angle", "matrix", "yaw_cos_sin"]


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    made = {}
    for form in FORMS:
        parts = [position(mode="delta"), turn(rotation=form, mode="relative"), TOGGLE[1]]
        width = 4 + turn_width(form)
        answer = np.full((2, width), 0.01, dtype=np.float32)
        answer[:, 3:-1] = from_matrices(np.eye(3), form) if form != "yaw_cos_sin" else [1.0, 0.0]
        made[form] = (policy(tmp_path_factory.mktemp(form), parts, answer), width)
    yield made
    for one, _ in made.values():
        one.close()


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_whatever_a_network_says_is_joint_targets_or_a_fault(targets, form, data):
    made, width = targets[form]
    numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
    small = st.floats(-0.0625, 0.0625, width=32)
    rows = data.draw(arrays(np.float32, (2, width), elements=st.one_of(small, numbers)))
    try:
        joints = made._body.targets.positions(rows, Observation(StampNs(0), READY, {}))
    except InferenceError:
        return
    limits = ROBOT.limits()
    assert np.all(joints >= limits.lower - 1e-9)
    assert np.all(joints <= limits.upper + 1e-9)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([turn(rotation="rot6d")], "'rot6d' is not clear; say rot6d_rows"),
        ([turn(rotation="quaternion")], "say quaternion_xyzw"),
        ([position(frame="camera")], "frame: 'camera' is not known. It is base (base) or tcp"),
        ([position(dim=1)], "dim 1, but there are 3 columns, for example axes: [z]"),
        ([position(), position()], "the position of the hand is given twice"),
        ([turn(axes=["z"])], "must be relative or delta"),
        ([turn(rotation="rot6d_rows", scale=2.0)], "scale and offset are for angles"),
        (
            [position(), {"kind": "target/joint/position", "names": ["fr3_joint1"]}],
            "joint(s) fr3_joint1 are given twice",
        ),
        ([GRIPPER], "no target for joint(s) fr3_joint1"),
        ([position(), {"kind": "target/body/waypoint"}], "supported: target/joint/"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(tmp_path, parts, said):
    written = parts if GRIPPER in parts else [*parts, GRIPPER]
    with pytest.raises(BundleError) as caught:
        policy(tmp_path, written, np.zeros((1, 4), dtype=np.float32))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_way_into_a_singularity_is_slow_and_the_way_out_is_not(tmp_path):
    # Straight out until the elbow is nearly stretched, and back.
    out = np.zeros((8, 4), dtype=np.float32)
    out[:, 0] = np.linspace(0.05, 0.4, 8)
    parts = [position(mode="relative"), GRIPPER]
    joints = moved(tmp_path / "in", parts, out)
    begin = hand(READY)[0]
    ways = np.array([hand(row)[0] - begin for row in joints])
    assert np.allclose(ways[:, 1:], 0.0, atol=5e-3)
    steps = np.diff(np.concatenate([[0.0], ways[:, 0]]))
    assert np.allclose(steps[:2], 0.05, atol=1e-4)
    assert np.all(steps > 0.0)
    assert steps[-1] < 0.02
    back = moved(tmp_path / "out", parts, -out, measured=joints[-1])
    gone = np.array([hand(row)[0] for row in back]) - hand(joints[-1])[0]
    assert np.allclose(gone[-1], -out[-1, :3], atol=5e-3)
