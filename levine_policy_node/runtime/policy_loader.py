# SPDX-License-Identifier: Apache-2.0
"""A bundle as a policy, wherever its network runs."""

from __future__ import annotations

from levine_policy_node.robot import Robot
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.onnx_loader import OnnxOptions
from levine_policy_node.runtime.onnx_policy import OnnxPolicy
from levine_policy_node.runtime.remote_access import RemoteAccess
from levine_policy_node.runtime.remote_policy import RemotePolicy

LoadedPolicy = OnnxPolicy | RemotePolicy


def load_policy(
    bundle: Bundle,
    robot: Robot,
    options: OnnxOptions | None = None,
    access: RemoteAccess | None = None,
) -> LoadedPolicy:
    """Load a verified bundle for one robot, and warm it up.

    Args:
        bundle: The bundle.
        robot: The robot it is for.
        options: How graphs are run; the time-out holds for a server, too.
        access: Which servers may be asked; those on this computer unless given.

    Raises:
        BundleError: If it does not fit the robot or its own document, or its server is not there.
    """
    options = options or OnnxOptions()
    if bundle.document.remote is not None:
        return RemotePolicy(bundle, robot, options.timeout_s, access)
    return OnnxPolicy(bundle, robot, options)
