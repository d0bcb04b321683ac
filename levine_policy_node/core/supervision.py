# SPDX-License-Identifier: Apache-2.0
"""What goes into one tick of the supervisor, what comes out, and what it remembers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from levine_policy_node.core.collision_rules import Obstacles
from levine_policy_node.core.effort_limits import EffortOptions
from levine_policy_node.core.effort_memory import Pushing
from levine_policy_node.core.effort_timeline import EffortTimeline
from levine_policy_node.core.faults import Fault, Severity
from levine_policy_node.core.limits import JointLimits
from levine_policy_node.core.modes import Event, Mode, ModeState
from levine_policy_node.core.plan import Plan
from levine_policy_node.core.reference import Prepared
from levine_policy_node.core.surroundings import (
    NOTHING_HEARD,
    STOCK_CONTROLLER,
    ControllerOptions,
    Surroundings,
)
from levine_policy_node.core.takeover import FADING, Handback, Lead, TakeoverOptions, Target
from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.units import BOOT, FloatArray, StampNs, SteadyNs
from levine_policy_node.core.watch import NOTHING_WATCHED, Watch

_BOOT_MODE = ModeState(Mode.INIT)


@dataclass(frozen=True, slots=True)
class SupervisorOptions:
    """Timing and tolerances; times in [s], positions in [rad].

    Attributes:
        limits: What the arm may be asked to do.
        home: Pose of the `home` motion, shape (J,).
        exempt: Joints (J,) whose tracking is not watched, such as a gripper that grasps.
        sends_windows: Whether the controller takes windows (joint_trajectory) or one position
            per tick (forward_command).
        window_s: Motion the controller is given ahead, before the brake that ends each window.
        lead_s: What the controller already has of it stays unchanged this long.
        planning_s: A plan that is worked out beside the loop takes effect this much later.
        command_period_s: Time between two windows.
        tick_s: Time between two ticks.
        overrun_s: A longer gap between two ticks pauses a moving arm.
        joint_state_timeout_s: Age of joint states that stops the arm.
        policy_timeout_s: Silence of the policy that stops the arm.
        inference_stall_s: Time without a finished inference that stops the arm.
        starved_timeout_s: Standing without a new chunk that pauses.
        target_timeout_s: Age of the operator's target that stops the arm.
        abandon_s: Time without a policy in PAUSED after which the arm is disarmed.
        tracking_tolerance: Largest distance of the arm from what it was told.
        tracking_timeout_s: How long the arm may be farther away.
        tracking_delay_s: How far back the arm may lag.
        frozen_motion: Joint states that stay the same while a joint is told to go so far.
        rest_velocity: Measured speed below which the arm stands [rad/s].
        stop_timeout_s: A stop that takes longer is a fault.
        clock_tolerance_s: Step of the ROS clock that stops the arm.
        estop_heartbeat_s: Silence of `estop` that latches ESTOP; 0 does not watch it.
        enable_timeout_s: Silence of `enable` that stops the arm; 0 minds only what it says.
        resume_distance: The commanded position is taken up again when arming if the arm is
            within this of it; else the measured position is.
        efforts: Of an arm that takes efforts; None for one that takes positions.
        controller: How closely the controller is watched.
        obstacles: What motions must stay clear of; None if the robot file says nothing of it.
        takeover: How a person's device takes over.
        contact_effort: Measured effort (J,) beyond which a policy is stopped; None for no watch.
    """

    limits: JointLimits
    home: FloatArray
    exempt: FloatArray
    sends_windows: bool = True
    window_s: float = 0.1
    lead_s: float = 0.04
    planning_s: float = 0.03
    command_period_s: float = 0.02
    tick_s: float = 0.01
    overrun_s: float = 0.1
    joint_state_timeout_s: float = 0.1
    policy_timeout_s: float = 0.1
    inference_stall_s: float = 0.5
    starved_timeout_s: float = 0.5
    target_timeout_s: float = 0.09
    abandon_s: float = 1.0
    tracking_tolerance: float = 0.35
    tracking_timeout_s: float = 0.1
    tracking_delay_s: float = 0.2
    rest_velocity: float = 0.1
    stop_timeout_s: float = 3.0
    clock_tolerance_s: float = 0.05
    estop_heartbeat_s: float = 0.0
    enable_timeout_s: float = 0.0
    frozen_motion: float = 0.05
    resume_distance: float = 0.03
    efforts: EffortOptions | None = None
    controller: ControllerOptions = STOCK_CONTROLLER
    obstacles: Obstacles | None = None
    takeover: TakeoverOptions = FADING
    contact_effort: FloatArray | None = None

    @property
    def kept_s(self) -> float:
        """How long the controller keeps what it has [s]; of single positions it has none ahead."""
        return self.lead_s if self.sends_windows else 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """The newest joint state, in joint order; `received_ns` is when it came.

    `effort` is None where the driver gives none, and NaN for a joint without.
    """

    position: FloatArray
    velocity: FloatArray
    received_ns: SteadyNs
    effort: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The newest heartbeat of the policy: inferences it has completed."""

    count: int
    received_ns: SteadyNs


@dataclass(frozen=True, slots=True)
class BadChunk:
    """A chunk that could not be read."""

    reason: str


