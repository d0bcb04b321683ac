# SPDX-License-Identifier: Apache-2.0
"""Whether it is time for another inference.

One request at a time, and never twice from the same observation; beyond that, the rule says when:
`every` period, `at_once` when the last inference is done, or when what is left to play falls to a
`threshold`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from levine_policy_node.core.units import StampNs

ReplanRule = Literal["every", "at_once", "threshold"]


@dataclass(frozen=True, slots=True)
class ReplanOptions:
    """When to infer.

    Attributes:
        rule: See above.
        period_ns: Time between two observations with `every`, and with `threshold` while
            nothing is being played [ns].
        slack_ns: How much before its time a frame may be used [ns]; without it, a frame that
            comes a little early would make the policy wait for the next one.
        threshold_ns: What is left to play when a `threshold` inference begins [ns].
    """

    rule: ReplanRule = "every"
    period_ns: int = 0
    slack_ns: int = 0
    threshold_ns: int = 0


@dataclass(frozen=True, slots=True)
class Requests:
    """What has been asked of the policy.

    Attributes:
        last_ns: Time of the newest observation that was inferred from, None to begin afresh.
        outstanding: Whether the answer to it has not come yet.
    """

    last_ns: StampNs | None = None
    outstanding: bool = False


def may_be_due(requests: Requests, stamp_ns: StampNs, options: ReplanOptions) -> bool:
    """Whether an observation of this time could be used, leaving aside what is being played."""
    last_ns = requests.last_ns
    if requests.outstanding:
        return False
    # A clock that went back must not stop the policy for ever.
    if last_ns is None or stamp_ns < last_ns:
        return True
    if options.rule == "every":
        return stamp_ns - last_ns >= options.period_ns - options.slack_ns
    return stamp_ns > last_ns


def is_due(
    requests: Requests,
    stamp_ns: StampNs,
    now_ns: StampNs,
    ends_ns: int | None,
    options: ReplanOptions,
) -> bool:
    """Whether to infer now.

    Args:
        requests: What has been asked so far.
        stamp_ns: Time of the observation there is.
        now_ns: Present time on the ROS clock.
        ends_ns: When the timeline being played ends, None if none is.
        options: The rule.
    """
    if not may_be_due(requests, stamp_ns, options):
        return False
    last_ns = requests.last_ns
    if options.rule != "threshold" or last_ns is None or stamp_ns < last_ns:
        return True
    if ends_ns is None:
        return stamp_ns - last_ns >= options.period_ns - options.slack_ns
    return ends_ns - now_ns <= options.threshold_ns
