# SPDX-License-Identifier: Apache-2.0
"""A policy whose actions are velocities, on real ONNX Runtime, from graph to timeline."""

from __future__ import annotations

import numpy as np
import pytest
from bundle_factory import JOINTS, RAMP, document, ramp_model, write_bundle

from levine_policy_node.core.merge import MergeOptions
from levine_policy_node.core.observation import Observation
from levine_policy_node.core.placement import ChunkPlacer
from levine_policy_node.core.units import StampNs, nanoseconds
from levine_policy_node.errors import BundleError
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.onnx_policy import OnnxPolicy

ROBOT = load_robot("sim_so101")
ARM, GRIPPER = JOINTS[:-1], JOINTS[-1:]
PARTS = [
    {"kind": "target/joint/velocity", "names": list(ARM), "scale": 2.0},
    {"kind": "target/joint/position", "names": list(GRIPPER)},
]
ROWS = 8


def load(directory, parts=None, **changes):
    made = document(action={"parts": PARTS if parts is None else parts}, **changes)
    write_bundle(directory, made, ramp_model())
    return load_bundle(directory)


def observation(stamp_ns=0):
    camera = ROBOT.cameras["front"]
    black = np.zeros((camera.height, camera.width, 3), dtype=np.uint8)
    return Observation(
        StampNs(stamp_ns), ROBOT.home_position() * 0.5, {"front": black, "wrist": black}
    )


def test_velocities_become_positions_from_the_measured_one_on(tmp_path):
    policy = OnnxPolicy(load(tmp_path), ROBOT)
    seen = observation()
    chunk = policy.infer(seen)
    policy.close()
    # Row i is 2 * RAMP * (i + 1) rad/s for 0.1 s.
    speeds = 2.0 * RAMP * np.arange(1, ROWS + 1)
    expected = seen.joint_positions[:5] + 0.1 * np.cumsum(speeds)[:, None]
    np.testing.assert_allclose(chunk.positions[:, :5], expected, atol=1e-7)
    np.testing.assert_allclose(chunk.positions[:, 5], RAMP * np.arange(1, ROWS + 1), atol=1e-7)
    assert chunk.integrated_from is not None
    np.testing.assert_array_equal(chunk.integrated_from[:5], seen.joint_positions[:5])
    assert np.isnan(chunk.integrated_from[5])


def test_chunks_continue_each_other_although_the_arm_lags(tmp_path):
    """The second chunk is summed up from a measured position 0.05 rad behind the command."""
    policy = OnnxPolicy(load(tmp_path), ROBOT)
    placer = ChunkPlacer(ROBOT.limits(), MergeOptions(lead_s=0.05))
    first = policy.infer(observation())
    placed = placer.place(first, StampNs(0), playing=True)
    assert placed is not None
    now = nanoseconds(0.3)
    commanded = placed.timeline.sample(StampNs(now)).position
    at_seam = placed.timeline.sample(StampNs(now + nanoseconds(0.05))).position
    late = observation(now)
    late = Observation(late.stamp_ns, commanded - 0.05, late.images)
    second = policy.infer(late)
    policy.close()
    merged = placer.place(second, StampNs(now), playing=True)
    assert merged is not None
    line = merged.timeline
    np.testing.assert_allclose(line.sample_s(0.0).position[:5], commanded[:5], atol=1e-9)
    np.testing.assert_allclose(line.sample_s(0.05).position[:5], at_seam[:5], atol=1e-9)
    # From the seam on the arm moves as far as the second chunk's velocities say.
    asked = second.positions[6] - 0.5 * (second.positions[0] + late.joint_positions)
    moved = line.sample_s(0.7).position - at_seam
    np.testing.assert_allclose(moved[:5], asked[:5], atol=5e-3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"action": {"parts": [{**PARTS[0], "mode": "relative"}, PARTS[1]]}}, "mode"),
        ({"action": {"parts": [{**PARTS[0], "scale": [1.0, 2.0]}, PARTS[1]]}}, "2 values"),
        ({"chunk__merge": "rtc"}, "velocities"),
        ({"action": {"parts": [{"names": list(JOINTS)}]}}, "supported"),
    ],
)
def test_what_makes_no_sense_for_velocities_is_refused(tmp_path, changes, said):
    given = {"action": {"parts": PARTS}, **changes}
    write_bundle(tmp_path, document(**given), ramp_model())
    with pytest.raises(BundleError) as caught:
        load_bundle(tmp_path)
    assert said in str(caught.value)


def test_a_flow_of_velocities_is_not_guided(tmp_path):
    assert load(tmp_path).document.rtc is None


def test_a_velocity_is_never_held(tmp_path):
    with pytest.raises(BundleError, match="a velocity is never held"):
        load(tmp_path, chunk={"size": ROWS, "hold": 0.2})
