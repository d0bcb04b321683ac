# SPDX-License-Identifier: Apache-2.0
"""Works out in the executor's thread what follows a chunk, so that the loop's ticks stay short."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node

from levine_policy_node.core.acts import prepare_chunk
from levine_policy_node.core.supervision import Chunk, SupervisorOptions, SupervisorState
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import StampNs, seconds
from levine_policy_node.ros.clocks import steady_now

# A plan that takes effect this long after it is asked for is not waited for any longer.
_LONGEST_S = 0.3
# Of the time that the last preparation took. With more, a slow one would have the next join the
# chunk after the seam that the policy made for it, and that is what takes longest.
_ROOM = 1.3


class ChunkPreparation:
    """Prepares each chunk as it comes, and the newest one again when the loop asks.

    On a machine that is slow or busy a plan is late for the time it was made for. Each
    preparation therefore plans a little farther ahead than the last one took.
    """

    def __init__(
        self,
        node: Node,
        options: SupervisorOptions,
        state: Callable[[], SupervisorState],
        hand_in: Callable[[Chunk], None],
    ) -> None:
        """Add itself to the executor of `node`.

        Args:
            node: The supervisor's node.
            options: Of the supervisor.
            state: Of the last tick.
            hand_in: Takes a chunk that was prepared again.
        """
        self._options, self._state, self._hand_in = options, state, hand_in
        self._newest: Timeline[StampNs] | None = None
        self._took_s = 0.0
        self._asked = node.create_guard_condition(self._prepare_again)

    def prepare(self, chunk: Timeline[StampNs]) -> Chunk:
        """The chunk with the plan that follows it; in the executor's thread."""
        self._newest = chunk
        begin_ns = steady_now()
        planning_s = min(max(self._options.planning_s, _ROOM * self._took_s), _LONGEST_S)
        prepared = prepare_chunk(chunk, self._state(), begin_ns, self._options, planning_s)
        self._took_s = seconds(steady_now() - begin_ns)
        return prepared

    def ask_again(self) -> None:
        """Have the newest chunk prepared from the state of the last tick; from any thread."""
        self._asked.trigger()

    def _prepare_again(self) -> None:
        if self._newest is not None:
            self._hand_in(self.prepare(self._newest))
