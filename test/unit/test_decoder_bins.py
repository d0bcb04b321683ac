# SPDX-License-Identifier: Apache-2.0
"""Bins against RT-1's and OpenVLA's tokenizers; see `decoder_golden.py`."""

from __future__ import annotations

import numpy as np
import pytest
from decoder_golden import GOLDEN, TOLERANCE
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from levine_policy_node.core.bin_values import BinValues, TokenNumbers
from levine_policy_node.core.decoders.bins import BinsDecoder
from levine_policy_node.core.decoders.noise import Noise
from levine_policy_node.errors import InferenceError

NONE = np.zeros(7, dtype=np.int64)
CENTERS = BinValues(256, "centers", -np.ones(7), np.ones(7), NONE)
LLAMA = TokenNumbers(31999, descending=True)
ACTIONS = (31744, 31999)
RT1_LOW = np.concatenate([[0.0], GOLDEN["rt1_low"]])
RT1 = BinValues(256, "edges", RT1_LOW, -RT1_LOW, np.eye(11, dtype=np.int64)[0] * 3)


class Logits:
    def __init__(self, logits):
        self.logits = logits

    def run(self, role, inputs):
        return {"logits": self.logits}


def logits(tokens, vocabulary, best=1.0):
    result = np.zeros((*np.shape(tokens), vocabulary), dtype=np.float32)
    np.put_along_axis(result, np.asarray(tokens)[..., None], best, axis=-1)
    return result


def decoded(made, tokens, best=1.0):
    return made.decode(Logits(logits(tokens, made.vocabulary, best)), {}, Noise(), None)


def test_every_rt1_token_means_what_its_tokenizer_says():
    made = BinsDecoder(1, 11, 256, "logits", RT1)
    for tokens, expected in zip(GOLDEN["rt1_tokens"], GOLDEN["rt1_actions"], strict=True):
        np.testing.assert_allclose(decoded(made, tokens[None])[0], expected, atol=TOLERANCE)


def test_rt1s_terminate_has_three_choices_and_is_the_first_beyond_them():
    numbers = np.zeros((5, 11), dtype=np.int64)
    numbers[:, 0] = [0, 1, 2, 3, 255]
    np.testing.assert_array_equal(RT1.values(numbers)[:, 0], [0, 1, 2, 0, 0])


def test_every_openvla_token_means_what_its_tokenizer_says():
    columns = BinValues(256, "centers", -np.ones(1), np.ones(1), NONE[:1])
    found = columns.values(LLAMA.numbers(GOLDEN["openvla_ids"])[:, None])[:, 0]
    np.testing.assert_allclose(found, GOLDEN["openvla_actions"], atol=1e-15)


def test_edges_and_centers_differ_by_half_a_bin():
    edges = BinValues(256, "edges", -np.ones(7), np.ones(7), NONE)
    number = np.full((1, 7), 128)
    np.testing.assert_allclose(edges.values(number), 1 / 255, atol=1e-12)
    np.testing.assert_allclose(CENTERS.values(number), 2 / 255, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 8, 7), (1, 56), (56,)])
def test_openvla_oft_decodes_a_chunk_in_one_pass_whatever_its_logits_shape(shape):
    tokens = np.random.default_rng(0).integers(31744, 32000, 56)
    made = BinsDecoder(8, 7, 32064, "logits", CENTERS, LLAMA, ACTIONS)
    found = decoded(made, tokens.reshape(shape))
    numbers = np.clip(32000 - tokens - 1, 0, 254).reshape(8, 7)
    edges = np.linspace(-1, 1, 256)
    np.testing.assert_allclose(found, ((edges[:-1] + edges[1:]) / 2)[numbers], atol=1e-12)


def test_tokens_that_are_no_actions_cannot_be_chosen_where_the_bundle_says_so():
    tokens = np.full((1, 1, 7), 31900)
    scores = logits(tokens, 32064)
    scores[..., 5] = 9.0
    scores[..., 31743] = 9.0
    scores[..., 32000] = 9.0
    made = BinsDecoder(1, 7, 32064, "logits", CENTERS, LLAMA, ACTIONS)
    np.testing.assert_array_equal(
        made.decode(Logits(scores), {}, Noise(), None), decoded(made, tokens)
    )
    free = BinsDecoder(1, 7, 32064, "logits", CENTERS, LLAMA)
    found = free.decode(Logits(scores), {}, Noise(), None)
    np.testing.assert_allclose(found, CENTERS.values(np.full((1, 7), 254)))


def test_integers_are_the_numbers_themselves():
    numbers = np.array([[0, 128, 255]])
    made = BinValues(256, "integers", np.zeros(3), np.zeros(3), NONE[:3])
    np.testing.assert_array_equal(made.values(numbers), [[0.0, 128.0, 255.0]])


def test_logits_of_another_vocabulary_or_that_are_no_numbers_are_refused():
    made = BinsDecoder(1, 7, 256, "logits", CENTERS)
    with pytest.raises(InferenceError, match="logits has shape"):
        made.decode(Logits(np.zeros((1, 7, 255))), {}, Noise(), None)
    with pytest.raises(InferenceError, match="not a number"):
        made.decode(Logits(np.full((1, 7, 256), np.nan)), {}, Noise(), None)


@given(
    hnp.arrays(
        np.float32,
        (1, 2, 3, 16),
        elements=st.floats(allow_nan=False, allow_subnormal=False, width=32),
    ),
    st.sampled_from(["edges", "centers"]),
    st.integers(-20, 40),
    st.booleans(),
)
def test_values_stay_between_low_and_high_whatever_the_logits(scores, value, first, descending):
    low, high = np.array([-1.0, 0.0, -3.0]), np.array([1.0, 0.5, 7.0])
    values = BinValues(16, value, low, high, NONE[:3])
    made = BinsDecoder(2, 3, 16, "logits", values, TokenNumbers(first, descending))
    found = made.decode(Logits(scores), {}, Noise(), None)
    assert np.all(found >= low)
    assert np.all(found <= high)
