# SPDX-License-Identifier: Apache-2.0
"""What vouches for a bundle: nothing, its checksums, or a signature."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from bundle_factory import document, write_bundle

from levine_policy_node.cli.main import main
from levine_policy_node.errors import BundleError, ConfigError, SystemDependencyError
from levine_policy_node.runtime import trust_signature
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.trust import Trust

OFF = Trust("off")


def bare(directory: Path) -> Path:
    """A bundle that states no hash."""
    return write_bundle(directory, {**document(), "files": {}})


def damage(directory: Path) -> None:
    path = directory / "policy.onnx"
    path.write_bytes(path.read_bytes().replace(b"action", b"aktion"))


def test_off_compares_nothing(tmp_path):
    assert load_bundle(bare(tmp_path / "bare"), OFF).name == "ramp"
    directory = write_bundle(tmp_path / "edited")
    before = load_bundle(directory)
    damage(directory)
    assert load_bundle(directory, OFF).sha256 != before.sha256


def test_off_follows_no_links(tmp_path):
    directory = bare(tmp_path / "bare")
    (directory / "policy.onnx").rename(tmp_path / "elsewhere")
    (directory / "policy.onnx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="symbolic link"):
        load_bundle(directory, OFF)


def test_checksums_are_the_default(tmp_path):
    with pytest.raises(BundleError, match="has no sha256"):
        load_bundle(bare(tmp_path / "bare"))
    directory = write_bundle(tmp_path / "edited")
    damage(directory)
    with pytest.raises(BundleError, match="was changed or damaged"):
        load_bundle(directory)


@pytest.mark.parametrize("wrong", [("signature", None), ("off", Path("x")), ("maybe", None)])
def test_options_that_do_not_belong_together_are_refused(wrong):
    with pytest.raises(ConfigError, match="trust"):
        Trust(*wrong)


def test_an_unsigned_bundle_is_refused(tmp_path):
    directory = write_bundle(tmp_path / "ramp")
    with pytest.raises(BundleError, match=r"model\.sig: is missing"):
        load_bundle(directory, Trust("signature", tmp_path / "key.pub"))


def test_without_the_package_a_signature_cannot_be_checked(tmp_path, monkeypatch):
    directory = write_bundle(tmp_path / "ramp")
    (directory / "model.sig").write_text("{}")

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(trust_signature.importlib, "import_module", missing)
    with pytest.raises(SystemDependencyError, match=r"levine_policy_node\[signing\]"):
        load_bundle(directory, Trust("signature", tmp_path / "key.pub"))


def test_check_takes_the_options(tmp_path, capsys):
    directory = str(bare(tmp_path / "bare"))
    command = ["check", directory, "--robot", "sim_so101", "--no-trial"]
    assert main(command) == 2
    assert main([*command, "--trust", "off"]) == 0
    assert main([*command, "--trust", "signature"]) == 2
    assert main([*command, "--trust", "off", "--max-mib", "0"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3


class Signer:
    """A pair of keys, and bundles signed with it."""

    def __init__(self, folder: Path, name: str) -> None:
        ec = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ec")
        pytest.importorskip("model_signing.signing")
        from cryptography.hazmat.primitives import serialization as ser

        private = ec.generate_private_key(ec.SECP256R1())
        self.private, self.public = folder / f"{name}.key", folder / f"{name}.pub"
        kind, none = ser.PrivateFormat.PKCS8, ser.NoEncryption()
        self.private.write_bytes(private.private_bytes(ser.Encoding.PEM, kind, none))
        form = ser.PublicFormat.SubjectPublicKeyInfo
        self.public.write_bytes(private.public_key().public_bytes(ser.Encoding.PEM, form))

    def sign(self, directory: Path, ignored: tuple[str, ...] = ()):
        from model_signing import hashing, signing

        paths = [Path(name) for name in ("model.sig", *ignored)]
        config = hashing.Config().set_ignored_paths(paths=paths)
        signer = signing.Config().use_elliptic_key_signer(private_key=self.private)
        signer.set_hashing_config(config).sign(directory, directory / "model.sig")
        return directory

    @property
    def trust(self) -> Trust:
        return Trust("signature", self.public)


@pytest.fixture
def signer(tmp_path):
    return Signer(tmp_path, "ours")


def refusal(directory: Path, trust: Trust) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(directory, trust)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_signed_bundle_is_taken(tmp_path, signer):
    directory = write_bundle(tmp_path / "ramp", files={"README.md": b"hello"})
    (directory / "doc").mkdir()
    (directory / "doc" / "notes.txt").write_text("signed, and not used")
    signer.sign(directory)
    assert load_bundle(directory, signer.trust).name == "ramp"
    assert load_bundle(directory).name == "ramp"


def test_a_signature_of_somebody_else_is_refused(tmp_path, signer):
    directory = Signer(tmp_path, "theirs").sign(write_bundle(tmp_path / "ramp"))
    assert "does not verify" in refusal(directory, signer.trust)


def test_files_changed_with_their_checksums_are_refused(tmp_path, signer):
    directory = signer.sign(write_bundle(tmp_path / "ramp"))
    path = directory / "policy.yaml"
    path.write_text(path.read_text().replace("rate: 10", "rate: 20"))
    assert load_bundle(directory).document.rate == 20
    assert "does not verify" in refusal(directory, signer.trust)


def test_a_file_that_was_added_is_refused(tmp_path, signer):
    directory = signer.sign(write_bundle(tmp_path / "ramp"))
    (directory / "more.txt").write_text("x")
    assert "Extra files" in refusal(directory, signer.trust)


def test_a_file_that_the_signature_leaves_out_is_refused(tmp_path, signer):
    directory = signer.sign(write_bundle(tmp_path / "ramp"), ignored=("policy.onnx",))
    assert "policy.onnx: is not covered" in refusal(directory, signer.trust)


def test_a_link_in_a_signed_bundle_is_refused(tmp_path, signer):
    directory = signer.sign(write_bundle(tmp_path / "ramp"))
    (directory / "link").symlink_to("/etc/passwd")
    assert "symbolic link" in refusal(directory, signer.trust)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"null", b"\xff", b'{"dsseEnvelope": 1}'])
def test_a_signature_that_is_none_is_refused(tmp_path, signer, content):
    directory = write_bundle(tmp_path / "ramp")
    (directory / "model.sig").write_bytes(content)
    assert "does not verify" in refusal(directory, signer.trust)


def test_a_signature_is_one_of_its_envelope(tmp_path, signer):
    """The payload of one signature with the signature of another."""
    one = signer.sign(write_bundle(tmp_path / "one"))
    other = signer.sign(write_bundle(tmp_path / "other", document(rate=11)))
    mixed = json.loads((one / "model.sig").read_text())
    payload = json.loads((other / "model.sig").read_text())["dsseEnvelope"]["payload"]
    mixed["dsseEnvelope"]["payload"] = payload
    (other / "model.sig").write_text(json.dumps(mixed))
    assert "does not verify" in refusal(other, signer.trust)


def test_a_key_that_is_none_is_refused(tmp_path, signer):
    directory = signer.sign(write_bundle(tmp_path / "ramp"))
    assert "no such file" in refusal(directory, Trust("signature", tmp_path / "nowhere"))
    (tmp_path / "empty.pub").write_text("")
    assert "does not verify" in refusal(directory, Trust("signature", tmp_path / "empty.pub"))


def test_a_signed_bundle_still_needs_its_checksums(tmp_path, signer):
    directory = signer.sign(bare(tmp_path / "bare"))
    assert yaml.safe_load((directory / "policy.yaml").read_text())["files"] == {}
    assert "has no sha256" in refusal(directory, signer.trust)
