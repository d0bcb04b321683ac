# SPDX-License-Identifier: Apache-2.0
"""Log a problem when it begins and when it ends, not in between."""

from __future__ import annotations

from collections.abc import Hashable

from rclpy.node import Node


class EdgeLog:
    """The state of one thing that can go wrong."""

    def __init__(self, node: Node, fine: str) -> None:
        self._logger = node.get_logger()
        self._fine = fine
        self._kind: Hashable = None
        self.text = ""

    def problem(self, kind: Hashable, text: str) -> None:
        """Note a problem; it is logged if its `kind` is not the present one."""
        if kind != self._kind:
            self._logger.warning(text)
        self._kind, self.text = kind, text

    def tell(self, problem: tuple[Hashable, str] | None) -> None:
        """Note the kind and text of a problem, or that there is none."""
        if problem is None:
            self.fine()
        else:
            self.problem(*problem)

    def fine(self) -> None:
        """Note that there is no problem; logged after a problem."""
        if self._kind is not None:
            self._logger.info(self._fine)
        self._kind, self.text = None, ""
