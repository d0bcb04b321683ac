# SPDX-License-Identifier: Apache-2.0
"""What a policy saw over DDS is made again from a recording bit for bit, and so is its answer."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from bundle_factory import (
    CAMERAS,
    JOINTS,
    encode_model,
    flow_document,
    flow_model,
    write_bundle,
)
from echo_bundle import write_echo
from onnx import TensorProto
from policy_world import World
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import String
from std_srvs.srv import Trigger

from levine_policy_node.cli.main import EXIT_OK, main
from levine_policy_node.core.inference_record import (
    InferenceRecord,
    pixel_digest,
    read_inference,
)
from levine_policy_node.resources import share_directory
from levine_policy_node.robot import Robot, load_robot, robots_directory
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import ros_now, stamp_to_msg
from levine_policy_node.runtime.episode_reader import Episode, read_episode
from levine_policy_node.runtime.export.recorded_episode import observations_at, recorded_cameras
from levine_policy_node.runtime.recorded_observations import RecordedObservations, differences

CONFIG = share_directory() / "config"
FLOAT = TensorProto.FLOAT
DELAY_S = 0.013


class MixedWorld(World):
    """The wrist camera publishes JPEG itself, with a picture in it; the front camera is raw."""

    def __init__(self, graph) -> None:
        super().__init__(graph)
        self.cameras = ("front",)
        self._jpegs = graph.node.create_publisher(
            CompressedImage, "camera/wrist/jpeg", qos.IMAGE_OUT
        )
        graph.node.create_timer(1 / 30, self._publish_jpeg)

    def _publish_jpeg(self) -> None:
        picture = self._rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        picture = cv2.resize(picture, (96, 96), interpolation=cv2.INTER_CUBIC)
        message = CompressedImage(format="jpeg")
        message.header.stamp = stamp_to_msg(ros_now(self.graph.node))
        message.data = cv2.imencode(".jpg", picture)[1].tobytes()
        self._jpegs.publish(message)


def robot_file(directory: Path) -> Path:
    document = yaml.safe_load((robots_directory() / "sim_so101.yaml").read_text())
    document["cameras"]["wrist"] |= {
        "topic": "camera/wrist/jpeg",
        "compressed": True,
        "capture_delay_s": DELAY_S,
    }
    path = directory / "mixed.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def remembering(directory: Path) -> Path:
    """Returns what it sees: both cameras, joints of two moments, and how long it has been on."""
    image = {"kind": "sensor/image", "image": {"size": [8, 8], "interpolation": "area"}}
    state = {"kind": "state/joint/position", "names": list(JOINTS), "history": 2}
    time = {"kind": "policy/timestep", "last": 99}
    return write_echo(
        directory,
        {
            **dict.fromkeys(CAMERAS, image),
            "s": state,
            "t": time,
        },
        {
            **{name: ([1, 3, 8, 8], FLOAT) for name in CAMERAS},
            "s": ([1, 2, 6], FLOAT),
            "t": ([1, 1], FLOAT),
        },
        chunk={"size": 67, "execute": 2},
    )


def continuing(directory: Path) -> Path:
    """A flow from noise that is told what is played meanwhile."""
    files = {"encode.onnx": encode_model()}
    return write_bundle(directory, flow_document(), flow_model(), files)


class Recorder:
    """Recorder and policy, which records one episode after the other."""

    def __init__(self, world: World, robot: str, bundle: Path, root: Path) -> None:
        self._world = world
        graph = world.graph
        graph.start(
            "intervention_recorder",
            params_file=CONFIG / "intervention_recorder.param.yaml",
            parameters={
                "robot": robot,
                "root": root,
                "min_free_gb": 0.0,
                "reserve_gb": 0.0,
                "image_format": "raw",
            },
        )
        graph.start(
            "policy_runtime",
            params_file=CONFIG / "policy_executor.param.yaml",
            parameters={
                "robot": robot,
                "policy": str(bundle),
                "trial": False,
                "camera_max_age_s": 2.0,
                "joint_max_age_s": 2.0,
            },
        )
        self._seen = graph.collect(String, "policy/inference", qos.TICKS)
        self._mode = graph.publisher(String, "supervisor/mode", qos.MODE)
        self._end = graph.node.create_client(Trigger, "recorder/end_episode")
        world.run(self._end.service_is_ready)
        world.run(lambda: bool(self._seen))

    def episode(self, count: int) -> Path:
        """An episode of at least so many inferences of a policy that was just reset."""
        before = read_inference(self._seen[-1].data).epoch
        self._mode.publish(String(data="ARMED"))
        heard = len(self._seen)
        # Whoever is busy hears only the newest mode.
        self._world.run(lambda: len(self._seen) >= heard + 2)
        self._mode.publish(String(data="POLICY"))
        self._world.run(
            lambda: sum(read_inference(m.data).epoch > before for m in self._seen) >= count
        )
        reply = self._end.call_async(Trigger.Request())
        self._world.run(reply.done)
        assert reply.result().success, reply.result().message
        return Path(reply.result().message)

    def heard(self) -> bool:
        """Whether the recorder's subscriptions have found the policy, told by an episode."""
        return bool(read_episode(self.episode(1)).raw_chunks)


