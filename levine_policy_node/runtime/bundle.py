# SPDX-License-Identifier: Apache-2.0
"""A policy bundle: found, read once, verified, and checked against a robot."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from levine_policy_node.core.normalization import Normalization
from levine_policy_node.errors import BundleError
from levine_policy_node.resources import share_directory
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.bundle_document import read_document
from levine_policy_node.runtime.bundle_files import DOCUMENT, MAX_DOCUMENT_BYTES, BundleFiles
from levine_policy_node.runtime.bundle_schema import BundleDocument
from levine_policy_node.runtime.bundle_stats import read_normalizations


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A verified bundle.

    Attributes:
        path: The directory it was read from.
        document: The validated `policy.yaml`.
        sha256: Hash over the hashes of all its files, `policy.yaml` included.
        files: Verified bytes by file name; the directory is not read again.
        normalizations: By feature name; that of the actions is under `action`.
    """

    path: Path
    document: BundleDocument
    sha256: str
    files: Mapping[str, bytes]
    normalizations: Mapping[str, Normalization]

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

    def check_robot(self, robot: Robot) -> None:
        """Refuse a robot this policy was not made for.

        Raises:
            BundleError: With the first thing that does not fit.
        """
        document = self.document
        if document.robot != robot.model:
            raise self._error(
                "robot",
                f"was made for '{document.robot}', and robot file {robot.name} describes "
                f"'{robot.model}'",
                "Choose a policy or a robot file that fits the other",
            )
        known = robot.joint_names
        self._check_known("observations", "joint", document.observed_joints, known)
        self._check_known("action.parts", "joint", document.action.names, known)
        missing = [name for name in known if name not in document.action.names]
        if missing:
            raise self._error(
                "action.parts",
                f"no target for joint(s) {', '.join(missing)} of robot {robot.name}",
                "A policy must command every joint",
            )
        self._check_known("observations", "camera", self.cameras, tuple(robot.cameras))
        for camera in self.cameras if document.chunk.replan == "every" else ():
            if self.replan_s < 0.9 / robot.cameras[camera].rate_hz:
                raise self._error(
                    "chunk.execute",
                    f"asks for an observation every {self.replan_s:.4g} s, but camera {camera} of "
                    f"robot {robot.name} gives {robot.cameras[camera].rate_hz:g} Hz",
                    "Execute more rows per chunk or use a faster camera",
                )

    def _check_known(
        self, field: str, what: str, names: Iterable[str], known: tuple[str, ...]
    ) -> None:
        unknown = [name for name in names if name not in known]
        if unknown:
            raise self._error(
                field,
                f"{what}(s) {', '.join(unknown)} not in the robot file",
                f"It has {', '.join(known) or 'none'}",
            )

    def _error(self, field: str, problem: str, fix: str) -> BundleError:
        return BundleError(str(self.path / DOCUMENT), field, problem, fix)


def policies_directory() -> Path:
    """Directory of the bundles that ship with the package."""
    return share_directory() / "policies"


def shipped_policies() -> list[str]:
    """Names of the bundles that ship with the package."""
    return sorted(path.parent.name for path in policies_directory().glob(f"*/{DOCUMENT}"))


def load_bundle(name_or_path: str | Path) -> Bundle:
    """Find, read and verify a bundle, by the name of one that ships or by path.

    Raises:
        BundleError: If it is missing, malformed, or its files are not the ones it was made with.
    """
    directory = _find(str(name_or_path))
    files = BundleFiles(directory)
    raw = files.read(DOCUMENT, MAX_DOCUMENT_BYTES)
    source = str(files.directory / DOCUMENT)
    document = read_document(raw, source)
    stated = document.hashes()
    hashes = {DOCUMENT: hashlib.sha256(raw).hexdigest()}
    contents: dict[str, bytes] = {}
    for name in sorted({*stated, *_referenced(document)}):
        contents[name] = files.read(name)
        hashes[name] = hashlib.sha256(contents[name]).hexdigest()
        if name not in stated:
            fix = f"Add under files: '{name}: {hashes[name]}'"
            raise BundleError(source, f"files.{name}", "has no sha256", fix)
        if hashes[name] != stated[name]:
            raise BundleError(
                str(files.directory),
                name,
                f"was changed or damaged (sha256 is {hashes[name][:8]}…, {DOCUMENT} says "
                f"{stated[name][:8]}…)",
                "Copy the bundle again, or export it again",
            )
    manifest = "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))
    return Bundle(
        path=files.directory,
        document=document,
        sha256=hashlib.sha256(manifest.encode()).hexdigest(),
        files=contents,
        normalizations=read_normalizations(document, contents, source),
    )


def _referenced(document: BundleDocument) -> list[str]:
    stats = [document.stats] if isinstance(document.stats, str) else []
    graphs = [graph.file for graph in document.graphs.files.values()]
    return [*graphs, *stats, *document.tokenizers]


def _find(name_or_path: str) -> Path:
    if name_or_path and Path(name_or_path).name == name_or_path:
        shipped = policies_directory() / name_or_path
        if shipped.is_dir():
            return shipped
    path = Path(name_or_path)
    if name_or_path and path.is_dir():
        return path
    names = ", ".join(shipped_policies()) or "none"
    problem = "is a file" if path.is_file() else "there is no such bundle"
    raise BundleError(
        "policy",
        name_or_path,
        f"{problem}; give a directory with {DOCUMENT} or the name of a bundle that ships",
        f"Shipped: {names}",
    )
