# SPDX-License-Identifier: Apache-2.0
"""camera_ingest: topics, compressed topics and devices become frames with capture times."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CompressedImage, Image

from levine_policy_node.core.frame_checks import FrameLimits
from levine_policy_node.core.frame_store import FrameStore
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import ConfigError, UnknownNameError
from levine_policy_node.nodes.camera_ingest import CameraIngest, CameraIngestParameters
from levine_policy_node.resources import share_directory
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import ros_now, stamp_from_msg, stamp_to_msg
from levine_policy_node.ros.messages import image_from_msg, image_to_msg

CONFIG = share_directory() / "config" / "camera_ingest.param.yaml"
ROBOT = share_directory() / "config" / "robots" / "sim_so101.yaml"
STAMP = StampNs(1_700_000_000_123_456_789)
NS_PER_MS = 1_000_000


def robot_file(directory: Path, **cameras) -> Path:
    described = yaml.safe_load(ROBOT.read_text())
    described["cameras"] = cameras
    path = directory / "robot.yaml"
    path.write_text(yaml.safe_dump(described))
    return path


@pytest.fixture
def robot(tmp_path):
    return robot_file(
        tmp_path,
        raw={"topic": "raw", "capture_delay_s": 0.02},
        jpeg={"topic": "jpeg/compressed", "compressed": True},
        bound={"topic": "bound", "frame_id": "wrist_0815"},
    )


@pytest.fixture
def ros_args(robot):
    return ["--ros-args", "-p", f"robot:={robot}"]


@pytest.fixture
def store():
    return FrameStore()


@pytest.fixture
def ingest(ros, store):
    node = CameraIngest(store)
    ros.add(node)
    yield node
    node.close()


def gradient() -> np.ndarray:
    ramp = np.arange(32, dtype=np.uint8) * 8
    return np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], np.uint8(7)), axis=-1)


def test_parameter_file_and_dataclass_agree():
    declared = {field.name for field in dataclasses.fields(CameraIngestParameters)}
    given = yaml.safe_load(CONFIG.read_text())["/**/camera_ingest"]["ros__parameters"]
    assert set(given) == declared - {"robot"}


def test_a_frame_of_another_camera_is_refused(ros, ingest, store):
    store.watch(FrameLimits())
    ingest.autostart()
    image = ros.publisher(Image, "bound", qos.IMAGE_OUT)

    def publish(frame_id: str) -> None:
        image.publish(image_to_msg(gradient(), ros_now(ros.node), frame_id))

    publish("front_4711")
    ros.spin_until(lambda: store.flaw("bound") is not None)
    assert "'front_4711', not of 'wrist_0815'; were two cameras exchanged?" in str(
        store.flaw("bound")
    )
    assert store.count("bound") == 0
    publish("wrist_0815")
    ros.spin_until(lambda: store.count("bound") == 1)


def test_a_raw_image_arrives_with_its_capture_time(ros, ingest, store):
    ingest.autostart()
    image = ros.publisher(Image, "raw", qos.IMAGE_OUT)
    image.publish(image_to_msg(gradient(), STAMP, "raw"))
    ros.spin_until(lambda: store.count("raw") == 1)
    frame = store.history("raw").newest
    assert frame.stamp_ns == STAMP - 20 * NS_PER_MS
    np.testing.assert_array_equal(frame.pixels, gradient())


def test_bgr_is_turned_into_rgb(ros, ingest, store):
    ingest.autostart()
    image = ros.publisher(Image, "raw", qos.IMAGE_OUT)
    message = image_to_msg(np.ascontiguousarray(gradient()[:, :, ::-1]), STAMP, "raw")
    message.encoding = "bgr8"
    image.publish(message)
    ros.spin_until(lambda: store.count("raw") == 1)
    np.testing.assert_array_equal(store.history("raw").newest.pixels, gradient())


def test_a_compressed_image_is_decoded_to_rgb(ros, ingest, store):
    ingest.autostart()
    image = ros.publisher(CompressedImage, "jpeg/compressed", qos.IMAGE_OUT)
    good, data = cv2.imencode(".png", cv2.cvtColor(gradient(), cv2.COLOR_RGB2BGR))
    assert good
    message = CompressedImage(format="png", data=data.tobytes())
    message.header.stamp = stamp_to_msg(STAMP)
    image.publish(message)
    ros.spin_until(lambda: store.count("jpeg") == 1)
    frame = store.history("jpeg").newest
    assert frame.stamp_ns == STAMP
    np.testing.assert_array_equal(frame.pixels, gradient())


@pytest.mark.parametrize("broken", ["stamp", "encoding", "size"])
def test_an_unusable_frame_is_dropped(ros, ingest, store, broken):
    ingest.autostart()
    image = ros.publisher(Image, "raw", qos.IMAGE_OUT)
    message = image_to_msg(gradient(), STAMP, "raw")
    if broken == "stamp":
        message.header.stamp = Time()
    elif broken == "encoding":
        message.encoding = "16UC1"
    else:
        message.height = 33
    image.publish(message)
    # The good one is the sentinel: when it is there, the broken one has been seen.
    ros.spin_for(0.2)
    image.publish(image_to_msg(gradient(), StampNs(STAMP + 1), "raw"))
    ros.spin_until(lambda: store.count("raw") > 0)
    assert [f.stamp_ns for f in store.history("raw").samples] == [STAMP + 1 - 20 * NS_PER_MS]


def test_garbage_in_a_compressed_image_is_dropped(ros, ingest, store):
    ingest.autostart()
    image = ros.publisher(CompressedImage, "jpeg/compressed", qos.IMAGE_OUT)
    message = CompressedImage(format="jpeg", data=b"not a picture")
    message.header.stamp = stamp_to_msg(STAMP)
    image.publish(message)
    ros.spin_for(0.3)
    assert store.count("jpeg") == 0


def test_diagnostics_give_rate_and_age(ros, ingest):
    status = ros.collect(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
    ingest.autostart()
    image = ros.publisher(Image, "raw", qos.IMAGE_OUT)
    timer = ros.node.create_timer(
        0.05, lambda: image.publish(image_to_msg(gradient(), ros_now(ros.node), "raw"))
    )
    ros.spin_until(lambda: len(status) >= 2)
    timer.cancel()
    values = {v.key: float(v.value) for v in status[-1].status[0].values}
    assert 5.0 < values["raw_rate_hz"] < 30.0
    assert 15.0 < values["raw_age_ms"] < 500.0
    assert status[-1].status[0].message == "no frames from bound, jpeg"


def test_it_can_stop_and_start_again(ros, ingest, store):
    ingest.autostart()
    ingest.trigger_deactivate()
    image = ros.node.create_publisher(Image, "raw", qos.IMAGE_OUT)
    ros.spin_for(0.2)
    image.publish(image_to_msg(gradient(), STAMP, "raw"))
    ros.spin_for(0.2)
    assert store.count("raw") == 0
    ingest.trigger_activate()
    ros.spin_until(lambda: image.get_subscription_count() == 1)
    image.publish(image_to_msg(gradient(), STAMP, "raw"))
    ros.spin_until(lambda: store.count("raw") == 1)


def test_an_unknown_camera_names_the_known_ones(ros, store):
    node = CameraIngest(store, ("nose",))
    ros.add(node)
    with pytest.raises(UnknownNameError, match=r"'nose' is not known\. Known: bound, jpeg, raw"):
        node.autostart()
    node.close()


class TestDevice:
    """A video file stands in for a device: the same library call reads both."""

    @pytest.fixture
    def video(self, tmp_path):
        path = tmp_path / "video.avi"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (64, 48))
        for level in range(5):
            writer.write(np.full((48, 64, 3), (0, 0, 40 * level), dtype=np.uint8))
        writer.release()
        return path

    @pytest.fixture
    def robot(self, tmp_path, video):
        return robot_file(tmp_path, front={"device": str(video), "capture_delay_s": 0.5})

    def test_a_device_is_read_stamped_and_published(self, ros, ingest, store):
        images = ros.collect(Image, "camera/front/image", qos.IMAGE_IN)
        before_ns = ros_now(ros.node)
        ingest.autostart()
        ros.spin_until(lambda: bool(images))
        newest = store.history("front").newest
        assert newest.pixels.shape == (48, 64, 3)
        assert newest.pixels[..., 0].mean() >= newest.pixels[..., 2].mean()
        stamp_ns = stamp_from_msg(images[0].header.stamp)
        assert before_ns - 500 * NS_PER_MS <= stamp_ns <= ros_now(ros.node) - 500 * NS_PER_MS
        assert image_from_msg(images[0]).shape == (48, 64, 3)
        ingest.trigger_deactivate()

    def test_a_missing_device_is_named(self, ros, store, video):
        video.unlink()
        node = CameraIngest(store)
        ros.add(node)
        with pytest.raises(ConfigError, match=r"cameras\.front\.device: .* cannot be opened"):
            node.autostart()
        node.close()
