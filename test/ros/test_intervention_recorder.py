# SPDX-License-Identifier: Apache-2.0
"""The recorder as its own process: what is published is what is in the file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TwistStamped
from harness import Graph, wait_until
from mcap.reader import NonSeekingReader, make_reader
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.nodes.recorder_setup import RecorderParameters
from levine_policy_node.nodes.recorder_topics import TOPICS
from levine_policy_node.resources import share_directory
from levine_policy_node.robot import load_robot
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import ros_now, stamp_from_msg, stamp_to_msg
from levine_policy_node.ros.messages import image_to_msg
from levine_policy_node.runtime.session_document import pseudonym

PARAMETER_FILE = share_directory() / "config" / "intervention_recorder.param.yaml"
CAMERAS = ("camera/front/image", "camera/wrist/image")
LATCHED = ("task", "robot_description", "supervisor/mode")
STORE = get_typestore(Stores.ROS2_KILTED)
PIXELS = np.dstack([np.tile(np.arange(0, 192, 2, dtype=np.uint8), (96, 1))] * 3)


def start(graph: Graph, path: Path, **parameters):
    values = {"robot": "sim_so101", "root": path, "min_free_gb": 0.0, "reserve_gb": 0.0}
    return graph.start(
        "intervention_recorder", parameters={**values, **parameters}, params_file=PARAMETER_FILE
    )


def call(graph: Graph, name: str) -> Trigger.Response:
    return graph.call(Trigger, f"recorder/{name}", Trigger.Request())


def files(root: Path, pattern: str) -> list[Path]:
    return sorted(root.rglob(pattern))


def only_document(root: Path) -> dict:
    [path] = files(root, "episode.json")
    return json.loads(path.read_text())


def ended(root: Path) -> list[dict]:
    """Documents of the episodes that were closed; written last of all."""
    documents = [json.loads(path.read_text()) for path in files(root, "episode.json")]
    return [document for document in documents if document["state"] == "closed"]


def state(value: float, stamp_ns: int, tag: str = "") -> JointState:
    message = JointState(name=["shoulder_pan"], position=[value], velocity=[0.5])
    message.header.stamp = stamp_to_msg(stamp_ns)
    message.header.frame_id = tag
    return message


def twist() -> TwistStamped:
    message = TwistStamped()
    message.header.stamp = stamp_to_msg(5)
    message.twist.linear.x = 0.1
    return message


def taken_over(stamp_ns: int) -> DiagnosticArray:
    """What the supervisor says of a takeover."""
    text = "POLICY -> HUMAN: operator: takeover"
    message = DiagnosticArray(status=[DiagnosticStatus(name="MODE", message=text)])
    message.header.stamp = stamp_to_msg(stamp_ns)
    return message


def messages_of(path: Path) -> dict[str, list]:
    found: dict[str, list] = {}
    with path.open("rb") as stream:
        for _, channel, record in make_reader(stream, validate_crcs=True).iter_messages():
            found.setdefault(channel.topic, []).append(record)
    return found


@pytest.mark.parametrize("image_format", ["jpeg", "raw"])
def test_every_topic_is_recorded_as_published(ros: Graph, tmp_path, image_format):
    salt = tmp_path / "salt"
    said = {"operator": "Ada", "operator_salt": salt, "site": "hall 3", "licence": "CC-BY-4.0"}
    start(ros, tmp_path, image_format=image_format, seed=7, **said)
    sent: dict[str, list] = {}
    senders = {
        name: ros.publisher(
            kind, name, qos.DESCRIPTION if name == "robot_description" else profile
        )
        for name, kind, profile in [
            *((n, k, qos.JOINT_STATE_OUT if n == "joint_states" else p) for n, k, p in TOPICS),
            *((name, Image, qos.IMAGE_OUT) for name in CAMERAS),
        ]
    }

    def send(name, message):
        senders[name].publish(message)
        sent.setdefault(name, []).append(message)

    send("robot_description", String(data="<robot/>"))
    send("task", String(data="pick up the cube"))
    send("supervisor/mode", String(data="ARMED"))
    send("supervisor/mode", String(data="POLICY"))
    ros.spin_until(lambda: files(tmp_path, "*.mcap.open"), what="the episode to open")
    chunk = JointTrajectory(joint_names=["shoulder_pan"])
    chunk.header.frame_id = "policy:pick@0123abcd#1"
    send("policy/raw_chunk", chunk)
    send("policy/action_chunk", chunk)
    send("reward", Float64(data=0.25))
    send("operator/twist", twist())
    send("policy/inference", String(data="{}"))
    send("supervisor/events", taken_over(ros_now(ros.node)))
    send("operator/target", state(0.0, 3))
    for i in range(30):
        stamp_ns = 1_000_000_000 + i
        send("joint_states", state(i / 10, stamp_ns))
        send("supervisor/proposal", state(i / 10, stamp_ns, "policy:pick@0123abcd#1"))
        send("supervisor/command", state(i / 10, stamp_ns, "policy:pick@0123abcd#1"))
        for camera in CAMERAS:
            send(camera, image_to_msg(PIXELS, stamp_ns, "optical"))
        ros.spin_for(0.01)
    assert call(ros, "mark_success").message == "ep_000000: success"
    reply = call(ros, "end_episode")
    assert reply.success, reply.message

    found = messages_of(Path(reply.message))

    def received(name):
        # Compared as messages: the padding inside serialized ones is not defined.
        kind = type(sent[name][0])
        return [deserialize_message(record.data, kind) for record in found[f"/{name}"]]

    for name in sent.keys() - {"joint_states", *LATCHED, *CAMERAS}:
        assert received(name) == sent[name], name
    # What latched topics said before the episode began is in it too.
    for name in LATCHED:
        assert received(name)[-1] == sent[name][-1], name
    # Sensors are read best effort: some may be missing, none may be changed.
    states = received("joint_states")
    assert len(states) >= 25
    assert all(message in sent["joint_states"] for message in states)
    for record, message in zip(found["/joint_states"], states, strict=True):
        assert record.publish_time == stamp_from_msg(message.header.stamp)
        assert record.log_time > 1_700_000_000_000_000_000
    suffix = "/compressed" if image_format == "jpeg" else ""
    for camera in CAMERAS:
        assert len(found[f"/{camera}{suffix}"]) >= 25

    with Reader(Path(reply.message).parent) as bag:
        read = {c.topic: STORE.deserialize_cdr(data, c.msgtype) for c, _, data in bag.messages()}
    assert read["/supervisor/command"].position.tolist() == [2.9]
    picture = read[f"/camera/wrist/image{suffix}"]
    assert picture.header.frame_id == "optical"
    if image_format == "jpeg":
        decoded = cv2.imdecode(picture.data, cv2.IMREAD_COLOR)
        assert np.abs(decoded.astype(int) - PIXELS).mean() < 2.0
    else:
        assert np.array_equal(picture.data.reshape(PIXELS.shape), PIXELS)

    stored = only_document(tmp_path)
    assert stored["state"] == "closed"
    assert (stored["outcome"], stored["outcome_source"]) == ("success", "operator")
    assert stored["policies"] == ["pick@0123abcd"]
    assert stored["robot"]["sha256"] == load_robot("sim_so101").sha256
    assert stored["seed"] == 7
    # Who it was cannot be told from the recordings alone.
    assert stored["operator"] == pseudonym("Ada", salt) == stored["outcome_by"]
    assert stored["operator"].startswith("op-")
    assert "Ada" not in json.dumps(stored)
    assert (stored["site"], stored["licence"]) == ("hall 3", "CC-BY-4.0")
    [taken] = stored["policy_lost_the_arm"]
    assert (taken["trigger"], taken["reason"]) == ("human", "operator: takeover")
    session = json.loads(files(tmp_path, "session.json")[0].read_text())
    assert session["ros"]["rmw"].startswith("rmw_")
    assert session["robot"]["sha256"] == stored["robot"]["sha256"]
    assert stored["task"] == "pick up the cube"
    assert stored["dropped"] == {}


def test_episodes_follow_the_modes(ros: Graph, tmp_path):
    start(ros, tmp_path)
    mode = ros.publisher(String, "supervisor/mode", qos.MODE)

    def enter(name):
        mode.publish(String(data=name))

    for name in ("DISARMED", "ARMED", "POLICY"):
        enter(name)
    ros.spin_until(lambda: len(files(tmp_path, "*.mcap.open")) == 1, what="the first episode")
    for name in ("HUMAN", "STOPPING", "PAUSED", "POLICY", "STOPPING", "DISARMED"):
        ros.spin_for(0.05)
        enter(name)
    ros.spin_until(lambda: len(ended(tmp_path)) == 1, what="the first episode's end")
    assert ended(tmp_path)[0]["interventions"] == 1
    for name in ("ARMED", "HUMAN", "ESTOP"):
        ros.spin_for(0.05)
        enter(name)
    ros.spin_until(lambda: len(files(tmp_path, "*.mcap.open")) == 1, what="the second episode")
    ros.spin_for(0.05)
    enter("DISARMED")
    ros.spin_until(lambda: len(ended(tmp_path)) == 2, what="the second episode's end")
    last = ended(tmp_path)[1]
    assert (last["outcome"], last["outcome_source"]) == ("aborted", "mode ESTOP")


def assert_silent_to_the_robot(graph: Graph) -> None:
    name = "intervention_recorder"
    published = {topic for topic, _ in graph.node.get_publisher_names_and_types_by_node(name, "/")}
    assert published == {
        "/diagnostics",
        "/rosout",
        "/parameter_events",
        "/intervention_recorder/transition_event",
    }


def test_services_without_auto_start(ros: Graph, tmp_path):
    start(ros, tmp_path, auto_start=False)
    mode = ros.publisher(String, "supervisor/mode", qos.MODE)
    assert "Start one first" in call(ros, "end_episode").message
    assert "no episode has been recorded yet" in call(ros, "mark_success").message
    mode.publish(String(data="POLICY"))
    value = Parameter("seed", value=1001).to_parameter_msg()
    request = SetParameters.Request(parameters=[value])
    assert ros.call(SetParameters, "intervention_recorder/set_parameters", request)
    started = call(ros, "start_episode")
    assert started.success
    assert files(tmp_path, "*.open") == [Path(started.message)]
    assert "is being recorded already" in call(ros, "start_episode").message
    mode.publish(String(data="DISARMED"))
    ros.spin_for(0.1)
    assert files(tmp_path, "*.open")
    assert_silent_to_the_robot(ros)
    assert call(ros, "end_episode").success
    assert call(ros, "mark_failure").success
    assert call(ros, "discard").message == "ep_000000: discarded"
    stored = only_document(tmp_path)
    assert (stored["outcome"], stored["discarded"]) == ("failure", True)
    assert stored["seed"] == 1001


def test_ending_the_process_closes_the_episode(ros: Graph, tmp_path):
    process = start(ros, tmp_path)
    assert call(ros, "start_episode").success
    assert process.stop() == 0
    stored = only_document(tmp_path)
    assert (stored["state"], stored["outcome"]) == ("closed", "aborted")
    assert stored["outcome_source"] == "the recorder stopped"
    messages_of(files(tmp_path, "*.mcap")[0])


def test_kill_9_keeps_what_was_flushed(ros: Graph, tmp_path):
    process = start(ros, tmp_path)
    states = ros.publisher(JointState, "supervisor/command", qos.TICKS)
    assert call(ros, "start_episode").success
    for i in range(50):
        states.publish(state(float(i), i + 1))
        ros.spin_for(0.01)
    [path] = files(tmp_path, "*.mcap.open")

    def readable() -> int:
        count = 0
        with path.open("rb") as stream:
            reader = NonSeekingReader(stream, validate_crcs=True)
            try:
                sent = ["/supervisor/command"]
                for _ in reader.iter_messages(topics=sent, log_time_order=False):
                    count += 1
            except Exception:  # noqa: BLE001  the end is torn, in whatever way
                return count
        return count

    wait_until(lambda: readable() == 50, 30.0, what="the flush")
    process.send(signal.SIGKILL)
    process.wait()
    assert readable() == 50
    assert only_document(tmp_path)["state"] == "open"

    again = start(ros, tmp_path)
    wait_until(lambda: ended(tmp_path), 40.0, what="the next recorder to recover it")
    stored = only_document(tmp_path)
    assert (stored["recovered"], stored["outcome"]) == (True, "unknown")
    [closed] = files(tmp_path, "*.mcap")
    assert len(messages_of(closed)["/supervisor/command"]) == 50
    assert hashlib.sha256(closed.read_bytes()).hexdigest() == stored["file_sha256"]
    assert not files(tmp_path, "*.open")
    assert again.alive


def test_diagnostics_count(ros: Graph, tmp_path):
    start(ros, tmp_path)
    arrays = ros.collect(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
    states = ros.publisher(JointState, "supervisor/command", qos.TICKS)
    assert call(ros, "start_episode").success
    states.publish(state(1.0, 1))

    def values():
        status = [s for a in arrays for s in a.status if s.name == "intervention_recorder"]
        return {v.key: v.value for v in status[-1].values} if status else {}

    ros.spin_until(lambda: int(values().get("messages", 0)) >= 1, what="the count in /diagnostics")
    assert values()["episodes"] == "1"
    assert values()["dropped"] == "0"
    assert values()["file"].endswith("ep_000000.mcap.open")


def test_a_full_disk_refuses_and_says_so(ros: Graph, tmp_path):
    start(ros, tmp_path, min_free_gb=1e9)
    reply = call(ros, "start_episode")
    assert not reply.success
    assert "below min_free_gb" in reply.message


def test_a_filling_disk_ends_the_episode_not_the_process(ros: Graph, tmp_path):
    process = start(ros, tmp_path, reserve_gb=1e9)
    assert call(ros, "start_episode").success
    ros.spin_until(lambda: ended(tmp_path), what="the episode to be closed")
    wait_until(lambda: "recording stopped" in process.output(), what="the log line")
    assert process.alive
    assert only_document(tmp_path)["outcome"] == "aborted"


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"robot": "no_such_robot"}, "error: robot: no_such_robot: 'no_such_robot' is not known"),
        ({"root": "/proc/none"}, "error: /proc/none"),
    ],
)
def test_bad_parameters_end_it_with_one_line(ros: Graph, tmp_path, parameters, expected):
    process = start(ros, tmp_path, **parameters)
    assert process.wait() == 2
    assert expected in process.output()
    [line] = [line for line in process.output().splitlines() if line.startswith("error:")]
    assert expected in line


def test_an_unknown_image_format_is_refused():
    with pytest.raises(ValueError, match="image_format: expected jpeg or raw, found 'png'"):
        RecorderParameters(robot="so101", image_format="png")


def test_the_parameter_file_and_the_class_agree():
    document = yaml.safe_load(PARAMETER_FILE.read_text())
    values = document["/**/intervention_recorder"]["ros__parameters"]
    fields = {f.name: f.default for f in dataclasses.fields(RecorderParameters)}
    del fields["robot"]
    assert values == fields


def test_no_switch_is_heard_here_in_the_supervisors_place(ros: Graph, tmp_path):
    """`ros2 topic pub --once` speaks when it has one reader; it used to be this one at times."""
    start(ros, tmp_path)
    ros.spin_until(lambda: ros.node.count_subscribers("supervisor/events") > 0)
    assert ros.node.count_subscribers("estop") == ros.node.count_subscribers("enable") == 0
