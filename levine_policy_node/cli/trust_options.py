# SPDX-License-Identifier: Apache-2.0
"""Options that say what must vouch for a bundle, whether it is tried, and what it may ask."""

from __future__ import annotations

import argparse
from pathlib import Path

from levine_policy_node.runtime.bundle_files import MAX_BUNDLE_BYTES
from levine_policy_node.runtime.remote_access import RemoteAccess
from levine_policy_node.runtime.trust import LEVELS, Trust

_MIB = 1024**2


def add_trust_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `--trust` and `--trust-key`."""
    parser.add_argument(
        "--trust",
        choices=LEVELS,
        default="checksums",
        help="what must vouch for the bundle (checksums)",
    )
    parser.add_argument(
        "--trust-key", type=Path, metavar="PEM", help="public key of who signs, for signature"
    )


def add_trial_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `--no-trial` and `--max-mib`."""
    parser.add_argument(
        "--no-trial",
        action="store_true",
        help="load the bundle here at once, not in a process of its own first",
    )
    parser.add_argument(
        "--max-mib",
        type=int,
        default=MAX_BUNDLE_BYTES // _MIB,
        metavar="N",
        help="largest bundle, all files together (8192)",
    )


def add_remote_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `--remote-host`."""
    parser.add_argument(
        "--remote-host",
        action="append",
        default=[],
        metavar="HOST",
        help="host that may serve a policy beside this computer; may be given several times",
    )


def chosen_access(options: argparse.Namespace) -> RemoteAccess:
    """Which servers may be asked."""
    return RemoteAccess(tuple(options.remote_host))


def chosen_trust(options: argparse.Namespace) -> Trust:
    """What the user chose.

    Raises:
        ConfigError: If the two options do not belong together.
    """
    return Trust(options.trust, options.trust_key, options.max_mib * _MIB)
