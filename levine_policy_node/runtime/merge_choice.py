# SPDX-License-Identifier: Apache-2.0
"""How the chunks of a policy are merged: what its bundle says, unless the lab says otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from levine_policy_node.core.action_prefix import PrefixOptions
from levine_policy_node.core.merge import MergeOptions, MergeRule
from levine_policy_node.errors import BundleError
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.bundle_files import DOCUMENT
from levine_policy_node.runtime.chunk_schema import ChunkSpec

_DEFAULT_K = 0.01
_DEFAULT_SMOOTHING_S = 0.06
_FEW_CHUNKS = 2.0


@dataclass(frozen=True, slots=True)
class MergeChoice:
    """What the parameters of the executor say about merging.

    Attributes:
        rule: A merge rule, or `bundle` for the one that the bundle names.
        smoothing_s: Standard deviation [s], or negative for the bundle's.
        blend_s: Length of a fade [s].
        lead_s: Time a chunk needs to reach the arm [s].
    """

    rule: Literal["bundle", "replace", "blend", "ensemble", "rtc"] = "bundle"
    smoothing_s: float = -1.0
    blend_s: float = 0.2
    lead_s: float = 0.06


def merge_options(spec: ChunkSpec, robot: Robot, choice: MergeChoice) -> MergeOptions:
    """Combine bundle, robot file and parameters."""
    asked: MergeRule = spec.merge or "blend"
    if spec.merge is None and (spec.rtc is not None or spec.ensemble is not None):
        asked = "ensemble" if spec.rtc is None else "rtc"
    smoothing_s = choice.smoothing_s
    if smoothing_s < 0.0:
        smoothing_s = _DEFAULT_SMOOTHING_S if spec.smoothing is None else spec.smoothing
    return MergeOptions(
        rule=asked if choice.rule == "bundle" else choice.rule,
        blend_s=choice.blend_s,
        ensemble_k=_DEFAULT_K if spec.ensemble is None else spec.ensemble,
        smoothing_s=smoothing_s,
        discrete=tuple(n for n, joint in robot.joints.items() if joint.role == "gripper"),
        lead_s=choice.lead_s,
        actuation_delay_s=robot.controller.actuation_delay_s,
    )


def prefix_options(bundle: Bundle, options: MergeOptions) -> PrefixOptions | None:
    """What the policy is told of what is being played; None unless the rule is `rtc`.

    Raises:
        BundleError: If the rule is `rtc` and this policy cannot do real-time chunking.
    """
    if options.rule != "rtc":
        return None
    document = bundle.document
    if document.rtc is None:
        raise BundleError(
            str(bundle.path / DOCUMENT),
            "chunk.rtc",
            "merge rtc is asked for, but this policy cannot continue what is being played: "
            f"{document.rtc_obstacle}",
            "Choose merge: blend, or export the policy for real-time chunking",
        )
    return PrefixOptions(
        rows=document.chunk.size,
        start=document.chunk.start,
        dt_s=1.0 / document.rate,
        actuation_delay_s=options.actuation_delay_s,
        max_delay=document.rtc.max_delay,
    )


def merge_remarks(spec: ChunkSpec, options: MergeOptions, rate: float) -> tuple[str, ...]:
    """What the operator should know about this choice; empty if it does what its name says.

    Args:
        spec: `chunk` of the bundle.
        options: What was made of it.
        rate: Rows per second [Hz].
    """
    lasts_s = (spec.size - spec.start) / rate + spec.hold
    if lasts_s <= options.lead_s + options.actuation_delay_s:
        return (
            f"no target will ever be played: the last is due {lasts_s:g} s after the observation, "
            f"and a chunk needs {options.lead_s + options.actuation_delay_s:g} s to reach the "
            "arm. Let the target stand until the next one (chunk.hold) or export longer chunks",
        )
    overlap = (spec.size - spec.start) / spec.execute
    if options.rule == "ensemble" and overlap < _FEW_CHUNKS:
        return (
            f"an ensemble needs chunks that overlap: {spec.size - spec.start} usable rows, "
            f"{spec.execute} executed, so at most {max(1, int(overlap))} chunk speaks about any "
            f"moment. Execute fewer rows (chunk.execute) or choose merge: blend",
        )
    return ()
