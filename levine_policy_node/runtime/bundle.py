# SPDX-License-Identifier: Apache-2.0
"""A policy bundle: found, read once, verified, and checked against a robot."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from levine_policy_node.core.normalization import Normalization
from levine_policy_node.errors import BundleError
from levine_policy_node.resources import share_directory
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.bundle_document import read_document, validate_document
from levine_policy_node.runtime.bundle_files import (
    DOCUMENT,
    MAX_BUNDLE_BYTES,
    MAX_DOCUMENT_BYTES,
    BundleFiles,
    is_directory,
    is_file,
    printable,
)
from levine_policy_node.runtime.bundle_schema import BundleDocument
from levine_policy_node.runtime.bundle_stats import read_normalizations
from levine_policy_node.runtime.importers.detect import import_draft
from levine_policy_node.runtime.importers.draft import Draft, gaps
from levine_policy_node.runtime.robot_fit import check_fit
from levine_policy_node.runtime.trust import Trust, check_stated
from levine_policy_node.runtime.trust_signature import check_signature


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A verified bundle.

    Attributes:
        path: The directory it was read from.
        document: The validated `policy.yaml`.
        sha256: Hash over the hashes of all its files, `policy.yaml` included.
        files: Verified bytes by file name; the directory is not read again.
        normalizations: By feature name; that of the actions is under `action`.
        origin: How the document was read, where it is not a `policy.yaml`.
        notes: What was exported and is not in the document.
        location: What to load to get it again: the directory, or the one file that was given.
    """

    path: Path
    document: BundleDocument
    sha256: str
    files: Mapping[str, bytes]
    normalizations: Mapping[str, Normalization]
    origin: str = ""
    notes: tuple[str, ...] = ()
    location: Path = Path()

    @property
    def name(self) -> str:
        """Name of the policy."""
        return self.document.name

    @property
    def hash8(self) -> str:
        """First eight hex digits of `sha256`, as in source tags."""
        return self.sha256[:8]

    @property
    def source(self) -> str:
        """Source tag without epoch, `policy:<name>@<hash8>`."""
        return f"policy:{self.name}@{self.hash8}"

    @property
    def cameras(self) -> tuple[str, ...]:
        """Cameras the policy sees, once each, in document order."""
        return tuple(dict.fromkeys(self.document.cameras.values()))

    @property
    def replan_s(self) -> float:
        """Time between two observations [s]: the rows executed before the next one."""
        return self.document.chunk.execute / self.document.rate

    def for_robot(self, robot: Robot) -> Bundle:
        """The same for this robot: optional images of cameras it does not have are absent.

        Raises:
            BundleError: If the policy was not made for the robot.
        """
        self.check_robot(robot)
        return replace(self, document=self.document.for_cameras(robot.cameras))

    def check_robot(self, robot: Robot) -> None:
        """Refuse a robot this policy was not made for.

        Raises:
            BundleError: With the first thing that does not fit.
        """
        check_fit(self.document, robot, str(self.path / DOCUMENT))


def policies_directory() -> Path:
    """Directory of the bundles that ship with the package."""
    return share_directory() / "policies"


def shipped_policies() -> list[str]:
    """Names of the bundles that ship with the package."""
    return sorted(path.parent.name for path in policies_directory().glob(f"*/{DOCUMENT}"))


def load_bundle(name_or_path: str | Path, trust: Trust | None = None) -> Bundle:
    """Find, read and verify a bundle, by the name of one that ships or by path.

    What others exported is read, too, if it says everything; see `importers.detect`.

    Args:
        name_or_path: The bundle.
        trust: What must vouch for it; checksums unless given.

    Raises:
        BundleError: If it is missing, malformed, or its files are not the ones it was made with.
    """
    trust = trust or Trust()
    files, only = find_bundle(name_or_path, trust.max_bytes)
    if only is not None or not files.has(DOCUMENT):
        return _imported(files, only, trust)
    raw = files.read(DOCUMENT, MAX_DOCUMENT_BYTES)
    source = str(files.directory / DOCUMENT)
    document = read_document(raw, source)
    stated = document.hashes()
    hashes = {DOCUMENT: hashlib.sha256(raw).hexdigest()}
    contents: dict[str, bytes] = {}
    for name in sorted({*stated, *_referenced(document)}):
        contents[name] = files.read(name)
        hashes[name] = hashlib.sha256(contents[name]).hexdigest()
        check_stated(str(files.directory), name, hashes[name], stated, trust)
    if trust.key is not None:
        check_signature(files, {DOCUMENT: raw, **contents}, trust.key)
    return Bundle(
        path=files.directory,
        document=document,
        sha256=_hash(hashes),
        files=contents,
        normalizations=read_normalizations(document, contents, source),
        location=files.directory,
    )


def draft_bundle(files: BundleFiles, only: str | None) -> Draft:
    """What somebody exported, as a document that may have gaps.

    Raises:
        BundleError: If nothing was exported there, or it cannot be represented.
    """
    draft = import_draft(files, only)
    if draft is None:
        raise BundleError(
            str(files.directory), DOCUMENT, "is missing, and nothing else says what the files are"
        )
    return draft


def _imported(files: BundleFiles, only: str | None, trust: Trust) -> Bundle:
    draft = draft_bundle(files, only)
    missing = [field for field, _ in gaps(draft.document)]
    if missing:
        raise BundleError(
            draft.source,
            "",
            f"read as {printable(draft.origin)}, which does not say "
            f"{printable(', '.join(missing))}",
            f"Run 'levine check {files.directory / (only or '')} --write' and fill in {DOCUMENT}",
        )
    if trust.key is not None:
        check_signature(files, draft.read, trust.key)
    document = validate_document(draft.document, draft.source)
    return Bundle(
        path=files.directory,
        document=document,
        sha256=_hash({n: hashlib.sha256(data).hexdigest() for n, data in draft.read.items()}),
        files=draft.files,
        normalizations=read_normalizations(document, draft.files, draft.source),
        origin=draft.origin,
        notes=draft.notes,
        location=files.directory / (only or ""),
    )


def _hash(hashes: Mapping[str, str]) -> str:
    manifest = "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))
    return hashlib.sha256(manifest.encode()).hexdigest()


def _referenced(document: BundleDocument) -> list[str]:
    stats = [document.stats] if isinstance(document.stats, str) else []
    graphs = [graph.file for graph in document.graphs.files]
    return [*graphs, *stats, *document.tokenizers]


def find_bundle(
    bundle: str | Path, max_bytes: int = MAX_BUNDLE_BYTES
) -> tuple[BundleFiles, str | None]:
    """The files of a bundle, and the one ONNX file that was given instead of a directory.

    Raises:
        BundleError: If there is neither.
    """
    name_or_path = str(bundle)
    if name_or_path and Path(name_or_path).name == name_or_path:
        shipped = policies_directory() / name_or_path
        if is_directory(shipped):
            return BundleFiles(shipped, max_bytes), None
    path = Path(name_or_path)
    if name_or_path and is_directory(path):
        return BundleFiles(path, max_bytes), None
    if path.suffix == ".onnx" and is_file(path):
        return BundleFiles(path.parent, max_bytes), path.name
    names = ", ".join(shipped_policies()) or "none"
    problem = "is a file" if is_file(path) else "there is no such bundle"
    raise BundleError(
        "policy",
        printable(name_or_path),
        f"{problem}; give a directory with {DOCUMENT} or an export, an ONNX file, or the name of "
        "a bundle that ships",
        f"Shipped: {names}",
    )
