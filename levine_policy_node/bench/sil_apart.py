# SPDX-License-Identifier: Apache-2.0
"""Trials in a process of their own.

The middleware looks at the interfaces of a process once: one that has been in a graph on this host
does not find another in a network namespace any more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from levine_policy_node.bench.sil_cases import CannotRunHereError, Trial
from levine_policy_node.parentage import as_parent
from levine_policy_node.ros.rollout import RolloutError

MODULE = "levine_policy_node.bench.sil_faults"
_END_S = 30.0


class Apart:
    """Runs the trials of one case in a child, one after another."""

    def __init__(self, name: str, robot: str, policy: str) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", MODULE, name, robot, policy],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **as_parent()},
        )

    def trial(self, seed: int) -> Trial:
        """As `SilSession.trial`.

        Raises:
            CannotRunHereError: If this machine does not permit what the case needs.
            RolloutError: If the child has ended.
        """
        if self._child.stdin is None or self._child.stdout is None:
            raise RolloutError("the process of the trials has no pipes")
        self._child.stdin.write(f"{seed}\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise RolloutError("the process of the trials ended")
        answer = json.loads(line)
        if answer["skipped"]:
            raise CannotRunHereError(answer["skipped"])
        return Trial(answer["reaction_ms"], answer["problem"], answer["figures"])

    def close(self) -> None:
        """Let the child end its graph."""
        try:
            self._child.communicate(timeout=_END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
