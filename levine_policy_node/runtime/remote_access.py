# SPDX-License-Identifier: Apache-2.0
"""Which servers a robot may ask: its choice, not a bundle's.

Who serves a policy sees the cameras and moves the arm.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from levine_policy_node.errors import BundleError
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.bundle_files import DOCUMENT
from levine_policy_node.runtime.remote_schema import RemoteSpec

KEY_VARIABLE = "LEVINE_REMOTE_API_KEY"
"""Environment variable with what a server wants to see; never logged."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""This computer, which may always be asked (an SSH tunnel begins here, too)."""


@dataclass(frozen=True, slots=True)
class RemoteAccess:
    """What a robot allows.

    Attributes:
        hosts: Names or addresses that may be asked beside this computer, as bundles write them.
    """

    hosts: tuple[str, ...] = ()

    @staticmethod
    def listed(text: str) -> RemoteAccess:
        """From hosts in one text, separated by commas."""
        hosts = (host.strip() for host in text.split(","))
        return RemoteAccess(tuple(host for host in hosts if host))

    def check(self, bundle: Bundle) -> None:
        """Refuse a bundle whose server is not allowed.

        Raises:
            BundleError: If it is not, or the key would be sent for everyone to read.
        """
        spec = bundle.document.remote
        if spec is None:
            return
        where = str(bundle.path / DOCUMENT)
        allowed = {*LOOPBACK, *(host.lower() for host in self.hosts)}
        if spec.host not in allowed:
            raise BundleError(
                where,
                "remote.url",
                f"host {spec.host} may not be asked; it would see the cameras and move the arm",
                "Allow it with the parameter remote_hosts (--remote-host), or open an SSH tunnel",
            )
        if self._key and not spec.secure and spec.host not in LOOPBACK:
            raise BundleError(
                where,
                "remote.url",
                f"{KEY_VARIABLE} is set and would be sent unencrypted to {spec.host}",
                "Use wss://, open an SSH tunnel, or unset it",
            )

    def headers(self, spec: RemoteSpec) -> dict[str, str]:
        """What is added to the request, as openpi's client does; only for a server that passed."""
        private = spec.secure or spec.host in LOOPBACK
        return {"Authorization": f"Api-Key {self._key}"} if self._key and private else {}

    @property
    def _key(self) -> str:
        return os.environ.get(KEY_VARIABLE, "").strip()
