# SPDX-License-Identifier: Apache-2.0
"""What a bundle may say of its server, and what it may not."""

from __future__ import annotations

import pytest
import yaml
from bundle_factory import JOINTS, document

from levine_policy_node.cli.main import main
from levine_policy_node.errors import BundleError
from levine_policy_node.runtime.bundle_document import read_document

STATE = {"kind": "state/joint/position", "names": list(JOINTS)}
IMAGE = {"kind": "sensor/image", "camera": "front", "image": {"size": [8, 8]}}


def read(**changes):
    changes = {
        "graphs": None,
        "remote": {"url": "ws://localhost:8000"},
        "decoder": {"type": "direct", "output": "actions"},
        **changes,
    }
    if changes["remote"] is None:
        del changes["remote"]
    return read_document(yaml.safe_dump(document(**changes)).encode(), "policy.yaml")


def observed(**observations):
    return {"observations": {"state": STATE, **observations}}


def test_a_server_in_place_of_graphs():
    read_ = read()
    assert read_.remote.url == "ws://localhost:8000"
    assert not read_.graphs.files
    assert read_.rtc is None
    assert not read_.reads_task
    assert read(**observed(prompt={"kind": "command/text"})).reads_task


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"graphs": {"step": "policy.onnx"}}, "remove graphs"),
        ({"remote": None, "observations": {"state": STATE}}, "graphs.step is missing"),
        ({"feedback": {"h_in": "h_out"}}, "remove feedback"),
        ({"decoder": {"type": "flow"}}, "{type: direct, output: actions}"),
        ({"decoder": {"type": "direct", "index": -1}}, "{type: direct, output: actions}"),
        ({"chunk": {"size": 8, "rtc": {"mode": "guided"}}}, "chunk.rtc is not for this policy"),
        (observed(noise={"kind": "policy/noise"}), "observations.noise: policy/noise is made"),
        (
            observed(task={"kind": "command/language", "text": {"tokenizer": "tokenizer.json"}}),
            "command/language is made for a graph",
        ),
        (observed(front={**IMAGE, "image": {"size": [8, 8], "mask": "m"}}), "a mask is made for"),
        (observed(front={**STATE, "tensor": "state"}), "go to one place of the message"),
        (
            {**observed(front={**IMAGE, "tensor": "state.front"}), "remote__separator": "."},
            "go to one place of the message",
        ),
        (
            {**observed(front={**IMAGE, "tensor": "a..b"}), "remote__separator": "."},
            "leaves a part empty",
        ),
        (
            {
                **observed(words={"kind": "command/text"}),
                "remote": None,
                "graphs": {"step": "policy.onnx"},
            },
            "command/text is for a server",
        ),
        ({"remote": {"url": "ws://localhost", "api_key": "x"}}, "not a field of this version"),
        ({"remote": {"url": "ws://localhost", "timeout_s": 0.0}}, "remote.timeout_s"),
        ({"remote": {"url": "ws://localhost", "metadata": {"a": {"b": 1}}}}, "remote.metadata.a"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, problem):
    with pytest.raises(BundleError) as caught:
        read(**changes)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://localhost:8000", "give ws://host:port"),
        ("localhost:8000", "give ws://host:port"),
        ("ws://", "give ws://host:port"),
        ("ws://localhost:99999", "give ws://host:port"),
        ("ws://local host", "give ws://host:port"),
        ("ws://localhost/\r\nX: y", "give ws://host:port"),
        ("ws://[::1", "give ws://host:port"),
        ("ws://läbor:8000", "give ws://host:port"),
        ("ws://user:secret@localhost", "secrets do not belong in a bundle"),
        ("ws://localhost?key=secret", "secrets do not belong in a bundle"),
    ],
)
def test_addresses_that_are_none_are_refused(url, problem):
    with pytest.raises(BundleError, match=r"remote\.url") as caught:
        read(remote={"url": url})
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "url", ["ws://gpu1.lab:8000/policy", "wss://[2001:db8::1]", "ws://10.0.0.7"]
)
def test_addresses(url):
    assert read(remote={"url": url}).remote.url == url


def test_check_prints_what_a_server_is_told_and_asks_nobody_it_may_not(tmp_path, capsys):
    described = document(
        graphs=None,
        remote={"url": "ws://gpu1.lab:8000"},
        decoder={"type": "direct", "output": "actions"},
    )
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(described))
    assert main(["check", str(tmp_path), "--robot", "sim_so101"]) != 0
    assert "host gpu1.lab may not be asked" in capsys.readouterr().err
