# SPDX-License-Identifier: Apache-2.0
"""Actions as generated tokens: OpenVLA, RT-2, pi0-FAST.

`encode`, if there is one, reads the prompt and the images and returns the first logits; `step`
then takes one token at a time and the cache. Without `encode` the first run of `step` takes the
whole prompt, and without a cache every run does. Always greedy: the same inputs, the same actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.decoders.decoder import Decoder, Graphs
from levine_policy_node.core.decoders.graph_outputs import ENCODE, STEP, largest
from levine_policy_node.core.decoders.noise import Noise
from levine_policy_node.core.detokenizers import Detokenizer
from levine_policy_node.core.kv_cache import CacheEntry, KvCache
from levine_policy_node.core.observation import Tensors
from levine_policy_node.core.rtc import NetworkPrefix
from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import InferenceError

_Whole = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AutoregressiveDecoder(Decoder):
    """Generate tokens and read actions from them.

    Attributes:
        detokenizer: Turns the tokens into actions.
        count: Tokens to generate; with a `stop` token at most.
        cache: Tensors that go from run to run; empty for a graph that takes all tokens each time.
        encode: Whether there is an `encode` graph.
        ids: Input of the prompt's tokens, and of the new ones, shape (1, n), int64.
        mask: Input that says which tokens, cached ones too, are seen, shape (1, n), int64.
        positions: Input for the place of every token, shape (1, n), int64.
        logits: Output, shape (1, n, V) or (1, V).
        allowed: First and last token that may be chosen; None for any.
        stop: Token that ends the actions; None to generate exactly `count`.
        prompt_end: Token that the prompt must end with, added if it does not (OpenVLA's 29871).
        begin: Tokens that the actions begin with in training; given, not generated, and no part
            of the actions (pi0-FAST's `Action: `).
        prompt: The prompt of a policy for one task; else the observation has it in `ids`.
    """

    detokenizer: Detokenizer
    count: int
    cache: tuple[CacheEntry, ...] = ()
    encode: bool = False
    ids: str = "input_ids"
    mask: str = "attention_mask"
    positions: str = "position_ids"
    logits: str = "logits"
    allowed: tuple[int, int] | None = None
    stop: int | None = None
    prompt_end: int | None = None
    begin: tuple[int, ...] = ()
    prompt: tuple[int, ...] = ()

    def decode(
        self, graphs: Graphs, inputs: Tensors, noise: Noise, prefix: NetworkPrefix | None
    ) -> FloatArray:
        """Generate until there is an action; see `Decoder`.

        Raises:
            InferenceError: If no `stop` came in time, or the tokens are no actions.
        """
        del noise, prefix
        run = _Generation(self, graphs, inputs)
        for token in self.begin:
            run.take(token)
        tokens: list[int] = []
        while True:
            token = self._chosen(run.logits)
            if token == self.stop:
                break
            tokens.append(token)
            if len(tokens) == self.count and self.stop is None:
                break
            if len(tokens) > self.count:
                raise InferenceError(f"the actions did not end within {self.count} tokens")
            run.take(token)
        return self.detokenizer.actions(tokens)

    def _chosen(self, logits: npt.NDArray[Any]) -> int:
        """The likeliest of the tokens that may come."""
        if self.allowed is None:
            return int(largest(logits, self.logits))
        first, last = self.allowed
        best = first + int(largest(logits[first : last + 1], self.logits))
        if self.stop is not None and logits[self.stop] > logits[best]:
            return self.stop
        return best


class _Generation:
    """The tokens so far and what the graphs made of them.

    Attributes:
        logits: Of the next token, shape (V,).
    """

    def __init__(self, decoder: AutoregressiveDecoder, graphs: Graphs, inputs: Tensors) -> None:
        self._decoder = decoder
        self._graphs = graphs
        given = np.array([decoder.prompt], dtype=np.int64)
        self._ids = given if decoder.prompt else _whole(inputs, decoder.ids)
        mask = inputs.get(decoder.mask)
        self._mask = np.ones_like(self._ids) if mask is None else _whole(inputs, decoder.mask)
        self._end_prompt()
        self._feed = {**inputs, decoder.ids: self._ids, decoder.mask: self._mask}
        if not decoder.encode:
            self._cache = KvCache(decoder.cache, None)
            self._run(self._ids, self._positions())
            return
        encoded = graphs.run(ENCODE, {**self._feed, decoder.positions: self._positions()})
        self._cache = KvCache(decoder.cache, encoded)
        self._feed.update(encoded)
        self._mask = self._mask_of_cache(encoded)
        self.logits = self._next(encoded)

    def take(self, token: int) -> None:
        """Go on by one token."""
        new = np.array([[token]], dtype=np.int64)
        self._ids = np.concatenate([self._ids, new], axis=1)
        self._mask = np.concatenate([self._mask, np.ones_like(new)], axis=1)
        if self._decoder.cache:
            self._run(new, self._positions()[:, -1:])
        else:
            self._run(self._ids, self._positions())

    def _run(self, ids: _Whole, positions: _Whole) -> None:
        decoder = self._decoder
        fed = {decoder.ids: ids, decoder.mask: self._mask, decoder.positions: positions}
        outputs = self._graphs.run(STEP, {**self._feed, **fed, **self._cache.tensors})
        self._cache.keep(outputs)
        self.logits = self._next(outputs)

    def _next(self, outputs: Tensors) -> npt.NDArray[Any]:
        """Logits after the last token that is no padding."""
        name = self._decoder.logits
        logits = outputs[name]
        if logits.ndim == 2 and len(logits) == 1:
            return logits[0]
        if logits.ndim != 3 or len(logits) != 1:
            raise InferenceError(f"output {name} has shape {logits.shape}, not (1, n, V)")
        seen = np.flatnonzero(self._mask[0])
        padding = self._mask.shape[1] - 1 - int(seen[-1]) if len(seen) else 0
        return logits[0, max(logits.shape[1] - 1 - padding, 0)]

    def _positions(self) -> _Whole:
        """Place of every token among those that are seen."""
        return np.maximum(np.cumsum(self._mask, axis=1) - 1, 0)

    def _end_prompt(self) -> None:
        end, seen = self._decoder.prompt_end, self._mask[0].astype(bool)
        if end is None or (np.any(seen) and self._ids[0][seen][-1] == end):
            return
        if not np.all(seen):
            raise InferenceError(f"the prompt is padded and does not end with token {end}")
        self._ids = np.append(self._ids, [[end]], axis=1)
        self._mask = np.append(self._mask, [[1]], axis=1)

    def _mask_of_cache(self, encoded: Tensors) -> _Whole:
        """Which tokens of the cache are seen; images may have put some more there."""
        name, length = self._decoder.mask, self._cache.length
        if name in encoded:
            return _whole(encoded, name)
        if not self._decoder.cache or self._mask.shape[1] == length:
            return self._mask
        if not np.all(self._mask):
            raise InferenceError(
                f"encode cached {length} tokens of a padded prompt of {self._mask.shape[1]} and "
                f"does not return {name}, which says which of them are seen"
            )
        return np.ones((1, length), dtype=np.int64)


def _whole(tensors: Tensors, name: str) -> _Whole:
    value = np.asarray(tensors[name]).astype(np.int64)
    if value.ndim != 2 or len(value) != 1 or value.shape[1] == 0:
        raise InferenceError(f"{name} has shape {value.shape}, not (1, n)")
    return value
