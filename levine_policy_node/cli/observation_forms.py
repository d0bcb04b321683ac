# SPDX-License-Identifier: Apache-2.0
"""What `levine check` says of observations that neither a camera nor a joint gives."""

from __future__ import annotations

from levine_policy_node.runtime.history_schema import HistorySpec
from levine_policy_node.runtime.language_schema import (
    EmbeddingObservation,
    LanguageObservation,
    TextObservation,
)
from levine_policy_node.runtime.made_schema import ReturnToGo, Timestep
from levine_policy_node.runtime.observation_schema import ObservationSpec


def past_form(spec: ObservationSpec) -> str:
    """How many moments are seen, to be added to what is said of one; "" for the present only."""
    history: HistorySpec | None = getattr(spec, "history", None)
    return "" if history is None else f", {history.steps} moments"


def made_form(spec: ObservationSpec) -> tuple[str, str]:
    """What an input is, and its form."""
    past = past_form(spec)
    if isinstance(spec, LanguageObservation):
        length = "any number of" if spec.text.max_length is None else str(spec.text.max_length)
        return "the task in words", f"{length} tokens of {spec.text.tokenizer}"
    if isinstance(spec, TextObservation):
        return "the task in words", "as it is"
    if isinstance(spec, EmbeddingObservation):
        return "the task in words", f"looked up in {spec.file}"
    if isinstance(spec, ReturnToGo):
        return f"return to go: {spec.target:g}", f"times {spec.scale:g}{past}"
    if isinstance(spec, Timestep):
        return "time since it took over", f"periods, up to {spec.last}{past}"
    kind: str = getattr(spec, "kind", "")
    return kind.replace("/", ": ").replace("_", " "), "as computed"
