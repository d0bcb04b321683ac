# SPDX-License-Identifier: Apache-2.0
"""The process graph: one description, checked before anything starts."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from levine_policy_node.errors import ConfigError
from levine_policy_node.graph import GraphOptions, build_graph

HOLD = str(Path(__file__).parent.parent / "data" / "bundles" / "hold")
DEMO = GraphOptions("sim_so101", HOLD, simulate=True, seed=4)


def executables(**changes):
    return [p.executable for p in build_graph(dataclasses.replace(DEMO, **changes))]


def test_the_demo_is_four_processes():
    assert executables() == [
        "sim_arm", "safety_supervisor", "policy_runtime", "intervention_recorder",
    ]  # fmt: skip


def test_choices():
    assert "sim_arm" not in executables(simulate=False)
    assert "intervention_recorder" not in executables(recorder=False)
    assert executables(operator="gamepad")[-1] == "operator"
    assert executables(split_runtime=True)[2:4] == ["camera_ingest", "policy_executor"]


def test_each_host_starts_its_part_and_needs_no_more():
    robot = {"only": ("safety_supervisor", "intervention_recorder"), "simulate": False}
    assert executables(**robot) == list(robot["only"])
    assert executables(**robot, policy="") == list(robot["only"])
    recorder = build_graph(dataclasses.replace(DEMO, **robot, policy=""))[1]
    assert "policy_name" not in recorder.parameters
    assert executables(only=("policy_runtime",)) == ["policy_runtime"]


def test_the_recorder_may_die_without_ending_the_graph():
    assert [p.executable for p in build_graph(DEMO) if not p.essential] == [
        "intervention_recorder"
    ]


@pytest.mark.parametrize(
    ("simulate", "recorder", "kept"),
    [(True, True, True), (False, True, True), (False, False, True), (True, False, False)],
)
def test_stops_of_an_arm_are_always_kept(simulate, recorder, kept):
    options = dataclasses.replace(
        DEMO, simulate=simulate, recorder=recorder, recordings=Path("elsewhere")
    )
    (supervisor,) = (p for p in build_graph(options) if p.executable == "safety_supervisor")
    expected = str(Path("elsewhere/stops").resolve()) if kept else ""
    assert supervisor.parameters["black_box_root"] == expected


def test_arguments_parse_back_to_the_same_values():
    options = dataclasses.replace(
        DEMO, namespace="/lab/", overrides={"sim_arm": {"view_fps": 15.0, "seed": 9}}
    )
    arm = build_graph(options)[0]
    arguments = arm.ros_arguments(options)
    values = dict(a.split(":=", 1) for a in arguments if ":=" in a)
    assert values["__ns"] == "/lab"
    assert yaml.safe_load(values["view_fps"]) == 15.0
    assert yaml.safe_load(values["seed"]) == 9
    assert yaml.safe_load(values["robot"]).endswith("sim_so101.yaml")


def test_every_parameter_file_exists():
    for split in (False, True):
        for process in build_graph(dataclasses.replace(DEMO, split_runtime=split)):
            assert all(path.is_file() for path in process.parameter_files)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"robot": "nobody"}, "nobody"),
        ({"policy": "nothing"}, "nothing"),
        ({"log_level": "loud"}, "loud"),
        ({"only": ("policy_executor",)}, "policy_executor"),
        ({"operator": "keyboard"}, "terminal of its own"),
        ({"policy": ""}, "policy: is not given"),
        ({"policy": "", "only": ("policy_runtime",)}, "policy: is not given"),
    ],
)
def test_a_bad_choice_is_refused_before_anything_starts(changes, named):
    with pytest.raises(ConfigError, match=named):
        build_graph(dataclasses.replace(DEMO, **changes))
