# SPDX-License-Identifier: Apache-2.0
"""A short campaign, replays, and that every hazard is either shown or named as not shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from levine_policy_node.cli.main import main
from levine_policy_node.dst.controller import ControllerChoice
from levine_policy_node.errors import ConfigError
from levine_policy_node.faults.campaign import combinations, run_campaign, run_trial
from levine_policy_node.faults.case import simulate
from levine_policy_node.faults.hazards import HAZARDS
from levine_policy_node.faults.library import CASES, NOT_COVERED, TESTED, find_case
from levine_policy_node.faults.report import covered_rows, document, markdown
from levine_policy_node.faults.robots import shipped_options
from levine_policy_node.faults.sil_results import read_sil_results

ROOT = Path(__file__).parent.parent.parent
# May only fall.
MOST_NOT_COVERED = 11


def test_every_hazard_is_shown_or_named_as_not_shown():
    assert sorted(HAZARDS) == list(range(1, 71))
    print(f"not shown yet ({len(NOT_COVERED)}):")  # noqa: T201
    for row, why in NOT_COVERED.items():
        print(f"  {row}. {HAZARDS[row].text}: {why}")  # noqa: T201
    assert covered_rows() | set(NOT_COVERED) == set(HAZARDS)
    assert not covered_rows() & set(NOT_COVERED)
    assert len(NOT_COVERED) <= MOST_NOT_COVERED
    assert {case.row for case in CASES} <= {0, *HAZARDS}


def test_cases_have_names_of_their_own_and_something_to_run():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    for case in CASES:
        assert (case.inject is None) != (case.direct is None), case.name
        assert combinations(case)


def test_tests_that_stand_in_for_a_case_exist():
    for file, what in TESTED.values():
        assert (ROOT / file).is_file()
        assert what


# A window that was on its way when the controller's clock was set back had the arm go on for ten
# seconds.
@pytest.mark.parametrize(("name", "seed"), [("clock_back", 3), ("clock_back", 4)])
def test_an_arm_whose_clock_was_set_back_comes_to_rest(name, seed):
    _, outcome, _ = run_trial(find_case(name), seed=seed)
    assert outcome.problems == ()


# One trial of every fourth, of another robot, controller and phase each; `make faults` runs all.
@pytest.mark.parametrize("case", CASES[::4], ids=lambda case: case.name)
def test_case(case):
    where, outcome, _ = run_trial(case, seed=len(case.name))
    command = f"levine faults --replay {case.name} --seed {len(case.name)}"
    assert outcome.problems == (), f"{where}; {command}"


def test_a_seed_replays_bit_for_bit():
    case = find_case("takeover")
    first, again, other = (run_trial(case, seed)[1].digest for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_a_failure_names_what_replays_it(capsys):
    case = replace(find_case("policy_killed"), limit_ms=1.0)
    campaign = run_campaign([case], trials=1, first_seed=3)
    found = document(campaign)
    assert found["failed"] == 1
    assert "levine faults --replay policy_killed --seed 3" in str(found["cases"])
    assert main(["faults", "--replay", "policy_killed", "--seed", "3"]) == 0
    assert "POLICY_LOST" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("policy_killed", {"policy_timeout_s": 0.5}),
        ("clock_back", {"clock_tolerance_s": 60.0}),
        ("let_go", {"target_timeout_s": 9.0}),
    ],
)
def test_a_supervisor_without_that_watchdog_fails_its_case(name, changes):
    case = find_case(name)
    options = replace(shipped_options("so101"), **changes)
    choice = ControllerChoice("forward_command", "jazzy")
    _, outcome = simulate(case, options, choice, case.phases[-1], seed=1)
    assert outcome.problems


def test_limits_of_half_the_arm_are_seen_to_be_broken():
    """The judge knows the limits that count, not those the supervisor was given."""
    options = shipped_options("so101")
    slower = replace(options, limits=options.limits.scaled(0.2))
    case = replace(find_case("one_nan"), adapt=lambda _: options)
    _, outcome = simulate(case, slower, ControllerChoice(), "policy", seed=1)
    assert any("beyond its limit" in problem for problem in outcome.problems)


def test_trials_with_real_processes_are_added(tmp_path):
    known = {
        "name": "soak", "rows": [37], "injection": "half an hour under load", "trials": 1,
        "failed": 0, "reaction_ms_p99": None, "reaction_ms_max": None, "limit_ms": None,
    }  # fmt: skip
    file = tmp_path / "sil.json"
    file.write_text(json.dumps({"cases": [known]}))
    campaign, sil = run_campaign([], trials=0), read_sil_results(file)
    entries = {e["row"]: e for e in document(campaign, sil)["cases"]}
    assert entries[37]["covered"]
    assert entries[37]["where"] == "sil"
    assert document(campaign, sil)["rows_covered"] == document(campaign)["rows_covered"] + 1
    assert "half an hour under load" in markdown(campaign, sil)


def test_a_file_that_is_none_is_one_line(tmp_path):
    file = tmp_path / "sil.json"
    file.write_text("[]")
    with pytest.raises(ConfigError, match="levine bench sil --json"):
        read_sil_results(file)


def test_the_document_lists_every_row():
    found = document(run_campaign([find_case("writer_blocked")], trials=2))
    rows = {entry["row"] for entry in found["cases"]}
    assert {41, *NOT_COVERED, *TESTED} <= rows
    assert np.isfinite(found["simulated_per_second"])
    missing = [entry for entry in found["cases"] if not entry["covered"]]
    assert all(entry["note"] for entry in missing)
    assert len(missing) == len(NOT_COVERED)