Chunk: TypeAlias = "Timeline[StampNs] | Prepared | BadChunk"
"""What comes from `policy/action_chunk`."""


@dataclass(frozen=True, slots=True)
class Request:
    """An operator's act; `number` finds the reply."""

    act: Event
    number: int = 0


@dataclass(frozen=True, slots=True)
class Rest:
    """For a controller whose clock does not go with ours.

    Attributes:
        position: Where it is to be at rest (J,) [rad], `duration_s` after it has read this [s].
    """

    position: FloatArray
    duration_s: float


@dataclass(frozen=True, slots=True)
class Reply:
    """Whether an act was accepted, and if not why."""

    number: int
    accepted: bool
    message: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that arrived up to one tick.

    Attributes:
        ros_offset_ns: ROS clock minus steady clock as read now.
        measured: Newest joint state, None before the first.
        heartbeat: Newest heartbeat, None before the first.
        target: Newest operator target, None before the first.
        chunks: Chunks since the last tick, in order.
        estop: Whether the line is on, or was since the last tick.
        estop_received_ns: When the line was last heard, None before that.
        publishers: Publishers on the controller's command topic, ours included.
        requests: Operator's acts since the last tick, in order.
        pushes: What chunks are for an arm that takes efforts, in order.
        seen: Faults that were noticed before the tick, with their evidence.
        around: What is known of the graph.
    """

    ros_offset_ns: int
    measured: Measured | None = None
    heartbeat: Heartbeat | None = None
    target: Target | None = None
    chunks: tuple[Chunk, ...] = ()
    estop: bool = False
    estop_received_ns: SteadyNs | None = None
    publishers: int = 1
    requests: tuple[Request, ...] = ()
    pushes: tuple[EffortTimeline[StampNs], ...] = ()
    seen: Mapping[Fault, str] = field(default_factory=dict[Fault, str])
    around: Surroundings = NOTHING_HEARD


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Something to tell the operator and the recording, on the edge only."""

    name: str
    severity: Severity
    text: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What one tick decided.

    Attributes:
        mode: The mode after this tick.
        command: What the arm is commanded now; None where nothing is sent.
        source: Who commands it (source tag, `hold` or `stop`).
        proposal: What the active source asked for, before any limit.
        proposal_source: Its source tag.
        window: To be sent to the controller now, on the steady clock; None if not due.
        rest: To be sent instead, once; None but where the clocks disagree.
        offset_ns: ROS clock minus steady clock to stamp the window with.
        occurrences: What happened.
        replies: One for each request.
        faults: Latched faults with their evidence.
        efforts: To be sent to an arm that takes efforts, (J,) [N m]; None where nothing is.
        asked_efforts: What was asked for before any bound, (J,) [N m].
        unprepared: The newest chunk is to be prepared with the state of this tick and handed in
            once more: to work out in a tick what of it can be followed takes too long.
    """

    mode: ModeState
    command: JointPoint | None
    source: str
    proposal: JointPoint | None
    proposal_source: str
    window: Timeline[SteadyNs] | None
    offset_ns: int
    occurrences: tuple[Occurrence, ...]
    replies: tuple[Reply, ...]
    faults: Mapping[Fault, str]
    efforts: FloatArray | None = None
    asked_efforts: FloatArray | None = None
    unprepared: bool = False
    rest: Rest | None = None


@dataclass(frozen=True, slots=True)
class SupervisorState:
    """What the supervisor remembers between ticks.

    Attributes:
        mode: Present mode.
        since_ns: When it was entered.
        plan: Commanded motion; None until first armed.
        sent: The window the controller has; None if nothing was sent since arming.
        sent_until_ns: Until when that window is the plan; after it comes its brake.
        sent_ns: When it was sent.
        ticked_ns: Time of the last tick, None before the first.
        ticks: Recent commanded positions with their times, oldest first.
        reference: Newest usable chunk.
        offset_ns: ROS clock minus steady clock, held while armed.
        homing: Whether HUMAN is the `home` motion.
        lead: A person's hold on the arm in HUMAN; None in the home motion.
        handed: The handback that waits for its first chunk; None if there is none.
        target: Where the plan goes to for an operator.
        blocked: What is in the way of that target, or "".
        faults: Latched faults with their evidence.
        watch: Memory of the watchdogs.
        pushing: Memory for an arm that takes efforts.
    """

    mode: ModeState = _BOOT_MODE
    since_ns: SteadyNs = BOOT
    plan: Plan | None = None
    sent: Timeline[SteadyNs] | None = None
    sent_until_ns: int = 0
    sent_ns: SteadyNs = BOOT
    ticked_ns: SteadyNs | None = None
    ticks: tuple[tuple[int, FloatArray], ...] = ()
    reference: Timeline[SteadyNs] | None = None
    offset_ns: int = 0
    homing: bool = False
    lead: Lead | None = None
    handed: Handback | None = None
    target: FloatArray | None = None
    blocked: str = ""
    faults: Mapping[Fault, str] = field(default_factory=dict[Fault, str])
    watch: Watch = NOTHING_WATCHED
    pushing: Pushing = field(default_factory=Pushing)

    @property
    def newest(self) -> object:
        """What the policy asked for last, of whichever kind."""
        return self.reference if self.pushing.rows is None else self.pushing.rows
