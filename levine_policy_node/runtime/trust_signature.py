# SPDX-License-Identifier: Apache-2.0
"""Signatures of bundles, with the package `model-signing` (OpenSSF model signing format).

The signature lies in the bundle as `model.sig` and covers every other file of it. What is verified
is a private copy of the bytes that were read, so that they are also the bytes that are used.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib
import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from levine_policy_node.errors import BundleError, SystemDependencyError
from levine_policy_node.runtime.bundle_files import BundleFiles

SIGNATURE = "model.sig"
_MAX_SIGNATURE_BYTES = 4 * 1024**2


def check_signature(files: BundleFiles, used: Mapping[str, bytes], key: Path) -> None:
    """Verify that the owner of a key signed the files of a bundle.

    Args:
        files: The bundle; whatever else lies in it is read, too, since the signature covers it.
        used: The bytes that will be used, by file name.
        key: The signer's public key, PEM.

    Raises:
        BundleError: If there is no signature, it is not the key's, or it is for other files.
        SystemDependencyError: If `model-signing` is not installed.
    """
    directory = str(files.directory)
    if not files.has(SIGNATURE):
        raise BundleError(
            directory, SIGNATURE, "is missing; trust: signature takes signed bundles only"
        )
    signature = files.read(SIGNATURE, _MAX_SIGNATURE_BYTES)
    others = {name: files.read(name) for name in files.tree() if name not in {*used, SIGNATURE}}
    with tempfile.TemporaryDirectory(prefix="levine_bundle_") as scratch:
        copy = Path(scratch) / "bundle"
        for name, content in {**others, **used}.items():
            path = copy / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        signed = Path(scratch) / SIGNATURE
        signed.write_bytes(signature)
        _verify(copy, signed, key, directory)
    # The signer chooses what the signature covers; it must be all that is used.
    covered = _covered(signature, directory)
    for name, content in sorted(used.items()):
        digest = hashlib.sha256(content).hexdigest()
        if name not in covered:
            raise BundleError(directory, name, f"is not covered by {SIGNATURE}")
        if covered[name] not in {digest, ""}:
            raise BundleError(directory, name, f"is not the file that {SIGNATURE} is for")


def _verify(copy: Path, signed: Path, key: Path, directory: str) -> None:
    try:
        verifying: Any = importlib.import_module("model_signing.verifying")
        invalid: Any = importlib.import_module("cryptography.exceptions")
    except ImportError as error:
        raise SystemDependencyError(
            "trust: signature needs the package model-signing; install levine_policy_node[signing]"
        ) from error
    if not key.is_file():
        raise BundleError("trust_key", str(key), "there is no such file", "Give a PEM public key")
    # Its errors share no base; a signature that is no such thing gives any of these.
    errors = (ValueError, LookupError, TypeError, AttributeError, OSError, RecursionError)
    try:
        # The package prints advice.
        with contextlib.redirect_stdout(io.StringIO()):
            verifying.Config().use_elliptic_key_verifier(public_key=key).verify(copy, signed)
    except (*errors, invalid.InvalidSignature, invalid.UnsupportedAlgorithm) as error:
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise BundleError(
            directory, SIGNATURE, f"does not verify with {key.name} ({detail})"
        ) from error


def _covered(signature: bytes, directory: str) -> dict[str, str]:
    """The sha256 of every file in a verified signature; "" where it has hashes of another kind."""
    try:
        envelope: Any = json.loads(signature)["dsseEnvelope"]
        predicate: Any = json.loads(base64.b64decode(envelope["payload"]))["predicate"]
        covered: dict[str, str] = {}
        for resource in predicate["resources"]:
            known = resource["algorithm"] == "sha256"
            covered[str(resource["name"])] = str(resource["digest"]) if known else ""
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(directory, SIGNATURE, "does not say which files it covers") from error
    return covered
