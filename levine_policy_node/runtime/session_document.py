# SPDX-License-Identifier: Apache-2.0
"""`session.json`: where and with what a recorder ran; and the pseudonyms of operators.

A name is stored as a salted hash (HMAC-SHA-256). The salt stays on this computer, outside of the
recordings: whoever has both can test a guess, whoever has the recordings alone cannot.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import platform
import secrets
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from levine_policy_node.errors import RecordingError
from levine_policy_node.resources import PACKAGE

SESSION_FORMAT = "levine_session"
SESSION_VERSION = 2
_DIGITS = 12
_SYNCHRONISED = Path("/run/systemd/timesync/synchronized")


def software() -> str:
    """Name and version of this package, and the commit where it runs from a checkout."""
    try:
        found = f"{PACKAGE} {version(PACKAGE)}"
    except PackageNotFoundError:
        found = f"{PACKAGE} (not installed)"
    commit = _commit(Path(__file__).resolve().parents[2] / ".git")
    return f"{found} {commit[:12]}" if commit else found


def _commit(git: Path) -> str:
    """The commit a checkout is at, "" where there is none or it cannot be told."""
    try:
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head
        return (git / head.removeprefix("ref: ")).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def session_document(
    session: str, start_ns: int, robot: Mapping[str, object], middleware: str
) -> dict[str, object]:
    """Describe a session before anything moves.

    Args:
        session: Its identifier.
        start_ns: When it began, on the ROS clock [ns].
        robot: What the robot file says of itself.
        middleware: ROS middleware in use.
    """
    return {
        "format": SESSION_FORMAT,
        "version": SESSION_VERSION,
        "session": session,
        "start_ns": start_ns,
        "robot": dict(robot),
        "software": software(),
        "ros": {
            "distro": os.environ.get("ROS_DISTRO", ""),
            "rmw": middleware,
            "domain": os.environ.get("ROS_DOMAIN_ID", ""),
        },
        "host": {
            "name": platform.node(),
            "system": platform.platform(),
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            # Whether this computer's clock follows a time server, where systemd says so.
            "clock_synchronised": True if _SYNCHRONISED.exists() else None,
        },
    }


def salt_file() -> Path:
    """Where the salt is kept unless the user says otherwise."""
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "levine" / "operator_salt"


def pseudonym(name: str, salt: Path) -> str:
    """The pseudonym of a person, the same for as long as the salt is; "" for no name.

    Args:
        name: What the person is called.
        salt: File of the salt; created if it is not there.

    Raises:
        RecordingError: If the salt can be neither read nor created.
    """
    if not name:
        return ""
    try:
        key = _salt(salt)
    except OSError as error:
        raise RecordingError(
            f"{salt}: the salt for operators' pseudonyms cannot be read or created "
            f"({error.strerror}). Make it readable, or leave `operator` empty"
        ) from error
    digest = hmac.new(key, name.strip().casefold().encode(), hashlib.sha256).hexdigest()
    return f"op-{digest[:_DIGITS]}"


def _salt(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        # Only the first of two that create it at once succeeds, so both read the same.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return path.read_bytes()
    try:
        os.write(descriptor, secrets.token_hex(32).encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return path.read_bytes()
