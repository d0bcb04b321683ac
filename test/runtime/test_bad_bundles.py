# SPDX-License-Identifier: Apache-2.0
"""The bundles that `levine bench swap` offers are as bad as their names say."""

from __future__ import annotations

import random

import pytest

from levine_policy_node.bench.bad_bundles import BAD_BUNDLES, scaled
from levine_policy_node.errors import BundleError
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.bundle import load_bundle


@pytest.fixture
def good():
    return load_bundle("so101_pick_place").path


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["half-written", "corrupt", "wrong robot"])
def test_what_shows_in_the_files_does_not_verify(good, tmp_path, kind, seed):
    folder = BAD_BUNDLES[kind](good, tmp_path / "bad", random.Random(seed))
    with pytest.raises(BundleError):
        load_bundle(folder).check_robot(load_robot("sim_so101"))


@pytest.mark.parametrize("kind", ["wrong joint order", "degrees for radians"])
def test_what_shows_in_chunks_only_does_verify(good, tmp_path, kind):
    made = load_bundle(BAD_BUNDLES[kind](good, tmp_path / "bad", random.Random(0)))
    made.check_robot(load_robot("sim_so101"))
    before, after = (b.document.action.parts[0] for b in (load_bundle(good), made))
    assert before != after
    assert sorted(before.names) == sorted(after.names)


def test_a_scaled_copy_is_good(good, tmp_path):
    made = load_bundle(scaled(good, tmp_path / "more", 1.02))
    made.check_robot(load_robot("sim_so101"))
    assert made.name == "more"
