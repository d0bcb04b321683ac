# SPDX-License-Identifier: Apache-2.0
"""policy_executor takes no policy that nothing vouches for, or that did harm in its trial."""

from __future__ import annotations

import pytest
from bundle_factory import dark_endless_model, document, invalid_model, write_bundle
from policy_world import World
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.resources import share_directory
from levine_policy_node.ros import qos

CONFIG = share_directory() / "config" / "policy_executor.param.yaml"


def start(graph, bundle, **parameters):
    return graph.start(
        "policy_executor",
        params_file=CONFIG,
        parameters={"robot": "sim_so101", "policy": str(bundle), **parameters},
    )


def bare(directory):
    return write_bundle(directory, {**document(), "files": {}})


REFUSED = {
    "no sum": (bare, {}, "has no sha256"),
    "no signature": (
        write_bundle,
        {"trust": "signature", "trust_key": "/nowhere/sign.pub"},
        "model.sig: is missing",
    ),
    "no key": (write_bundle, {"trust": "signature"}, "belong together"),
    "unknown": (write_bundle, {"trust": "blindly"}, "'blindly' is not known"),
    "too large": (
        lambda path: write_bundle(path, files={"w.bin": bytes(2 * 1024**2)}),
        {"bundle_max_mib": 1},
        "allowed in all",
    ),
    "endless": (
        lambda path: write_bundle(path, graph=dark_endless_model()),
        {"inference_timeout_s": 0.3},
        "ran longer than 0.3 s",
    ),
    "not finite": (lambda path: write_bundle(path, graph=invalid_model()), {}, "not finite"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bundle_is_refused_in_one_line(ros, tmp_path, case):
    make, parameters, reason = REFUSED[case]
    process = start(ros, make(tmp_path / "bundle"), **parameters)
    assert process.wait(30.0) == 2
    assert reason in process.output()
    assert "Traceback" not in process.output()


def test_off_takes_a_bundle_that_is_being_written(ros, tmp_path):
    world = World(ros)
    chunks = ros.collect(JointTrajectory, "policy/raw_chunk", qos.TICKS)
    start(ros, bare(tmp_path / "bundle"), trust="'off'")  # YAML's off is a boolean
    world.run(lambda: len(chunks) > 2)
