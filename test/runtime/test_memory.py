# SPDX-License-Identifier: Apache-2.0
"""What the interpreter keeps of what was freed is given back."""

from __future__ import annotations

import gc
import sys

from levine_policy_node.runtime.memory import collect_garbage


def test_tuples_that_were_freed_do_not_stay():
    collect_garbage()
    before = sys.getallocatedblocks()
    gc.disable()
    try:
        for size in (5, 9, 13):
            for _ in range(3000):
                tuple(number for number in range(size))
        collect_garbage()
    finally:
        gc.enable()
    assert sys.getallocatedblocks() - before < 500
