# SPDX-License-Identifier: Apache-2.0
"""Launch actions made from `graph.py`; imported only by launch files."""

from __future__ import annotations

import os
from pathlib import Path

from launch import LaunchContext
from launch.actions import EmitEvent, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from levine_policy_node.graph import GraphOptions, Process, build_graph
from levine_policy_node.resources import PACKAGE
from levine_policy_node.runtime.remote_access import RemoteAccess
from levine_policy_node.transports import without_shared_memory


def graph_actions(context: LaunchContext, *, simulate: bool) -> list[Node | RegisterEventHandler]:
    """Turn the chosen graph into launch actions.

    Raises:
        ConfigError: If the robot file, the bundle or their fit is wrong; nothing is started.
    """

    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    def given(name: str, otherwise: str = "") -> str:
        return context.launch_configurations.get(name, otherwise)

    options = GraphOptions(
        robot=value("robot"),
        policy=value("policy"),
        namespace=value("namespace"),
        recorder=value("recorder").lower() in {"true", "1", "yes"},
        recordings=Path(value("recordings")),
        simulate=simulate,
        seed=int(value("seed")) if simulate else 0,
        only=() if simulate else tuple(value("only").split()),
        log_level=value("log_level"),
        trust=given("trust", "checksums"),
        trust_key=Path(given("trust_key")) if given("trust_key") else None,
        remote_hosts=RemoteAccess.listed(given("remote_hosts")).hosts,
        operator=given("operator"),
    )
    actions: list[Node | RegisterEventHandler] = []
    for process in build_graph(options):
        node = _node(process, options)
        actions.append(node)
        if process.essential:
            reason = f"{process.executable} ended"
            on_exit = OnProcessExit(
                target_action=node, on_exit=[EmitEvent(event=Shutdown(reason=reason))]
            )
            actions.append(RegisterEventHandler(on_exit))
    return actions


def _node(process: Process, options: GraphOptions) -> Node:
    # No `name=`: a process may hold several nodes, and renaming would rename them all.
    return Node(
        package=PACKAGE,
        executable=process.executable,
        output="screen",
        arguments=process.ros_arguments(options),
        additional_env=without_shared_memory(os.environ),
    )
