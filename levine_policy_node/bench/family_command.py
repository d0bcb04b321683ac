# SPDX-License-Identifier: Apache-2.0
"""From a policy's rows to the controller's topic: is what is commanded what the policy said?

The whole graph drives the simulated arm with chunks that are played to their end, not blended, and
slow enough that no limit stretches them. At each row's time, the trajectory that the supervisor
has sent by then is compared with the row.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from trajectory_msgs.msg import JointTrajectory

from levine_policy_node.bench.bad_bundles import scaled
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import FloatArray, StampNs, nanoseconds
from levine_policy_node.graph import GraphOptions, ParameterValue, build_graph
from levine_policy_node.processes import ProcessGroup
from levine_policy_node.robot import load_robot
from levine_policy_node.ros import qos
from levine_policy_node.ros.clocks import stamp_from_msg
from levine_policy_node.ros.messages import duration_from_msg, timeline_from_msg
from levine_policy_node.ros.rollout import Rollout, RolloutError
from levine_policy_node.runtime.bundle import DOCUMENT, load_bundle

# Values are compared here and not times: a busy machine need not stop the arm.
_PATIENT: dict[str, ParameterValue] = {
    "inference_stall_s": 10.0,
    "policy_timeout_s": 1.0,
    "joint_state_timeout_s": 1.0,
    "overrun_s": 0.5,
}
# What comes before belongs to the way from where the arm stood to the chunk.
_JOINED_S = 0.6
_SHARE, _EPISODE_S, _BRAKE_S = 0.2, 3.0, 0.2
_ATTEMPTS = 3


def commanded_apart(policy: str, task: str, seed: int, robot: str) -> float:
    """Largest distance [rad] of the commands from the rows they are made of, in one episode.

    Args:
        policy: Bundle whose actions are relative; a copy of it is used.
        task: Of the simulated arm.
        seed: Of the episode.
        robot: Robot file of the simulated arm.

    Raises:
        RolloutError: If the graph does not run, or nothing can be compared.
    """
    with tempfile.TemporaryDirectory(prefix="levine_command_") as folder:
        options = GraphOptions(
            robot=robot,
            policy=str(_gentle(policy, Path(folder) / "policy")),
            recorder=False,
            simulate=True,
            seed=seed,
            task=task,
            log_level="warn",
            overrides={
                "policy_executor": {"merge": "replace", "smoothing_s": 0.0},
                "safety_supervisor": _PATIENT,
            },
        )
        with ProcessGroup(build_graph(options), options, log_directory=Path(folder) / "logs"):
            listener = Rollout(recorder=False)
            try:
                # An arm that a watchdog stopped did not follow the rows: try again.
                for _ in range(_ATTEMPTS):
                    found = _measured(listener, seed, robot)
                    if found is not None:
                        return found
                raise RolloutError(f"the arm was stopped {_ATTEMPTS} times: {listener.cause}")
            finally:
                listener.close()


def _measured(listener: Rollout, seed: int, robot: str) -> float | None:
    """One episode; None if the arm was stopped meanwhile."""
    loaded = load_robot(robot)
    chunks: list[JointTrajectory] = []
    commands: list[JointTrajectory] = []
    node, controller = listener.node, loaded.controller.name
    node.create_subscription(JointTrajectory, "policy/raw_chunk", chunks.append, qos.TICKS)
    node.create_subscription(
        JointTrajectory, f"{controller}/joint_trajectory", commands.append, qos.TICKS
    )
    listener.wait_ready(lambda: None)
    listener.reset_scene(seed)
    listener.start_policy()
    listener.cause = ""
    engaged_ns = int(node.get_clock().now().nanoseconds)
    listener.spin_for(_EPISODE_S)
    ended_ns = int(node.get_clock().now().nanoseconds)
    stopped = bool(listener.cause) or listener.mode != "POLICY"
    listener.finish(success=False)
    if stopped:
        return None
    names = loaded.joint_names
    windows = [timeline_from_msg(message, names) for message in commands if message.points]
    seen = [m for m in chunks if int(stamp_from_msg(m.header.stamp)) > engaged_ns]
    sent = [w for w in windows if int(w.start_ns) < ended_ns - nanoseconds(_BRAKE_S)]
    apart = [value for message in seen for value in _apart(message, sent, names)]
    if not apart:
        raise RolloutError("no row of a chunk was played while the policy was in command")
    return max(apart)


def _apart(
    chunk: JointTrajectory, windows: Sequence[Timeline[StampNs]], names: Sequence[str]
) -> list[float]:
    """Distance of each row from the command at its time, where there is one."""
    observed_ns = int(stamp_from_msg(chunk.header.stamp))
    known = tuple(chunk.joint_names)
    order = [known.index(name) for name in names]
    found: list[float] = []
    # A motion ends at rest, so the last row is not one to pass through.
    for point in tuple(chunk.points)[:-1]:
        after_s = duration_from_msg(point.time_from_start)
        due_ns = StampNs(observed_ns + nanoseconds(after_s))
        sent = _commanded(windows, due_ns)
        if after_s >= _JOINED_S and sent is not None:
            row = np.asarray(point.positions, dtype=np.float64)[order]
            found.append(float(np.abs(sent - row).max()))
    return found


def _commanded(windows: Sequence[Timeline[StampNs]], due_ns: StampNs) -> FloatArray | None:
    """What the controller is told for this time: the last trajectory that began before it."""
    begun = [w for w in windows if int(w.start_ns) <= due_ns and w.covers(due_ns)]
    return begun[-1].sample(due_ns).position if begun else None


def _gentle(policy: str, folder: Path) -> Path:
    """A copy with small steps, which no limit slows down, that plays a chunk to its end."""
    good = load_bundle(policy)
    copy = scaled(good.path, folder, _SHARE)
    document = yaml.safe_load((copy / DOCUMENT).read_text())
    document["chunk"]["execute"] = good.document.chunk.size - good.document.chunk.start
    (copy / DOCUMENT).write_text(yaml.safe_dump(document))
    return copy
