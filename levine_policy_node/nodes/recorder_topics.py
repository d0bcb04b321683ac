# SPDX-License-Identifier: Apache-2.0
"""What `intervention_recorder` records beside the cameras, with the QoS it is read with."""

from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PointStamped, PoseStamped, TwistStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64, String
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.ros import qos
from levine_policy_node.runtime.mcap_writer import COMPRESSED_IMAGE, IMAGE, RecordedTopic

MODE_TOPIC = "supervisor/mode"
EVENTS_TOPIC = "supervisor/events"
TASK_TOPIC = "task"
RAW_CHUNK_TOPIC = "policy/raw_chunk"

# Not `estop` and `enable`: `ros2 topic pub --once` speaks as soon as it has one reader, and that
# must be the supervisor, whose events tell of it.
TOPICS: tuple[tuple[str, type[Any], QoSProfile], ...] = (
    ("joint_states", JointState, qos.RECORDED_STATES),
    ("policy/action_chunk", JointTrajectory, qos.TICKS),
    (RAW_CHUNK_TOPIC, JointTrajectory, qos.TICKS),
    ("policy/inference", String, qos.TICKS),
    ("policy/problem", String, qos.RECORDED_LATCHED),
    ("operator/target", JointState, qos.TICKS),
    # Devices of others may publish best effort.
    ("operator/twist", TwistStamped, qos.RECORDED_SENSOR),
    ("operator/pose", PoseStamped, qos.RECORDED_SENSOR),
    ("operator/gripper", Float64, qos.RECORDED_SENSOR),
    ("operator/dead_man", Bool, qos.RECORDED_SENSOR),
    (MODE_TOPIC, String, qos.RECORDED_LATCHED),
    ("supervisor/proposal", JointState, qos.TICKS),
    ("supervisor/command", JointState, qos.TICKS),
    (EVENTS_TOPIC, DiagnosticArray, qos.EVENTS),
    (TASK_TOPIC, String, qos.RECORDED_LATCHED),
    ("goal", PointStamped, qos.RECORDED_LATCHED),
    ("reward", Float64, qos.TICKS),
    ("robot_description", String, qos.DESCRIPTION),
    ("/diagnostics", DiagnosticArray, qos.DIAGNOSTICS),
)

# What the first inference of an episode sees and says; images belong to it, too.
PREROLL = ("joint_states", "policy/inference", RAW_CHUNK_TOPIC, "policy/action_chunk")

WITHOUT_HEADER = ("std_msgs/msg/Bool", "std_msgs/msg/Float64", "std_msgs/msg/String")


def recorded_topic(
    name: str, resolved: str, kind: type[Any], profile: QoSProfile
) -> RecordedTopic:
    """What the writer is told of a topic.

    Args:
        name: What nodes call it.
        resolved: Absolute name.
        kind: Message class.
        profile: What it is read with.
    """
    # The package's name, since a message class knows only its module.
    type_name = f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"
    is_image = type_name in (IMAGE, COMPRESSED_IMAGE)
    return RecordedTopic(
        name=resolved,
        type_name=type_name,
        latched=profile.durability is DurabilityPolicy.TRANSIENT_LOCAL,
        bulky=is_image,
        preroll=is_image or name in PREROLL,
    )
