# SPDX-License-Identifier: Apache-2.0
"""Bytes made directly are the message that rclpy would have made."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.trajectory_message import trajectory_bytes
from levine_policy_node.core.units import StampNs
from levine_policy_node.ros.messages import timeline_to_msg

stamps = st.integers(0, 2**31 * 10**9 - 1).map(StampNs)
# Every length, so that what follows starts at every alignment.
texts = st.text(max_size=12).filter(lambda text: "\0" not in text)
names = st.lists(texts, min_size=1, max_size=8, unique=True).map(tuple)


@given(names, stamps, texts, st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_trajectory(joints, stamp_ns, source, knots, seed):
    rng = np.random.default_rng(seed)
    times = np.concatenate([[0.0], np.cumsum(rng.integers(1, 10**9, knots - 1) / 1e9)])
    p, v, a = (rng.normal(size=(knots, len(joints))) for _ in range(3))
    timeline = Timeline(joints, stamp_ns, times, p, v, a, source)
    made = deserialize_message(trajectory_bytes(timeline), JointTrajectory)
    assert made == timeline_to_msg(timeline)
