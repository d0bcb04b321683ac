# SPDX-License-Identifier: Apache-2.0
"""Fuzz what reads bundles, guided by coverage: documents, dumps, ONNX files, whole directories.

Needs `atheris` (`pip install -e .[fuzz]`). Arguments are libFuzzer's, for example
`-max_total_time=60`. Any exception but `BundleError` ends it, and so does a file that is opened
outside of the bundle.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["levine_policy_node", "yaml"]):
    from levine_policy_node.errors import BundleError
    from levine_policy_node.runtime.bundle import load_bundle
    from levine_policy_node.runtime.bundle_document import read_document
    from levine_policy_node.runtime.importers.fields import read_yaml
    from levine_policy_node.runtime.onnx_domains import check_graph
    from levine_policy_node.runtime.trust import Trust

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "policies" / "so101_flow"
DIRECTORY = Path(tempfile.mkdtemp(prefix="fuzz_bundle_"))
OFF = Trust("off")


class Outside(BaseException):
    """A file outside of the bundle was opened."""


def audit(event: str, arguments: tuple[object, ...]) -> None:
    """Stop when a path other than the bundle, or a name inside of it, is opened while loading."""
    if not Watch.on or event != "open":
        return
    path = str(arguments[0])
    if ("/" in path and not path.startswith(str(DIRECTORY))) or path == "..":
        raise Outside(path)


class Watch:
    """Whether a bundle is being loaded."""

    on = False


def in_directory(name: str) -> Callable[[bytes], None]:
    """Load a bundle in which one file is what the fuzzer made."""

    def load(data: bytes) -> None:
        (DIRECTORY / name).write_bytes(data)
        Watch.on = True
        try:
            load_bundle(DIRECTORY, OFF)
        finally:
            Watch.on = False
            (DIRECTORY / name).write_bytes((SHIPPED / name).read_bytes())

    return load


TARGETS: tuple[Callable[[bytes], object], ...] = (
    lambda data: read_document(data, "policy.yaml"),
    lambda data: read_yaml(data, "env.yaml"),
    lambda data: check_graph(data, "policy.onnx", {"w.bin": b"0123"}),
    in_directory("policy.yaml"),
    in_directory("stats.safetensors"),
)


def one_input(data: bytes) -> None:
    """The first byte chooses what reads the others."""
    if not data:
        return
    try:
        TARGETS[data[0] % len(TARGETS)](data[1:])
    except BundleError as error:
        message = str(error)
        if len(message.splitlines()) != 1 or len(message) > 1500:
            raise RuntimeError(f"not one line: {message!r}") from error
        message.encode()


def main() -> None:
    """Begin with the bundle that ships."""
    for path in SHIPPED.iterdir():
        (DIRECTORY / path.name).write_bytes(path.read_bytes())
    corpus = Path(tempfile.mkdtemp(prefix="fuzz_corpus_"))
    seeds = [(n, (SHIPPED / "policy.yaml").read_bytes()) for n in (0, 1, 3)]
    seeds += [(2, (ROOT / "test/data/bundles/hold/policy.onnx").read_bytes())]
    seeds += [(4, (SHIPPED / "stats.safetensors").read_bytes())]
    for number, content in seeds:
        seed = bytes([number]) + content
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    sys.addaudithook(audit)
    atheris.Setup(
        [sys.argv[0], "-max_len=8192", "-timeout=20", *sys.argv[1:], str(corpus)], one_input
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
