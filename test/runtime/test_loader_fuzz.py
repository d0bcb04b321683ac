# SPDX-License-Identifier: Apache-2.0
"""Whatever lies in a bundle: only `BundleError` comes out, and nothing outside is opened."""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import yaml
from bundle_factory import document, ramp_model, write_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as save_safetensors

from levine_policy_node.errors import BundleError
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.onnx_domains import check_graph
from levine_policy_node.runtime.trust import Trust

QUICK = settings(
    max_examples=70,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
SECRET = "levine_secret"
opened: list[str] | None = None


def _audit(event: str, arguments: tuple) -> None:
    if opened is not None and event in {"open", "os.listdir", "os.scandir", "os.open"}:
        opened.append(str(arguments[0]))


sys.addaudithook(_audit)


@contextmanager
def watched(directory: Path):
    """Fail if a path outside of `directory` is opened; files are opened relative to it."""
    global opened  # noqa: PLW0603
    opened = []
    try:
        yield opened
        paths = list(opened)
    finally:
        opened = None
    top = str(directory.resolve())
    for path in paths:
        if path.isdigit() or "site-packages" in path or "__pycache__" in path:
            continue  # a descriptor; a module that is imported
        # Names are opened one folder at a time, below a descriptor of the bundle.
        inside = path == top or path.startswith(top + "/")
        plain = "/" not in path and path not in {"", ".", ".."}
        assert inside or plain, path


def try_to_load(directory: Path, trust: Trust | None = None) -> None:
    with watched(directory):
        try:
            bundle = load_bundle(directory, trust)
            for name, content in bundle.files.items():
                if name.endswith(".onnx"):
                    check_graph(content, name, bundle.files)
        except BundleError as error:
            message = str(error)
            assert len(message.splitlines()) == 1
            assert len(message) < 1200
            assert SECRET not in message
            message.encode()


NAMES = st.sampled_from(
    [
        "policy.onnx",
        "../outside",
        "/etc/passwd",
        "sub/policy.onnx",
        "sub/../../outside",
        "link",
        "hard",
        "folder_link/outside",
        "fifo",
        ".",
        "sub",
        "policy.yaml",
        "model.sig",
        "./policy.onnx",
        "stats.safetensors",
        "\0",
        "x" * 300,
    ]
) | st.text(max_size=12)


def paths(node, prefix=()):
    yield prefix
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from paths(value, (*prefix, key))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | NAMES | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.integers(), inner, max_size=3)
    ),
    max_leaves=5,
)


def make_hostile(folder: Path) -> Path:
    """A good bundle with links to a secret beside it."""
    directory = write_bundle(folder / "bundle", files={"w.bin": b"w"})
    (folder / "outside").write_text(SECRET)
    (directory / "sub").mkdir()
    (directory / "sub" / "policy.onnx").write_bytes(ramp_model())
    (directory / "link").symlink_to(folder / "outside")
    (directory / "hard").hardlink_to(folder / "outside")
    (directory / "folder_link").symlink_to(folder)
    os.mkfifo(directory / "fifo")
    return directory


@contextmanager
def hostile():
    folder = Path(tempfile.mkdtemp(prefix="fuzz_"))
    try:
        yield make_hostile(folder)
    finally:
        shutil.rmtree(folder)


@QUICK
@given(st.data())
def test_any_document_reads_nothing_outside(data):
    described = {**document(), "files": {"policy.onnx": "0" * 64}}
    described = copy.deepcopy(described)
    for _ in range(data.draw(st.integers(1, 3))):
        *parents, last = data.draw(st.sampled_from([p for p in paths(described) if p]))
        target = described
        for key in parents:
            target = target[key]
        target[last] = data.draw(JUNK)
    if data.draw(st.booleans()):
        described["graphs"] = {"step": data.draw(NAMES)}
    if data.draw(st.booleans()):
        described["stats"] = data.draw(NAMES)
    trust = Trust(data.draw(st.sampled_from(["off", "checksums"])))
    with hostile() as directory:
        (directory / "policy.yaml").write_text(yaml.safe_dump(described), errors="ignore")
        try_to_load(directory, trust)


@QUICK
@given(
    st.binary(max_size=300), st.sampled_from(["policy.yaml", "policy.onnx", "stats.safetensors"])
)
def test_any_bytes_in_any_file_read_nothing_outside(content, name):
    with hostile() as directory:
        stats = save_safetensors({})
        described = document(stats="stats.safetensors")
        files = {"policy.onnx": ramp_model(), "stats.safetensors": stats, name: content}
        described["files"] = {
            file: hashlib.sha256(data).hexdigest()
            for file, data in files.items()
            if file != "policy.yaml"
        }
        (directory / "policy.yaml").write_text(yaml.safe_dump(described))
        for file, data in files.items():
            if file != "policy.yaml" or name == "policy.yaml":
                (directory / file).write_bytes(data)
        try_to_load(directory)


WORDS = [*list("&*[]{}:-,?|>!%@`#~\n\t\"' a1"), "&a", "*a", "- ", ": ", "<<:", "1:1", "0x1", "!!"]


@QUICK
@given(st.lists(st.sampled_from(WORDS), max_size=40))
def test_any_yaml_reads_nothing_outside(words):
    with hostile() as directory:
        (directory / "policy.yaml").write_text("".join(words))
        try_to_load(directory)


def test_the_watch_sees_what_is_outside(tmp_path):
    directory = make_hostile(tmp_path)
    try:
        with watched(directory):
            (tmp_path / "outside").read_bytes()
    except AssertionError:
        return
    raise AssertionError("a read outside was not seen")
