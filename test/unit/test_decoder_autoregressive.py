# SPDX-License-Identifier: Apache-2.0
"""Generated actions: the same tokens as without a cache, and what OpenVLA, RT-2 and FAST mean."""

from __future__ import annotations

import numpy as np
import pytest
from decoder_golden import GOLDEN, TOLERANCE
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core.bin_values import BinValues, TokenNumbers
from levine_policy_node.core.decoders.autoregressive import AutoregressiveDecoder
from levine_policy_node.core.decoders.noise import Noise
from levine_policy_node.core.detokenizers import (
    BinDetokenizer,
    FastDetokenizer,
    TextDetokenizer,
)
from levine_policy_node.core.kv_cache import CacheEntry
from levine_policy_node.errors import InferenceError

LAYERS, HEADS, SIZE = 2, 2, 8
WEIGHTS = {name.removeprefix("language_"): GOLDEN[name] for name in GOLDEN if "language" in name}
PROMPT = GOLDEN["language_prompt"][None]
TOKENS = GOLDEN["language_tokens"].tolist()
CACHE = tuple(
    CacheEntry(
        f"past_key_values.{i}.{part}", f"present.{i}.{part}", (1, HEADS, 0, SIZE), "float32"
    )
    for i in range(LAYERS)
    for part in ("key", "value")
)


class Recorded:
    """A detokenizer that returns the tokens themselves."""

    def actions(self, tokens):
        return np.array([tokens], dtype=np.float64)


class Language:
    """The golden transformer with a cache; `encode` reads the prompt after `images` tokens."""

    def __init__(self, images=0, padding=0):
        self.images, self.padding, self.calls = images, padding, []

    def run(self, role, inputs):
        self.calls.append((role, dict(inputs)))
        empty = {entry.past: np.zeros(entry.shape, np.float32) for entry in CACHE}
        past = empty if role == "encode" else {**empty, **inputs}
        ids, places = inputs["input_ids"], inputs["position_ids"]
        cached = past[CACHE[0].past].shape[2]
        mask = inputs["attention_mask"]
        assert mask.shape[1] == cached + ids.shape[1]
        outputs = {}
        x = WEIGHTS["embedding"][ids[0]] + WEIGHTS["places"][places[0]]
        order = np.arange(cached + ids.shape[1])
        seen = (order[None] <= cached + np.arange(ids.shape[1])[:, None]) & (mask[0] == 1)
        for i in range(LAYERS):
            q, k, v = (
                (x @ WEIGHTS[f"{part}_{i}"]).reshape(-1, HEADS, SIZE).transpose(1, 0, 2)
                for part in "qkv"
            )
            k = np.concatenate([past[f"past_key_values.{i}.key"][0], k], axis=1)
            v = np.concatenate([past[f"past_key_values.{i}.value"][0], v], axis=1)
            scores = np.where(seen, q @ k.transpose(0, 2, 1) / np.sqrt(SIZE), -1e9)
            share = np.exp(scores - scores.max(axis=-1, keepdims=True))
            share /= share.sum(axis=-1, keepdims=True)
            x = np.tanh(x + (share @ v).transpose(1, 0, 2).reshape(len(x), -1) @ WEIGHTS[f"o_{i}"])
            outputs |= {f"present.{i}.key": k[None], f"present.{i}.value": v[None]}
        return {**outputs, "logits": (x @ WEIGHTS["head"])[None].astype(np.float32)}


def decoder(**changes):
    options = {"detokenizer": Recorded(), "count": 7, "cache": CACHE, "allowed": (16, 47)}
    return AutoregressiveDecoder(**{**options, **changes})


def generated(made, graphs, **inputs):
    return made.decode(graphs, {"input_ids": PROMPT, **inputs}, Noise(), None)[0].tolist()


@pytest.mark.parametrize("encode", [False, True])
def test_with_a_cache_the_tokens_are_those_of_seeing_everything_again(encode):
    graphs = Language()
    assert generated(decoder(encode=encode), graphs) == TOKENS
    roles = [role for role, _ in graphs.calls]
    assert roles == (["encode"] if encode else ["step"]) + ["step"] * 6
    assert [inputs["input_ids"].shape[1] for _, inputs in graphs.calls] == [5] + [1] * 6
    assert [inputs["attention_mask"].shape[1] for _, inputs in graphs.calls] == list(range(5, 12))
    assert [int(i["position_ids"][0, -1]) for _, i in graphs.calls] == list(range(4, 11))


def test_without_a_cache_the_graph_gets_everything_again():
    graphs = Language()
    assert generated(decoder(cache=()), graphs) == TOKENS
    assert [inputs["input_ids"].shape[1] for _, inputs in graphs.calls] == list(range(5, 12))


@pytest.mark.parametrize("encode", [False, True])
def test_a_padded_prompt_gives_the_same_tokens(encode):
    padded = np.concatenate([PROMPT, np.zeros((1, 3), dtype=np.int64)], axis=1)
    mask = np.array([[1] * 5 + [0] * 3])
    made = decoder(encode=encode)
    assert generated(made, Language(), input_ids=padded, attention_mask=mask) == TOKENS


def test_only_the_allowed_tokens_can_come():
    free = generated(decoder(allowed=None), Language())
    assert free != TOKENS
    assert min(free) < 16 <= min(TOKENS)


