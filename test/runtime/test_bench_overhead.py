# SPDX-License-Identifier: Apache-2.0
"""`levine bench overhead`, with graphs small enough for a test; nothing here is about speed."""

from __future__ import annotations

import pytest

from levine_policy_node.bench import overhead
from levine_policy_node.bench.expert_graph import ExpertSize
from levine_policy_node.robot import load_robot


@pytest.mark.parametrize("loop", list(overhead.LOOPS))
def test_both_loops_are_measured_beside_bare_runs(loop):
    size = ExpertSize(16, 1, heads=2)
    measured = overhead.run_overhead(loop, size, 3, load_robot("sim_so101"))
    assert measured.pairs == 3
    assert measured.parameters > 3000
    assert measured.infer_ms > 0.0
    assert measured.bare_ms > 0.0
