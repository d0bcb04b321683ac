# SPDX-License-Identifier: Apache-2.0
"""`camera_ingest` and `policy_executor` in one process, so that frames stay in memory."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.node import Node

from levine_policy_node.core.frame_store import FrameStore
from levine_policy_node.nodes.camera_ingest import CameraIngest
from levine_policy_node.nodes.policy_executor import PolicyExecutor
from levine_policy_node.ros.entrypoint import run
from levine_policy_node.ros.scheduling import PROMPT, set_urgency, switch_threads_often


def make_nodes() -> Sequence[Node]:
    """Create both nodes around one frame store; both start unless `autostart` is false.

    The policy comes first: only the cameras it needs are read.

    Raises:
        LevineError: If a parameter, the robot file or the bundle is wrong.
    """
    store = FrameStore()
    executor = PolicyExecutor(store)
    if not executor.parameters.autostart:
        return (executor, CameraIngest(store))
    executor.autostart()
    ingest = CameraIngest(store, executor.cameras)
    ingest.autostart()
    return (executor, ingest)


def main(argv: list[str] | None = None) -> int:
    """Run both nodes until a signal."""
    set_urgency(PROMPT)
    switch_threads_often()
    return run(make_nodes, argv)


if __name__ == "__main__":
    raise SystemExit(main())
