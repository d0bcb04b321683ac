# SPDX-License-Identifier: Apache-2.0
"""Policies that are told what to do: in words and by an embedding."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from bundle_factory import JOINTS, write_bundle
from decoder_bundles import WIDTH, language_model, state_document
from echo_bundle import write_echo
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto
from pydantic import TypeAdapter
from safetensors.numpy import save

from levine_policy_node.core.observation import Observation
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import BundleError, ObservationError
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.language_schema import template_fields
from levine_policy_node.runtime.observation_schema import ObservationSpec
from levine_policy_node.runtime.onnx_policy import OnnxPolicy
from levine_policy_node.runtime.text_inputs import bins_text

DOCS = Path(__file__).parents[2] / "docs" / "bundles.md"
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
STATE = {"kind": "state/joint/position", "names": list(JOINTS)}
IMAGE = {"size": [2, 2], "interpolation": "area", "range": [-1, 1]}
WORDS = ["[PAD]", "[UNK]", "pick", "up", "the", "cube", "Task", "State", ":", ",", ";", "put"]
VOCABULARY = {word: i for i, word in enumerate([*WORDS, *map(str, range(256))])}


def tokenizer() -> bytes:
    """A `tokenizer.json` that knows a few words and numbers."""
    return json.dumps(
        {
            "version": "1.0",
            "truncation": {
                "direction": "Right",
                "max_length": 2,
                "strategy": "LongestFirst",
                "stride": 0,
            },
            "padding": None,
            "added_tokens": [],
            "normalizer": None,
            "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": None,
            "decoder": None,
            "model": {"type": "WordLevel", "vocab": VOCABULARY, "unk_token": "[UNK]"},
        }
    ).encode()


ROBOT = load_robot("sim_so101")


def told(task: str = "pick up the cube", value: float = 0.0):
    return Observation(StampNs(0), np.full(6, value), task=task)


@pytest.fixture
def make(load_written):
    def policy(observations, inputs, files=None, count=None, **changes):
        return load_written(
            lambda folder: write_echo(folder, observations, inputs, files, count, **changes), ROBOT
        )

    return policy


def echoed(policy: OnnxPolicy, observation: Observation) -> np.ndarray:
    policy.reset()
    return policy.infer(observation).positions.ravel()


def language(**text):
    return {"kind": "command/language", "text": {"tokenizer": "tokenizer.json", **text}}


def ids(words: str) -> list[int]:
    return [VOCABULARY[word] for word in words.split()]


def test_the_task_becomes_padded_tokens_and_a_mask(make):
    pytest.importorskip("tokenizers")
    policy = make(
        {"lang": language(max_length=8, mask="lang_mask")},
        {"lang": ([1, 8], INT64), "lang_mask": ([1, 8], BOOL)},
        {"tokenizer.json": tokenizer()},
    )
    values = echoed(policy, told())
    np.testing.assert_array_equal(values[:8], [*ids("pick up the cube"), 0, 0, 0, 0])
    np.testing.assert_array_equal(values[8:16], [1, 1, 1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(echoed(policy, told("put cube"))[:3], [*ids("put cube"), 0])


def test_without_a_task_there_is_no_inference_and_a_long_one_is_not_cut(make):
    pytest.importorskip("tokenizers")
    policy = make(
        {"lang": language(max_length=3)},
        {"lang": ([1, 3], INT64)},
        {"tokenizer.json": tokenizer()},
    )
    with pytest.raises(ObservationError, match="waits for a task; publish it on the topic 'task'"):
        policy.infer(told("  "))
    with pytest.raises(ObservationError, match="too long: 4 tokens, and the policy takes 3"):
        policy.infer(told())


def test_the_state_goes_into_the_prompt_as_bins(make):
    """pi0.5: the graph has no input for the state, which is normalised first."""
    pytest.importorskip("tokenizers")
    policy = make(
        {
            "observation.state": {**STATE, "normalize": "min_max"},
            "lang": language(template="Task: {task}, State: {state:bins256};", max_length=20),
        },
        {"lang": ([1, 20], INT64)},
        {"tokenizer.json": tokenizer()},
        stats={"observation.state": {"min": [-2.0] * 6, "max": [2.0] * 6}},
    )
    values = echoed(policy, told(value=1.0))
    expected = "Task : pick up the cube , State : 192 192 192 192 192 192 ;"
    np.testing.assert_array_equal(values[:16], ids(expected))


def test_openpi_cleans_the_task(make):
    pytest.importorskip("tokenizers")
    policy = make(
        {"lang": language(max_length=6, clean=True)},
        {"lang": ([1, 6], INT64)},
        {"tokenizer.json": tokenizer()},
    )
    values = echoed(policy, told(" pick_up\nthe cube "))
    np.testing.assert_array_equal(values[:4], ids("pick up the cube"))


def test_openvla_writes_the_task_in_small_letters(make):
    pytest.importorskip("tokenizers")
    policy = make(
        {"lang": language(max_length=6, lower=True)},
        {"lang": ([1, 6], INT64)},
        {"tokenizer.json": tokenizer()},
    )
    values = echoed(policy, told("Pick UP the cube"))
    np.testing.assert_array_equal(values[:4], ids("pick up the cube"))


@given(st.lists(st.floats(-1.5, 1.5, allow_subnormal=False), min_size=1, max_size=8))
def test_bins_are_those_of_openpi(values):
    expected = np.digitize(np.array(values), np.linspace(-1, 1, 256 + 1)[:-1]) - 1
    assert bins_text(np.array(values), 256) == " ".join(map(str, expected))


def test_an_embedding_is_looked_up_by_the_task(make):
    table = {"pick up the cube": np.arange(4, dtype=np.float32), "put": np.ones(4, np.float32)}
    policy = make(
        {"e": {"kind": "command/embedding", "file": "tasks.safetensors", "dim": 4}},
        {"e": ([1, 4], FLOAT)},
        {"tasks.safetensors": save(table)},
    )
    np.testing.assert_array_equal(echoed(policy, told())[:4], [0, 1, 2, 3])
    np.testing.assert_array_equal(echoed(policy, told(" put "))[:4], 1)
    with pytest.raises(ObservationError) as caught:
        policy.infer(told("dance"))
    assert "does not know the task 'dance'" in str(caught.value)
    assert "'pick up the cube', 'put'" in str(caught.value)


EIGHT = {"lang": ([1, 8], INT64)}
FOUR = {"e": ([1, 4], FLOAT)}
EMBEDDING = {"kind": "command/embedding", "file": "tasks.safetensors"}
REFUSED = {
    "a field that is none": (
        {"lang": language(template="{who}", max_length=8)},
        EIGHT,
        "'{who}' is no field",
    ),
    "an attribute": (
        {"lang": language(template="{task.__class__}", max_length=8)},
        EIGHT,
        "is no field",
    ),
    "a conversion": ({"lang": language(template="{task!r}", max_length=8)}, EIGHT, "is no field"),
    "an open brace": ({"lang": language(template="{task", max_length=8)}, EIGHT, "is no template"),
    "a state that is not observed": (
        {"lang": language(template="{state:bins256}", max_length=8)},
        EIGHT,
        "names no observation",
    ),
    "a mask no graph has": (
        {"lang": language(max_length=8, mask="m")},
        EIGHT,
        "no graph has an input m",
    ),
    "another length": (
        {"lang": language(max_length=7)},
        EIGHT,
        "input lang: is int64 of shape [1, 8]",
    ),
    "a mask twice": (
        {
            "lang": language(max_length=8, mask="m"),
            "s": {**STATE, "history": {"steps": 2, "mask": "m"}},
        },
        EIGHT,
        "mask m is already that of something else",
    ),
    "a table of another kind": (
        {"e": {**EMBEDDING, "file": "tasks.npz"}},
        FOUR,
        "give a .safetensors file",
    ),
    "another dimension": ({"e": {**EMBEDDING, "dim": 5}}, FOUR, "expects finite numbers of shape"),
    "a table that is none": (
        {"e": {**EMBEDDING, "file": "bad.safetensors"}},
        FOUR,
        "is not a safetensors file",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused_in_one_line(make, case):
    pytest.importorskip("tokenizers")
    observations, inputs, expected = REFUSED[case]
    files = {
        "tokenizer.json": tokenizer(),
        "tasks.safetensors": save({"put": np.ones(4, np.float32)}),
        "bad.safetensors": b"no",
    }
    with pytest.raises(BundleError) as caught:
        make(observations, inputs, files)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_tokenizer_is_refused(make):
    pytest.importorskip("tokenizers")
    with pytest.raises(BundleError, match="is not a tokenizer"):
        make({"lang": language(max_length=8)}, EIGHT, {"tokenizer.json": b"{}"})


def test_a_tokenizer_must_be_among_the_files(make):
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        make({"lang": language(max_length=8)}, EIGHT)


def test_fields_of_a_template():
    assert template_fields("a {{b}} {task} {state:bins64}") == (("task", 0), ("state", 64))


def test_the_task_is_the_prompt_of_generated_tokens(make, tmp_path):
    """OpenVLA: as many tokens as the task has, and the decoder goes on with them."""
    pytest.importorskip("tokenizers")
    decoder = {
        "type": "autoregressive",
        "tokens": WIDTH,
        "detokenize": {"type": "bins", "bins": 32, "value": "integers"},
    }
    described = state_document(decoder, chunk={"size": 1, "execute": 1})
    described["observations"]["input_ids"] = language(mask="attention_mask")
    files = {"tokenizer.json": tokenizer()}
    bundle = write_bundle(tmp_path / "tokens", described, language_model(), files)
    policy = OnnxPolicy(load_bundle(bundle), ROBOT)
    try:
        for task in ("pick up", "put the cube"):
            tokens = ids(task)
            for _ in range(WIDTH):
                tokens.append(sum(tokens) % 32)
            np.testing.assert_array_equal(policy.infer(told(task)).positions, [tokens[-WIDTH:]])
    finally:
        policy.close()


EXAMPLES = [
    yaml.safe_load(block)["observations"]
    for block in re.findall(r"```yaml\n(observations:.*?)```", DOCS.read_text(), flags=re.DOTALL)
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: next(iter(e)))
def test_every_example_of_the_documentation_is_understood(example):
    TypeAdapter(dict[str, ObservationSpec]).validate_python(example)