def test_a_stop_token_ends_the_actions_and_is_none_of_them():
    made = decoder(stop=TOKENS[4], count=7)
    assert generated(made, Language()) == TOKENS[:4]
    with pytest.raises(InferenceError, match="did not end within 3 tokens"):
        generated(decoder(stop=TOKENS[4], count=3), Language())


def test_given_tokens_are_seen_but_are_no_actions():
    assert generated(decoder(begin=tuple(TOKENS[:3]), count=4), Language()) == TOKENS[3:]


@pytest.mark.parametrize("ends", [True, False])
def test_the_prompt_ends_as_in_training(ends):
    end = int(PROMPT[0, -1])
    prompt = PROMPT if ends else PROMPT[:, :-1]
    assert generated(decoder(prompt_end=end), Language(), input_ids=prompt) == TOKENS


class Images(Language):
    """Like OpenVLA's: the cache has image tokens, which ids and mask do not."""

    def run(self, role, inputs):
        if role == "encode":
            ids = np.concatenate([inputs["input_ids"][:, :1], PROMPT[:, 1:3]], axis=1)
            rest = inputs["input_ids"][:, 1:]
            ids = np.concatenate([ids, rest], axis=1)
            more = np.ones_like(ids)
            places = np.arange(ids.shape[1])[None]
            inputs = {"input_ids": ids, "attention_mask": more, "position_ids": places}
        return super().run(role, inputs)


def test_tokens_that_images_put_into_the_cache_are_counted():
    short = np.concatenate([PROMPT[:, :1], PROMPT[:, 3:]], axis=1)
    assert generated(decoder(encode=True), Images(), input_ids=short) == TOKENS


def test_image_tokens_and_padding_are_ambiguous():
    mask = np.array([[1, 1, 0]])
    short = np.concatenate([PROMPT[:, :1], PROMPT[:, 3:]], axis=1)
    with pytest.raises(InferenceError, match="which of them are seen"):
        generated(decoder(encode=True), Images(), input_ids=short, attention_mask=mask)


def test_an_encoder_that_fills_past_names_is_understood_and_one_that_does_not_refused():
    class Past(Language):
        def run(self, role, inputs):
            outputs = super().run(role, inputs)
            if role != "encode":
                return outputs
            renamed = {entry.past: outputs[entry.present] for entry in CACHE}
            return {**renamed, "logits": outputs["logits"]}

    assert generated(decoder(encode=True), Past()) == TOKENS

    class Nothing(Language):
        def run(self, role, inputs):
            return {"logits": super().run(role, inputs)["logits"]}

    with pytest.raises(InferenceError, match=r"gives neither past_key_values\.0\.key nor"):
        generated(decoder(encode=True), Nothing())


def bins(rows, columns, value="centers"):
    low = -np.ones(columns)
    return BinValues(256, value, low, -low, np.zeros(columns, dtype=np.int64))


def test_openvlas_seven_tokens_are_an_action():
    made = BinDetokenizer(1, 7, bins(1, 7), TokenNumbers(31999, descending=True))
    known = dict(
        zip(GOLDEN["openvla_ids"].tolist(), GOLDEN["openvla_actions"].tolist(), strict=True)
    )
    tokens = [31744, 31745, 31800, 31871, 31872, 31998, 31999]
    np.testing.assert_allclose(made.actions(tokens), [[known[t] for t in tokens]], atol=1e-15)
    with pytest.raises(InferenceError, match="3 tokens instead of 7"):
        made.actions(tokens[:3])


def text(spelled):
    choices = np.array([2, 0, 0])
    values = BinValues(256, "edges", np.array([0, -1, -1]), np.ones(3), choices)
    return TextDetokenizer(1, 3, values, lambda tokens: spelled)


def test_rt2_writes_integers():
    np.testing.assert_allclose(
        text(" 1 128 0\n").actions([7]), [[1.0, 128 / 255 * 2 - 1, -1.0]], atol=1e-12
    )


@pytest.mark.parametrize("spelled", ["1 128", "1 2 3 4", "1 two 3", "1 -2 3", "1 2 3.5", ""])
def test_what_is_no_action_is_refused(spelled):
    with pytest.raises(InferenceError):
        text(spelled).actions([7])


def fast(spelled):
    return FastDetokenizer(16, 6, 10.0, -200, TokenNumbers(1000, descending=True), spelled)


def test_fast_is_the_inverse_cosine_transform_of_its_coefficients():
    numbers = GOLDEN["fast_numbers"].reshape(-1)

    def spelled(ids):
        assert ids == [3, 1]
        return "".join(chr(number + 200) for number in numbers)

    found = fast(spelled).actions([997, 999])
    np.testing.assert_allclose(found, GOLDEN["fast_actions"], atol=TOLERANCE)


def test_fast_never_fills_up_what_is_missing():
    with pytest.raises(InferenceError, match="95 FAST coefficients instead of 96"):
        fast(lambda ids: "x" * 95).actions([1000])
    with pytest.raises(InferenceError, match="no whole characters"):
        fast(lambda ids: "x" * 95 + "\ufffd").actions([1000])
    with pytest.raises(InferenceError, match="no FAST token"):
        fast(lambda ids: "x" * 96).actions([1001])


@given(st.text(max_size=40))
def test_no_text_gets_through_that_is_not_three_integers(spelled):
    try:
        found = text(spelled).actions([0])
    except InferenceError:
        return
    assert len(spelled.split()) == 3
    assert np.all(np.isfinite(found))
    assert np.all(np.abs(found) <= 1.0)
