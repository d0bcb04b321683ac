# SPDX-License-Identifier: Apache-2.0
"""The parts of `policy.yaml` that say how a task in words becomes a graph input."""

from __future__ import annotations

from string import Formatter
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from levine_policy_node.runtime.graph_schema import FileName, TensorName
from levine_policy_node.strict_model import Strict

TASK = "task"
_MAX_TOKENS = 8192


def template_fields(template: str) -> tuple[tuple[str, int], ...]:
    """Fields of a template in order: (`task`, 0), or an observation and its number of bins."""
    return tuple(
        (name, int((form or "bins0").removeprefix("bins")))
        for _, name, form, _ in Formatter().parse(template)
        if name is not None
    )


def _template(template: str) -> str:
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"is no template ({error}); write '{{{{' for a brace") from error
    for _, name, form, conversion in parts:
        if name is None:
            continue
        digits = (form or "").removeprefix("bins")
        bins = int(digits) if digits.isdecimal() and len(digits) < 6 else 0
        observed = (form or "").startswith("bins") and bins >= 2
        if conversion or not name or any(c in name for c in "[]{}!") or "." in name[:1]:
            raise ValueError(f"'{{{name}}}' is no field; give {{task}} or {{state:bins256}}")
        if (name == TASK) != (not form) or (name != TASK and not observed):
            raise ValueError(
                f"'{{{name}{':' if form else ''}{form}}}' is no field; give {{task}} or "
                "{state:bins256}"
            )
    return template


class TextSpec(Strict):
    """How a text becomes tokens.

    Attributes:
        template: The text, where `{task}` is the task and `{state:bins256}` an observation's
            normalised numbers as bins of [-1, 1] (pi0.5).
        tokenizer: The bundle's `tokenizer.json`.
        max_length: Tokens of the input, padded after the text; a longer text is refused. None for
            as many as there are.
        mask: Graph input that is 1 where there is a token of the text.
        pad_id: Token that pads.
        special_tokens: Whether the tokenizer adds those that begin and end a text.
        clean: Whether `_` and line breaks of the task become spaces (openpi).
        lower: Whether the task is written in small letters (OpenVLA).
    """

    template: Annotated[str, Field(max_length=4000), AfterValidator(_template)] = "{task}"
    tokenizer: FileName
    max_length: Annotated[int, Field(ge=1, le=_MAX_TOKENS)] | None = None
    mask: TensorName | None = None
    pad_id: Annotated[int, Field(ge=0)] = 0
    special_tokens: bool = True
    clean: bool = False
    lower: bool = False

    @property
    def states(self) -> tuple[str, ...]:
        """Observations that the template names."""
        return tuple(name for name, _ in template_fields(self.template) if name != TASK)


class LanguageObservation(Strict):
    """A graph input made of the task's tokens, (1, max_length)."""

    kind: Literal["command/language"]
    text: TextSpec
    tensor: TensorName | None = None


class TextObservation(Strict):
    """The task itself, for a server that makes tokens of it."""

    kind: Literal["command/text"]
    tensor: TensorName | None = None


class EmbeddingObservation(Strict):
    """A graph input looked up by the task.

    Attributes:
        file: A safetensors file of the bundle: an array of one shape for every task it knows.
        tensor: Graph input name when it differs from the key.
    """

    kind: Literal["command/embedding"]
    file: FileName
    dim: Annotated[int, Field(gt=0)] | None = None
    tensor: TensorName | None = None

    @model_validator(mode="after")
    def _check(self) -> EmbeddingObservation:
        if not self.file.endswith(".safetensors"):
            raise ValueError("file: give a .safetensors file with an array for every task")
        return self
