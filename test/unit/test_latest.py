# SPDX-License-Identifier: Apache-2.0
"""Latest: the newest value wins, nobody waits."""

from levine_policy_node.core.latest import Latest


def test_newest_wins_and_take_empties():
    box = Latest[int]()
    assert box.get() is None
    box.put(1)
    box.put(2)
    assert box.get() == 2
    assert box.take() == 2
    assert box.take() is None
    assert box.count == 2
