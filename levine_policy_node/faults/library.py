# SPDX-License-Identifier: Apache-2.0
"""Every case there is, and every hazard without one."""

from __future__ import annotations

from collections.abc import Mapping

from levine_policy_node.errors import UnknownNameError
from levine_policy_node.faults.case import Case
from levine_policy_node.faults.rows_cameras import CASES as CAMERAS
from levine_policy_node.faults.rows_code import CASES as CODE
from levine_policy_node.faults.rows_commands import CASES as COMMANDS
from levine_policy_node.faults.rows_controller import CASES as CONTROLLER
from levine_policy_node.faults.rows_graph import CASES as GRAPH
from levine_policy_node.faults.rows_observations import CASES as OBSERVATIONS
from levine_policy_node.faults.rows_people import CASES as PEOPLE
from levine_policy_node.faults.rows_processes import CASES as PROCESSES

CASES: tuple[Case, ...] = (
    *COMMANDS,
    *CAMERAS,
    *OBSERVATIONS,
    *PROCESSES,
    *CODE,
    *PEOPLE,
    *CONTROLLER,
    *GRAPH,
)

TESTED: Mapping[int, tuple[str, str]] = {
    14: ("test/runtime/test_hand_policy.py", "the way into a singular pose is slowed"),
    15: ("test/unit/test_contact.py", "a measured effort beyond the limit pauses a policy"),
    20: ("test/ros/test_camera_ingest.py", "frames of another camera are refused"),
    40: ("test/runtime/test_mcap_writer.py", "writing ends and the process goes on"),
    42: ("test/runtime/test_mcap_writer.py", "kill -9 leaves a readable prefix"),
    44: ("test/runtime/test_hostile_bundles.py", "each is refused before ONNX Runtime sees it"),
    58: ("test/ros/test_supervisor_watch.py", "every parameter is refused while it runs"),
    63: ("test/ros/test_supervisor_watch.py", "who is not heard, or cannot hear, is named"),
    65: ("test/ros/test_supervisor_watch.py", "the second ends with one line"),
    68: ("test/ros/test_supervisor_watch.py", "two controllers of one name refuse to arm"),
    69: ("test/ros/test_callers.py", "only nodes that `operators` names can ask for motion"),
}
"""Hazards that the test suite shows and this campaign does not run: where, and what is shown."""

NOT_COVERED: Mapping[int, str] = {
    37: "needs half an hour of real processes",
}
"""Hazards nobody shows yet, and why; this list must only become shorter."""


def find_case(name: str) -> Case:
    """The case of this name.

    Raises:
        UnknownNameError: If there is none.
    """
    for case in CASES:
        if case.name == name:
            return case
    raise UnknownNameError("case", name, name, [case.name for case in CASES])
