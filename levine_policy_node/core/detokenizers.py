# SPDX-License-Identifier: Apache-2.0
"""From generated tokens to actions: bins (OpenVLA), integers as text (RT-2), FAST (pi0-FAST)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from levine_policy_node.core.bin_values import BinValues, TokenNumbers
from levine_policy_node.core.fast_tokens import fast_actions
from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import InferenceError

Spelled = Callable[[list[int]], str]
"""Text of tokens, by the bundle's tokenizer."""

_MAX_DIGITS = 9
_UNREADABLE = "\N{REPLACEMENT CHARACTER}"
"""What tokenizers write for bytes that are no character; its code point is no coefficient."""


class Detokenizer(Protocol):
    """Turns the generated tokens, without the one that ended them, into actions."""

    def actions(self, tokens: Sequence[int]) -> FloatArray:
        """Return the actions, shape (T, A).

        Raises:
            InferenceError: If the tokens are no actions.
        """
        ...


@dataclass(frozen=True, slots=True)
class BinDetokenizer:
    """One token per value, row by row.

    Attributes:
        rows: T.
        columns: A.
        values: What the bins mean.
        tokens: Which token is which bin.
    """

    rows: int
    columns: int
    values: BinValues
    tokens: TokenNumbers

    def actions(self, tokens: Sequence[int]) -> FloatArray:
        """See `Detokenizer`."""
        _check_count("tokens", len(tokens), self.rows * self.columns)
        numbers = self.tokens.numbers(np.array(tokens, dtype=np.int64))
        return self.values.values(numbers.reshape(self.rows, self.columns))


@dataclass(frozen=True, slots=True)
class TextDetokenizer:
    """Bin numbers written as text, as RT-2 does: `1 128 91 241 5 101 127`.

    Attributes:
        rows: T.
        columns: A.
        values: What the bins mean.
        spelled: Text of tokens.
    """

    rows: int
    columns: int
    values: BinValues
    spelled: Spelled

    def actions(self, tokens: Sequence[int]) -> FloatArray:
        """See `Detokenizer`."""
        text = self.spelled(list(tokens)).strip()
        words = text.split()
        if not all(re.fullmatch(f"[0-9]{{1,{_MAX_DIGITS}}}", word) for word in words):
            raise InferenceError(f"the policy wrote '{text[:60]}', which are not integers")
        _check_count("integers", len(words), self.rows * self.columns)
        numbers = np.array([int(word) for word in words], dtype=np.int64)
        return self.values.values(numbers.reshape(self.rows, self.columns))


@dataclass(frozen=True, slots=True)
class FastDetokenizer:
    """FAST: byte-pair tokens of quantised cosine coefficients; see `core.fast_tokens`.

    Attributes:
        rows: T.
        columns: A.
        scale: Of the coefficients.
        min_token: Smallest coefficient, character 0.
        tokens: Which token of the language model is which token of FAST: pi0-FAST counts down
            from `vocabulary - 1 - 128`.
        spelled: Characters of FAST tokens.
    """

    rows: int
    columns: int
    scale: float
    min_token: int
    tokens: TokenNumbers
    spelled: Spelled

    def actions(self, tokens: Sequence[int]) -> FloatArray:
        """See `Detokenizer`."""
        numbers = self.tokens.numbers(np.array(tokens, dtype=np.int64))
        if np.any(numbers < 0):
            raise InferenceError("a token is no FAST token")
        text = self.spelled([int(number) for number in numbers])
        if _UNREADABLE in text:
            raise InferenceError("the FAST tokens are no whole characters")
        _check_count("FAST coefficients", len(text), self.rows * self.columns)
        return fast_actions(text, self.rows, self.columns, self.scale, self.min_token)


def _check_count(what: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise InferenceError(f"the policy generated {found} {what} instead of {wanted}")
