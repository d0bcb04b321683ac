# SPDX-License-Identifier: Apache-2.0
"""What must vouch for the files of a bundle before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from levine_policy_node.errors import BundleError, ConfigError
from levine_policy_node.runtime.bundle_files import DOCUMENT, MAX_BUNDLE_BYTES

TrustLevel = Literal["off", "checksums", "signature"]
LEVELS: tuple[TrustLevel, ...] = get_args(TrustLevel)


@dataclass(frozen=True, slots=True)
class Trust:
    """What must vouch for a bundle.

    Attributes:
        level: `off`: nothing, for a policy that is being written. `checksums`: the sha256 of
            every file must stand in `policy.yaml`, which tells damage and mix-ups, not malice.
            `signature`: besides, `model.sig` must have been made by the
            owner of `key`.
        key: Public key (PEM) of the signer; needed for `signature`.
        max_bytes: Largest sum of the files [byte].

    Raises:
        ConfigError: If `signature` has no key, or something else has one.
    """

    level: TrustLevel = "checksums"
    key: Path | None = None
    max_bytes: int = MAX_BUNDLE_BYTES

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ConfigError(
                "trust", "", f"'{self.level}' is not known", f"Known: {', '.join(LEVELS)}"
            )
        if (self.level == "signature") != (self.key is not None):
            raise ConfigError(
                "trust", "", "trust: signature and the path of a public key belong together"
            )


def check_stated(
    directory: str, name: str, found: str, stated: Mapping[str, str], trust: Trust
) -> None:
    """Compare the hash of a file with what `policy.yaml` states.

    Args:
        directory: The bundle, for messages.
        name: The file.
        found: Its sha256.
        stated: What `policy.yaml` states, by file.
        trust: `off` compares nothing.

    Raises:
        BundleError: If there is no hash, or another.
    """
    if trust.level == "off":
        return
    if name not in stated:
        fix = f"Add under files: '{name}: {found}'"
        raise BundleError(f"{directory}/{DOCUMENT}", f"files.{name}", "has no sha256", fix)
    if found != stated[name]:
        raise BundleError(
            directory,
            name,
            f"was changed or damaged (sha256 is {found[:8]}…, {DOCUMENT} says "
            f"{stated[name][:8]}…)",
            "Copy the bundle again, or export it again",
        )
