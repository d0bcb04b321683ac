# SPDX-License-Identifier: Apache-2.0
"""When a policy infers: what its bundle says, unless the lab says otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from levine_policy_node.core.replan_rule import ReplanOptions, ReplanRule
from levine_policy_node.core.units import nanoseconds, seconds
from levine_policy_node.errors import BundleError
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.bundle import Bundle
from levine_policy_node.runtime.bundle_files import DOCUMENT

# The supervisor pauses where no inference has finished for 0.5 s (`inference_stall_s`).
_LONG_WAIT_S = 0.4


@dataclass(frozen=True, slots=True)
class ReplanChoice:
    """What the parameters of the executor say about when to infer.

    Attributes:
        rule: A rule, or `bundle` for the one that the bundle names.
        threshold_s: What is left to play when an inference begins [s], or negative for the
            bundle's.
    """

    rule: Literal["bundle", "every", "at_once", "threshold"] = "bundle"
    threshold_s: float = -1.0


def replan_options(bundle: Bundle, robot: Robot, choice: ReplanChoice) -> ReplanOptions:
    """Combine bundle, robot file and parameters.

    A frame may start an inference half a frame of the slowest camera before its time.

    Raises:
        BundleError: If the rule is `threshold` and nobody says which.
    """
    chunk = bundle.document.chunk
    rule: ReplanRule = chunk.replan if choice.rule == "bundle" else choice.rule
    threshold_s = choice.threshold_s if choice.threshold_s >= 0.0 else chunk.threshold_s
    if rule == "threshold" and threshold_s is None:
        raise BundleError(
            str(bundle.path / DOCUMENT),
            "chunk.threshold_s",
            "is missing, and replan threshold is asked for",
            "Set the parameter replan_threshold_s",
        )
    frames_s = [1.0 / robot.cameras[name].rate_hz for name in bundle.cameras]
    slack_s = 0.5 * min(bundle.replan_s, max(frames_s, default=0.0))
    return ReplanOptions(
        rule=rule,
        period_ns=nanoseconds(bundle.replan_s),
        slack_ns=nanoseconds(slack_s),
        threshold_ns=nanoseconds(threshold_s or 0.0),
    )


def describe(options: ReplanOptions) -> str:
    """The rule in a few words."""
    if options.rule == "at_once":
        return "inferring at once"
    if options.rule == "threshold":
        return f"inferring with {seconds(options.threshold_ns):g} s left to play"
    return f"inferring every {seconds(options.period_ns):g} s"


def replan_remarks(bundle: Bundle, options: ReplanOptions) -> tuple[str, ...]:
    """What the operator should know about this choice; empty if there is nothing to say."""
    chunk = bundle.document.chunk
    wait_s = 0.0
    if options.rule == "every":
        wait_s = seconds(options.period_ns)
    elif options.rule == "threshold":
        length_s = (chunk.size - chunk.start) / bundle.document.rate
        wait_s = length_s - seconds(options.threshold_ns)
    if wait_s <= _LONG_WAIT_S:
        return ()
    return (
        f"up to {wait_s:g} s pass between two inferences: set inference_stall_s of "
        f"safety_supervisor above that, or it takes the policy for stalled",
    )
