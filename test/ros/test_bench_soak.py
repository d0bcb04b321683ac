# SPDX-License-Identifier: Apache-2.0
"""How a soak run is judged."""

from __future__ import annotations

import json
import os
import random

import pytest

from levine_policy_node.bench.calm_time import Counted
from levine_policy_node.bench.process_growth import Growth, Sample, growth, sample
from levine_policy_node.bench.soak import Lateness, Soak
from levine_policy_node.faults.sil_results import read_sil_results


def run_of(seconds=1200, mb_per_h=0.0, descriptors=lambda _: 20, spikes=False):
    rng = random.Random(1)
    return [
        Sample(
            float(t),
            100.0 + mb_per_h * t / 3600.0 + (50.0 if spikes and rng.random() < 0.1 else 0.0),
            descriptors(t),
            8,
            5,
        )
        for t in range(seconds)
    ]


@pytest.mark.parametrize("mb_per_h", [0.0, 0.5, 3.0, -2.0])
def test_memory_slope_is_found_beneath_spikes(mb_per_h):
    found = growth("x", run_of(mb_per_h=mb_per_h, spikes=True))
    assert found.rss_mb_per_h == pytest.approx(mb_per_h, abs=0.05)
    assert found.within == (mb_per_h < 1.0)


def test_files_that_come_and_go_are_no_leak_and_one_that_stays_is():
    coming_and_going = run_of(descriptors=lambda t: 20 + t % 7)
    assert growth("x", coming_and_going).descriptors == 0
    leaking = run_of(descriptors=lambda t: 20 + t // 400)
    assert growth("x", leaking).descriptors > 0
    assert not growth("x", leaking).within


def test_a_run_too_short_to_tell_does_not_pass():
    assert not growth("x", run_of(seconds=3)).within


def soak(**changed):
    fine = {
        "minutes": 30.0, "warm_up_s": 600.0, "episodes": 90, "stops": (),
        "stops_held_up": ("OVERRUN",), "missed_ticks": Counted(3, 9), "violations": Counted(0, 2),
        "first_violations": (), "idle": Lateness(0.1, 2.0, 3.0, 12.0),
        "saturated": Lateness(0.2, 19.0, 30.0, 14.0),
        "growths": (Growth("x", 100.0, 0.2, 0, 0, 0),),
    }  # fmt: skip
    return Soak(**{**fine, **changed})


@pytest.mark.parametrize(
    "changed",
    [
        {"stops": ("POLICY_LOST",)},
        {"violations": Counted(1, 0)},
        {"idle": Lateness(2.1, 3.0, 3.0, 12.0)},
        {"idle": Lateness(0.1, 10.1, 11.0, 12.0)},
        {"saturated": Lateness(0.1, 20.1, 21.0, 12.0)},
        {"growths": (Growth("x", 100.0, 1.2, 0, 0, 0),)},
        {"growths": (Growth("x", 100.0, 0.0, 0, 1, 0),)},
        {"growths": (Growth("x", 100.0, 0.0, 0, 0, 1),)},
    ],
)
def test_every_bar_counts(changed):
    assert soak().passed
    assert not soak(**changed).passed


def test_a_process_is_sampled():
    found = sample(os.getpid(), 1.0)
    assert found.rss_mb > 10.0
    assert found.descriptors >= 3
    assert found.threads >= 1


def test_it_is_a_case_of_the_campaign(tmp_path):
    file = tmp_path / "soak.json"
    for stops, failed in (((), 0), (("POLICY_LOST",), 1)):
        file.write_text(json.dumps(soak(stops=stops).results()))
        (case,) = read_sil_results(file)
        assert (case.name, case.rows, case.trials, case.failed) == ("soak", (37,), 1, failed)
