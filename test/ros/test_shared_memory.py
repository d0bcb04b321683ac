# SPDX-License-Identifier: Apache-2.0
"""Shared memory of the middleware, which whoever joins the graph holds up, is told of."""

from __future__ import annotations

from pathlib import Path

import pytest
from supervisor_bench import PARAMETERS

from levine_policy_node.ros.shared_memory import shared_memory_warning
from levine_policy_node.transports import PROFILE_VARIABLES, fastdds_profile, without_shared_memory

AS_IT_COMES = {
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    **dict.fromkeys(PROFILE_VARIABLES, ""),
}
PROFILE = fastdds_profile("fastdds_loopback_udp")


@pytest.mark.parametrize(
    ("environment", "told"),
    [(AS_IT_COMES, True), (PROFILE, False), (without_shared_memory({}), False)],
    ids=["as it comes", "profile", "as launched"],
)
def test_a_supervisor_says_whether_others_can_hold_it_up(ros, environment, told):
    process = ros.start(
        "safety_supervisor",
        params_file=PARAMETERS,
        parameters={"robot": "sim_so101"},
        environment=environment,
    )
    ros.spin_until(lambda: "INIT -> DISARMED" in process.output(), what="a supervisor")
    assert ("shares memory" in process.output()) is told


def test_what_the_user_has_chosen_stays():
    assert without_shared_memory({"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"}) == {}
    assert without_shared_memory(PROFILE) == {}
    assert without_shared_memory({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}) == {}
    [profile] = without_shared_memory({}).values()
    assert Path(profile).is_file()


def test_where_the_system_does_not_tell_nothing_is_said(tmp_path: Path):
    assert shared_memory_warning(tmp_path / "nothing") == ""
