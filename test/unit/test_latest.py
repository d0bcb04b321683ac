# SPDX-License-Identifier: Apache-2.0
"""Latest: the newest value wins, nobody waits."""

import threading

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


def test_wait_take_wakes_on_put():
    box = Latest[str]()
    got = []
    reader = threading.Thread(target=lambda: got.append(box.wait_take(10.0)))
    reader.start()
    box.put("x")
    reader.join(10.0)
    assert got == ["x"]


def test_wait_take_times_out():
    assert Latest[int]().wait_take(0.01) is None
