# SPDX-License-Identifier: Apache-2.0
"""What the supervisor knows of the graph around it, beside the arm and what it is asked."""

from __future__ import annotations

from dataclasses import dataclass

from levine_policy_node.core.units import FloatArray, SteadyNs


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What the controller says it commands.

    Attributes:
        position: Shape (J,) [rad], in joint order.
        stamp_ns: When the controller commanded it, by its own clock.
        received_ns: When that was heard.
    """

    position: FloatArray
    stamp_ns: SteadyNs
    received_ns: SteadyNs


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Everything heard up to one tick; a text is "" as long as nothing is wrong.

    Attributes:
        policy_problem: Why the policy's process has no observation.
        references: What the controller said since the last tick, in order.
        reference_ns: When it was heard last; None if it never was, and is not watched.
        inactive: What the controller manager says of a controller that is not active.
        listeners: Subscriptions to the controller's command topic.
        flood: Which topic carries too many messages.
        clock_skew: Whose clock is too far from this one.
        graph: What in the graph forbids arming, as it was looked up for that.
        enable: Whether the cell permits motion, and has since the last tick; None if it has not
            said.
        enable_ns: When it said so last.
    """

    policy_problem: str = ""
    references: tuple[Reference, ...] = ()
    reference_ns: SteadyNs | None = None
    inactive: str = ""
    listeners: int = 1
    flood: str = ""
    clock_skew: str = ""
    graph: str = ""
    enable: bool | None = None
    enable_ns: SteadyNs | None = None


NOTHING_HEARD = Surroundings()


@dataclass(frozen=True, slots=True)
class ControllerOptions:
    """How closely the controller is watched.

    Attributes:
        timeout_s: Silence after which a controller that has been heard is lost.
        tolerance: How far its reference may be from what it was sent [rad].
        window_s: The times of reference and command may differ so much: a controller commands
            one period ahead.
        settling_s: So long after the first command nothing is compared: the controller still
            holds what it held before.
    """

    timeout_s: float = 0.1
    tolerance: float = 0.01
    window_s: float = 0.03
    settling_s: float = 0.1


STOCK_CONTROLLER = ControllerOptions()


@dataclass(frozen=True, slots=True)
class Strayed:
    """A reference that is not what was sent.

    Attributes:
        stands: Whether the controller is where it was sent a while ago.
        evidence: Which joint is how far off.
    """

    stands: bool
    evidence: str


@dataclass(frozen=True, slots=True)
class ControllerMemory:
    """The newest verdicts on the controller's reference, oldest first; None for a good one."""

    verdicts: tuple[Strayed | None, ...] = ()


NO_VERDICTS = ControllerMemory()