def exported_alike(episode: Episode, robot: Robot, told: list[InferenceRecord]) -> int:
    """How many inferences an export sees as the policy did, to the pixel."""
    cameras = recorded_cameras(episode, robot, tuple(robot.cameras))
    heard = [camera.received_ns for camera in cameras.arrivals.values()]
    now_ns = np.unique(np.concatenate([*heard, *(times + 5_000_000 for times in heard)]))
    grid = observations_at(episode, robot, cameras, now_ns)
    alike = 0
    for one in told:
        rows = np.flatnonzero(grid.stamp_ns == one.seen.stamp_ns)
        shown = {
            name: {
                pixel_digest(cameras.streams[name].pixels(int(grid.frames[name][row])))
                for row in rows
            }
            for name in cameras.streams
        }
        pixels = all(seen.digest in shown[name] for name, seen in one.seen.frames.items())
        near = np.abs(grid.positions[rows] - one.seen.positions).max(axis=1, initial=0.0) < 1e-3
        alike += pixels and bool(near.any())
    return alike


@pytest.mark.parametrize("make", [remembering, continuing])
def test_observations_and_chunks_are_made_again_bit_for_bit(ros, tmp_path, make):
    path = robot_file(tmp_path)
    bundle = make(tmp_path / "bundle")
    recorder = Recorder(MixedWorld(ros), str(path), bundle, tmp_path)
    # On a busy machine it takes a while until two processes have found each other.
    assert any(recorder.heard() for _ in range(20))
    # The recorder may be asked to end before it has heard of the last one.
    recorded = recorder.episode(5)
    episode, robot = read_episode(recorded), load_robot(str(path))
    observations = RecordedObservations(episode, robot)
    assert {name: camera.exact for name, camera in observations.cameras.items()} == {
        "front": True,
        "wrist": True,
    }
    epoch = episode.inferences[-1].value.epoch
    told = [said.value for said in episode.inferences if said.value.epoch == epoch]
    assert len(told) >= 4
    # From the first one on: what it saw was measured before the episode began.
    assert [record.number for record in told] == list(range(len(told)))
    for one in told:
        made = observations.seen(one)
        assert differences(one, made) == ()
        assert one.delays_s == {"wrist": DELAY_S}
        # The exporters' way, by time alone, comes to the same wherever nothing was missed.
        by_time = observations.at(one.seen.stamp_ns, robot.cameras, 0.2)
        if by_time.frames_ns == made.frames_ns and by_time.joints_ns == made.joints_ns:
            assert differences(dataclasses.replace(one, past=()), by_time) == ()
    assert exported_alike(episode, robot, told) == len(told)
    if make is continuing:
        assert any(record.prefix is not None for record in told)
    out = tmp_path / "replay.json"
    command = ["replay", str(recorded), "--policy", str(bundle), "--robot", str(path)]
    assert main([*command, "--no-trial", "--json", str(out)]) == EXIT_OK
    found = json.loads(out.read_text())
    # A busy policy hears of the episode after the recorder does, and is reset within it.
    before_reset = found["inferences"] - len(told)
    assert 0 <= before_reset <= len(episode.inferences) - len(told)
    assert found["observations_exact"] == found["inferences"]
    # The last chunk may have been on its way when the episode ended.
    assert found["compared"] >= found["inferences"] - 1
    assert found["out_of_sequence"] <= before_reset
    assert found["bit_exact"] >= found["compared"] - found["out_of_sequence"]
