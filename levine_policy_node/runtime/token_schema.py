# SPDX-License-Identifier: Apache-2.0
"""Decoders of `policy.yaml` whose actions are tokens: bins in one pass, and generated ones."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from levine_policy_node.runtime.graph_schema import STEP, FileName, TensorName
from levine_policy_node.runtime.image_schema import Positive
from levine_policy_node.runtime.observation_schema import Numbers
from levine_policy_node.strict_model import Strict

Token = Annotated[int, Field(ge=0, le=10_000_000)]
Tokens = Annotated[tuple[Token, ...], Field(strict=False, max_length=4096)]
Range = Annotated[tuple[Token, Token], Field(strict=False)]


class Bins(Strict):
    """What bin numbers mean.

    Attributes:
        bins: Bins of a column.
        value: `edges` (RT-1, RT-2), `centers` (OpenVLA: one fewer than bins) or `integers`.
        low: Lower end, for all columns or each; not used for `integers`.
        high: Upper end.
        choices: For a column that chooses among n the n, null for the others. Its value is the
            number, or 0 if that is none of the choices (RT-1's terminate).
    """

    bins: Annotated[int, Field(ge=2, le=65536)] = 256
    value: Literal["edges", "centers", "integers"]
    low: Numbers = -1.0
    high: Numbers = 1.0
    choices: Annotated[tuple[Positive | None, ...], Field(strict=False)] | None = None

    def check_columns(self, columns: int) -> None:
        """Refuse lists of another length.

        Raises:
            ValueError: If a list is not as long as there are columns.
        """
        for name in ("low", "high", "choices"):
            given = getattr(self, name)
            if isinstance(given, tuple) and len(given) != columns:  # pyright: ignore
                raise ValueError(f"decoder: {name} has {len(given)} values for {columns} columns")  # pyright: ignore


class TokenBins(Bins):
    """Bins that are tokens of a vocabulary.

    Attributes:
        first_token: Token of bin 0.
        descending: Whether tokens fall as bins rise (OpenVLA: 31999, 31998, ...).
    """

    first_token: Token = 0
    descending: bool = False


def _check_range(allowed: tuple[int, int] | None) -> None:
    if allowed is not None and allowed[0] > allowed[1]:
        raise ValueError(f"allowed {list(allowed)} is empty; it is [first, last]")


class BinsDecoder(TokenBins):
    """The bin with the largest logit, for all values in one pass.

    Attributes:
        graph: Role of the graph that is run.
        output: Logits, (1, T, A, V), (1, T A, V) or (T A, V); may be left out when there is one.
        allowed: First and last token that may be chosen.
        columns: A, where several decoders share the action.
    """

    type: Literal["bins"]
    graph: TensorName = STEP
    output: TensorName | None = None
    allowed: Range | None = None
    columns: Positive | None = None

    @model_validator(mode="after")
    def _check(self) -> BinsDecoder:
        _check_range(self.allowed)
        return self


class BinTokens(TokenBins):
    """One token per value."""

    type: Literal["bins"]


class TextTokens(Bins):
    """Bin numbers written as text (RT-2).

    Attributes:
        tokenizer: The language model's `tokenizer.json`.
    """

    type: Literal["text"]
    tokenizer: FileName


class FastTokens(Strict):
    """FAST tokens (pi0-FAST).

    Attributes:
        tokenizer: FAST's `tokenizer.json`.
        scale: Of the coefficients.
        min_token: Smallest coefficient.
        first_token: Token of FAST's token 0; `vocabulary - 1 - 128` for pi0-FAST.
        descending: Whether tokens fall as FAST's rise.
    """

    type: Literal["fast"]
    tokenizer: FileName
    scale: Annotated[float, Field(gt=0.0)] = 10.0
    min_token: int
    first_token: Token
    descending: bool = True


class AutoregressiveDecoder(Strict):
    """Tokens, one after the other, the likeliest each time.

    Attributes:
        tokens: Tokens to generate; with `stop` at most.
        detokenize: What they mean.
        allowed: First and last token that may be chosen.
        stop: Token that ends the actions.
        begin: Tokens that the actions begin with, given and not generated.
        prompt: The prompt's tokens, where there is one task; else an observation gives them.
        prompt_end: Token that the prompt ends with, added if it does not.
        ids: Input for tokens, (1, n).
        mask: Input that says which tokens are seen, (1, n); fed where the graph has it.
        positions: Input for the places of tokens, (1, n); fed where the graph has it.
        logits: Output, (1, n, V) or (1, V).
        columns: A, where several decoders share the action.
    """

    type: Literal["autoregressive"]
    tokens: Annotated[int, Field(ge=1, le=4096)]
    detokenize: Annotated[BinTokens | TextTokens | FastTokens, Field(discriminator="type")]
    allowed: Range | None = None
    stop: Token | None = None
    begin: Tokens = ()
    prompt: Tokens = ()
    prompt_end: Token | None = None
    ids: TensorName = "input_ids"
    mask: TensorName = "attention_mask"
    positions: TensorName = "position_ids"
    logits: TensorName = "logits"
    columns: Positive | None = None

    @model_validator(mode="after")
    def _check(self) -> AutoregressiveDecoder:
        _check_range(self.allowed)
        if len({self.ids, self.mask, self.positions}) < 3:
            raise ValueError("ids, mask and positions must be different inputs")
        return self
