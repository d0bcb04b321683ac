# SPDX-License-Identifier: Apache-2.0
"""A task in words, as tokens or as an embedding."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from string import Formatter
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors

from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import BundleError, ObservationError
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.language_schema import (
    TASK,
    EmbeddingObservation,
    TextSpec,
    template_fields,
)

_SHOWN_TASKS = 8

Numbers = Callable[[str], FloatArray]
"""An observation's normalised numbers, by the name a template gives it."""


def bins_text(values: FloatArray, bins: int) -> str:
    """Numbers in [-1, 1] as bins, as openpi writes them for pi0.5.

    `digitize(x, linspace(-1, 1, bins + 1)[:-1]) - 1`; what is below the first is -1, as there.
    """
    edges = np.linspace(-1.0, 1.0, bins + 1)[:-1]
    return " ".join(str(n) for n in np.digitize(values, edges) - 1)


class Prompt:
    """Makes tokens of a task.

    Raises:
        BundleError: If the tokenizer cannot be read.
    """

    def __init__(self, bundle: Bundle, spec: TextSpec) -> None:
        self._spec = spec
        self._tokenizer = load_tokenizer(bundle, spec.tokenizer)

    def text(self, task: str, numbers: Numbers) -> str:
        """The template with its fields filled in.

        Raises:
            ObservationError: If there is no task.
        """
        task = given_task(task)
        if self._spec.clean:
            task = task.replace("_", " ").replace("\n", " ")
        if self._spec.lower:
            task = task.lower()
        fields = iter(template_fields(self._spec.template))
        parts: list[str] = []
        for literal, name, _, _ in Formatter().parse(self._spec.template):
            parts.append(literal)
            if name is not None:
                field, bins = next(fields)
                parts.append(task if field == TASK else bins_text(numbers(field), bins))
        return "".join(parts)

    def tokens(self, task: str, numbers: Numbers) -> tuple[npt.NDArray[np.int64], int]:
        """Tokens, padded to `max_length`, shape (n,), and how many are no padding.

        Raises:
            ObservationError: If there is no task, or the text is too long.
        """
        text = self.text(task, numbers)
        encoded = self._tokenizer.encode(text, add_special_tokens=self._spec.special_tokens)
        ids = np.array(encoded.ids, dtype=np.int64)
        length = self._spec.max_length
        if len(ids) == 0:
            raise ObservationError(f"the tokenizer makes no tokens of {text[:60]!r}")
        if length is None:
            return ids, len(ids)
        if len(ids) > length:
            raise ObservationError(
                f"the task is too long: {len(ids)} tokens, and the policy takes {length}"
            )
        return np.pad(ids, (0, length - len(ids)), constant_values=self._spec.pad_id), len(ids)


class Embeddings:
    """Looks a task up.

    Raises:
        BundleError: If the file has no usable table.
    """

    def __init__(self, bundle: Bundle, key: str, spec: EmbeddingObservation) -> None:
        path = str(bundle.path / spec.file)
        try:
            table: Mapping[str, npt.NDArray[Any]] = load_safetensors(bundle.files[spec.file])
        except (SafetensorError, ValueError, TypeError, KeyError) as error:
            detail = " ".join(str(error).split())[:200]
            raise BundleError(path, "", f"is not a safetensors file ({detail})") from error
        if not table:
            raise BundleError(path, "", "knows no task")
        self._table = {task: np.squeeze(v).astype(np.float32) for task, v in table.items()}
        for task, values in self._table.items():
            wanted = next(iter(self._table.values())).shape if spec.dim is None else (spec.dim,)
            if values.shape != wanted or not np.all(np.isfinite(values)):
                raise BundleError(
                    path,
                    task[:60],
                    f"has shape {values.shape} and observations.{key} expects finite numbers of "
                    f"shape {wanted}",
                )

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks it knows."""
        return tuple(sorted(self._table))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of every embedding."""
        return next(iter(self._table.values())).shape

    def embedding(self, task: str) -> npt.NDArray[np.float32]:
        """The embedding of a task.

        Raises:
            ObservationError: If there is no task, or none that is known.
        """
        task = given_task(task)
        if task not in self._table:
            known = ", ".join(f"'{name[:60]}'" for name in self.tasks[:_SHOWN_TASKS])
            more = len(self.tasks) - _SHOWN_TASKS
            raise ObservationError(
                f"the policy does not know the task '{task[:60]}'; it knows {known}"
                + (f" and {more} more" if more > 0 else "")
            )
        return self._table[task]


def load_tokenizer(bundle: Bundle, file: str) -> Any:
    """A tokenizer of the bundle; reading one runs no code of it.

    Raises:
        BundleError: If the package is missing or the file is no tokenizer.
    """
    path = str(bundle.path / file)
    try:
        tokenizers: Any = importlib.import_module("tokenizers")
    except ImportError as error:
        raise BundleError(
            path, "", "needs the package tokenizers", "Install it: pip install tokenizers"
        ) from error
    try:
        tokenizer = tokenizers.Tokenizer.from_str(bundle.files[file].decode())
        # The document says how long the input is, not what the file was last used with.
        tokenizer.no_truncation()
        tokenizer.no_padding()
    except Exception as error:
        detail = " ".join(str(error).split())[:200]
        raise BundleError(path, "", f"is not a tokenizer.json ({detail})") from error
    return tokenizer


def given_task(task: str) -> str:
    """The task without blanks around it.

    Raises:
        ObservationError: If there is none.
    """
    task = task.strip()
    if not task:
        raise ObservationError("the policy waits for a task; publish it on the topic 'task'")
    return task
