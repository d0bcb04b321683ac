# SPDX-License-Identifier: Apache-2.0
"""Who may call a service: a request does not say who sent it, the graph says who can have."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.node import Node


class Callers:
    """The nodes that may ask for motion.

    A name is no proof: this keeps out what calls by mistake, as a script on the wrong domain does;
    only keys keep out who means it (docs/security.md).
    """

    def __init__(self, node: Node, permitted: Sequence[str]) -> None:
        """Remember who may.

        Args:
            node: Which has the services.
            permitted: Names of nodes, without namespace; empty: any.
        """
        self._node = node
        self._permitted = frozenset(permitted)

    def stranger(self, service: str) -> str:
        """Why a call of `service` cannot be trusted, or "".

        In the executor's thread: it asks the graph about every node, which takes a few ms.
        """
        if not self._permitted:
            return ""
        topic = self._node.resolve_service_name(service)
        callers = self._with_client(topic)
        strangers = sorted({name for name in callers if name not in self._permitted})
        unknown = self._node.count_clients(service) - len(callers)
        if not strangers and unknown <= 0:
            return ""
        who = ", ".join(strangers) or f"{unknown} of whom the graph does not say who they are"
        may = ", ".join(sorted(self._permitted))
        return f"{who} could have called {topic}, and only {may} may (parameter operators)"

    def _with_client(self, topic: str) -> list[str]:
        """Names of the nodes that have a client of the service, one for each node."""
        return [
            name
            for name, namespace in self._node.get_node_names_and_namespaces()
            if topic in self._clients_of(name, namespace)
        ]

    def _clients_of(self, name: str, namespace: str) -> list[str]:
        try:
            found = self._node.get_client_names_and_types_by_node(name, namespace)
        except RuntimeError:
            # It went since it was listed (rclpy's NodeNameNonExistentError is one, too).
            return []
        return [service for service, _ in found]
