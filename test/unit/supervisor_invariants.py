# SPDX-License-Identifier: Apache-2.0
"""What is always true of a tick of the supervisor, one function per invariant.

Each function says whether one `Move` keeps it; its docstring is the sentence that
`docs/safety.md` shows. They judge from what the world did (`Surroundings`), from replies and from
modes, not from the tables that they check.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass

from levine_policy_node.core.faults import RESPONSES, Clears, Fault, Severity
from levine_policy_node.core.modes import Event, Mode, ModeState
from levine_policy_node.core.supervision import Decision, SupervisorState

BEGINNING = {Event.ENGAGE, Event.RESUME, Event.HOME, Event.TAKEOVER}
MOVED = {Mode.POLICY, Mode.HUMAN}
HELD = {Mode.ARMED, Mode.PAUSED}
SILENT = {Mode.INIT, Mode.DISARMED, Mode.FAULT, Mode.ESTOP}
LATCHES = [Mode.PSTOP, Mode.FAULT, Mode.ESTOP]
SOFTEST_FIRST = [Mode.PAUSED, Mode.DISARMED, Mode.PSTOP, Mode.FAULT, Mode.ESTOP]
MOTION = {Mode.POLICY: 3, Mode.HUMAN: 3, Mode.STOPPING: 2, Mode.ARMED: 1, Mode.PAUSED: 1}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the world is like in one tick.

    Attributes:
        estop: The e-stop line is on.
        arm: "still", "moving", "outside" its range, or "unseen" (joint states are late).
        policy: The policy's heartbeat is fresh.
        target: The operator's target is fresh; this is the dead-man.
        publishers: On the controller's topic.
        seen: Any other fault whose cause is there.
        over: The commanded motion has come to its end.
        aged: The mode has lasted for longer than any timeout.
    """

    estop: bool = False
    arm: str = "still"
    policy: bool = True
    target: bool = True
    publishers: int = 1
    seen: frozenset[Fault] = frozenset()
    over: bool = False
    aged: bool = False

    def causes(self) -> set[Fault]:
        """Every fault whose cause is there."""
        found = {
            Fault.ESTOP_PRESSED: self.estop,
            Fault.JOINT_STATES_LOST: self.arm == "unseen",
            Fault.POLICY_LOST: not self.policy,
            Fault.FOREIGN_PUBLISHER: self.publishers > 1,
        }
        return {fault for fault, there in found.items() if there} | set(self.seen)


@dataclass(frozen=True, slots=True)
class Move:
    """One tick of the production supervisor.

    Attributes:
        before: State before it.
        world: Of this tick.
        acts: What the operator asked for.
        after: State after it.
        decision: Of this tick.
        deliberate: Acts that led towards motion since the arm was last disarmed or latched, the
            accepted ones of this tick included.
        without: Mode after the same tick without the acts; None if there were none.
    """

    before: SupervisorState
    world: Surroundings
    acts: tuple[Event, ...]
    after: SupervisorState
    decision: Decision
    deliberate: int
    without: ModeState | None = None

    @property
    def old(self) -> Mode:
        """Mode before."""
        return self.before.mode.mode

    @property
    def new(self) -> Mode:
        """Mode after."""
        return self.after.mode.mode

    def accepted(self) -> set[Event]:
        """Acts that were carried out."""
        replies = self.decision.replies
        return {act for act, reply in zip(self.acts, replies, strict=True) if reply.accepted}


def _rank(state: ModeState) -> int:
    """How severe a stop is: of the mode, or of where STOPPING leads; -1 if it is none."""
    mode = state.target if state.mode is Mode.STOPPING else state.mode
    return SOFTEST_FIRST.index(mode) if mode in SOFTEST_FIRST else -1


# Stops and latches.


def an_emergency_stop_is_obeyed_in_every_mode(move: Move) -> bool:
    """With the e-stop line on, the mode is ESTOP after that very tick."""
    return not move.world.estop or move.new is Mode.ESTOP


def a_latch_opens_only_by_reset(move: Move) -> bool:
    """PSTOP, FAULT and ESTOP are left for another mode only by an accepted `reset`."""
    left = move.old in LATCHES and move.new not in LATCHES
    return not left or Event.RESET in move.accepted()


def a_latch_only_becomes_more_severe(move: Move) -> bool:
    """Between latches the order is PSTOP, FAULT, ESTOP and never the other way."""
    if move.old not in LATCHES or move.new not in LATCHES or Event.RESET in move.accepted():
        return True
    return LATCHES.index(move.new) >= LATCHES.index(move.old)


def a_reset_is_refused_while_a_latched_cause_remains(move: Move) -> bool:
    """`reset` is refused while the e-stop is pressed, the arm unseen, or a latched cause there."""
    latched = {f for f in move.before.faults if RESPONSES[f].clears is Clears.ON_RESET}
    blind = {Fault.ESTOP_PRESSED, Fault.JOINT_STATES_LOST}
    # What a reset gives up (the held command, the held clock, a count) is no cause any more.
    given_up = {Fault.TRACKING, Fault.CLOCK_STEPPED, Fault.BAD_CHUNKS}
    remains = move.world.causes() & ((latched | blind) - given_up)
    return not remains or Event.RESET not in move.accepted()


def a_reset_is_refused_while_the_arm_moves(move: Move) -> bool:
    """`reset` is refused while the arm is seen to move."""
    return move.world.arm != "moving" or Event.RESET not in move.accepted()


def a_reset_starts_no_motion(move: Move) -> bool:
    """A `reset` leads to DISARMED or to INIT and nowhere else."""
    reset = Event.RESET in move.accepted() and len(move.acts) == 1
    return not reset or move.new in {Mode.DISARMED, Mode.INIT}


def a_defect_is_never_forgotten(move: Move) -> bool:
    """A fault that only a restart clears stays, and it keeps the latch closed."""
    lasting = {f for f in move.before.faults if RESPONSES[f].clears is Clears.NEVER}
    kept = lasting <= set(move.after.faults)
    return kept and not (lasting and Event.RESET in move.accepted())


def a_latched_fault_is_kept_until_reset(move: Move) -> bool:
    """A fault that a reset clears is kept until a reset is accepted."""
    latched = {f for f in move.before.faults if RESPONSES[f].clears is Clears.ON_RESET}
    return Event.RESET in move.accepted() or latched <= set(move.after.faults)


# Beginning to move.


def motion_begins_only_by_an_act(move: Move) -> bool:
    """POLICY and HUMAN are entered only by engage, resume, home, takeover or handback."""
    began = move.new in MOVED and move.old not in MOVED
    return not began or bool(move.accepted() & BEGINNING)


def motion_takes_two_acts(move: Move) -> bool:
    """From boot, DISARMED or a latch to motion there are at least two deliberate acts."""
    return move.new not in MOVED or move.deliberate >= 2


def without_an_act_there_is_only_less_motion(move: Move) -> bool:
    """Whatever policy, robot and time do, without an accepted act motion only becomes less."""
    if move.accepted():
        return True
    return MOTION.get(move.new, 0) <= MOTION.get(move.old, 0)


def control_changes_hands_only_by_an_act(move: Move) -> bool:
    """POLICY becomes HUMAN only by `takeover`, HUMAN becomes POLICY only by `handback`."""
    needed = {
        (Mode.POLICY, Mode.HUMAN): Event.TAKEOVER,
        (Mode.HUMAN, Mode.POLICY): Event.HANDBACK,
    }.get((move.old, move.new))
    return needed is None or needed in move.accepted()


def home_is_not_handed_back(move: Move) -> bool:
    """The home motion is nobody's hand, so it cannot be handed back to the policy."""
    return not (move.before.homing and Event.HANDBACK in move.accepted())


def arming_needs_an_arm_that_is_seen_and_stands_in_its_range(move: Move) -> bool:
    """`arm` is refused unless the arm is seen, stands and is inside its range."""
    return Event.ARM not in move.accepted() or move.world.arm == "still"


def arming_needs_a_controller_of_ones_own(move: Move) -> bool:
    """`arm` is refused while anybody else publishes on the controller's topic."""
    return Event.ARM not in move.accepted() or move.world.publishers == 1


# While it moves.


def the_policy_moves_the_arm_only_while_it_lives(move: Move) -> bool:
    """In POLICY the policy's heartbeat is fresh."""
    return move.new is not Mode.POLICY or move.world.policy


def a_person_moves_the_arm_only_with_a_live_device(move: Move) -> bool:
    """In HUMAN the operator's target is fresh (the dead-man), or it is the home motion."""
    return move.new is not Mode.HUMAN or move.world.target or move.after.homing


def an_unseen_arm_is_neither_moved_nor_held(move: Move) -> bool:
    """In ARMED, PAUSED, POLICY and HUMAN the joint states are fresh."""
    return move.new not in MOVED | HELD or move.world.arm != "unseen"


def no_mode_is_kept_that_a_present_cause_forbids(move: Move) -> bool:
    """After a tick every present cause that counts in the mode has the stop it demands."""
    state = move.after.mode
    for fault in move.world.causes():
        response = RESPONSES[fault]
        if state.mode not in response.modes:
            continue
        stop = (None, Mode.PAUSED, Mode.PSTOP, Mode.FAULT, Mode.ESTOP)[response.severity]
        # A pause changes nothing where the arm stands anyway.
        enough = _rank(state) >= (SOFTEST_FIRST.index(stop) if stop else -1)
        paused = response.severity is Severity.PAUSE and state.mode not in MOVED
        if not enough and not paused:
            return False
    return True


def the_worst_cause_decides(move: Move) -> bool:
    """Where several causes come together, the most severe of them sets the stop."""
    counted = [RESPONSES[f] for f in move.world.causes() if move.old in RESPONSES[f].modes]
    worst = max((response.severity for response in counted), default=Severity.NOTICE)
    # In a latch there is nothing left to stop; what is worse than it has a row of its own.
    if worst <= Severity.PAUSE or move.old in {Mode.INIT, *LATCHES}:
        return True
    least = {Severity.PSTOP: Mode.PSTOP, Severity.FAULT: Mode.FAULT, Severity.ESTOP: Mode.ESTOP}
    return _rank(move.after.mode) >= SOFTEST_FIRST.index(least[worst])


def a_cause_that_counts_is_latched_and_told(move: Move) -> bool:
    """A cause that counts is latched in the tick it is seen, and told when it was not before."""
    counted = {f for f in move.world.causes() if move.old in RESPONSES[f].modes}
    said = {occurrence.name for occurrence in move.decision.occurrences}
    opened = RESPONSES if move.accepted() else {}
    return all(
        (fault in move.after.faults or fault in opened)
        and (fault in move.before.faults or fault.name in said)
        for fault in counted
    )


# Ceasing to move.


def motion_ends_in_stopping_or_in_a_latch(move: Move) -> bool:
    """POLICY and HUMAN are left for STOPPING, or for ESTOP, and for nothing else."""
    left = move.old in MOVED and move.new not in MOVED
    return not left or move.new in {Mode.STOPPING, Mode.ESTOP}


def stopping_never_returns_to_motion(move: Move) -> bool:
    """From STOPPING there is no way back to POLICY or HUMAN."""
    return move.old is not Mode.STOPPING or move.new not in MOVED


def stopping_never_becomes_milder(move: Move) -> bool:
    """The target of STOPPING, and where it ends, is never milder than it was."""
    if move.old is not Mode.STOPPING:
        return True
    return _rank(move.after.mode) >= _rank(move.before.mode)


def stopping_ends_when_the_arm_stands(move: Move) -> bool:
    """STOPPING ends at rest: the motion is over and the arm is not seen to move.

    The exceptions are an emergency stop and a stop that takes too long, which ends in FAULT.
    """
    if move.old is not Mode.STOPPING or move.new in {Mode.STOPPING, Mode.ESTOP}:
        return True
    stands = move.world.over and move.world.arm != "moving"
    return stands or (move.new is Mode.FAULT and move.world.aged)


def a_stop_that_takes_too_long_is_a_fault(move: Move) -> bool:
    """An arm that moves when a stop should be over stops in FAULT, at once if braking is over."""
    overdue = move.old is Mode.STOPPING and move.world.aged and move.world.arm == "moving"
    if not overdue:
        return True
    fault = _rank(move.after.mode) >= SOFTEST_FIRST.index(Mode.FAULT)
    return fault and (not move.world.over or move.new in {Mode.FAULT, Mode.ESTOP})


def a_pause_without_a_policy_is_given_up(move: Move) -> bool:
    """PAUSED without a policy for too long becomes DISARMED, or worse."""
    forlorn = move.old is Mode.PAUSED and move.world.aged and not move.world.policy
    return not forlorn or move.new not in HELD


# What is sent.


def silence_where_nothing_may_be_sent(move: Move) -> bool:
    """In INIT, DISARMED, FAULT and ESTOP nothing is sent, but one last brake on entering."""
    decision = move.decision
    last_brake = move.old in MOVED | {Mode.STOPPING}
    quiet = decision.command is None and (decision.window is None or last_brake)
    return move.new not in SILENT or quiet


def a_command_in_every_other_mode(move: Move) -> bool:
    """In every other mode the arm is told something, at least where to stay.

    A PSTOP that was asked for while DISARMED holds nothing, as before.
    """
    nothing_held = move.new is Mode.PSTOP and move.after.plan is None
    return move.new in SILENT or nothing_held or move.decision.command is not None


def commands_begin_by_arming(move: Move) -> bool:
    """After a mode in which nothing was sent, only an accepted `arm` makes the arm be told."""
    silent = move.old in SILENT or (move.old is Mode.PSTOP and move.before.plan is None)
    sends = move.decision.command is not None
    return not (silent and sends) or Event.ARM in move.accepted()


def what_stands_is_told_to_stand(move: Move) -> bool:
    """In ARMED, PAUSED and PSTOP the command is at rest."""
    command = move.decision.command
    if move.new not in HELD | {Mode.PSTOP} or command is None:
        return True
    return not command.velocity.any() and not command.acceleration.any()


# Answers.


def every_act_is_answered(move: Move) -> bool:
    """Every act has its reply, and a refusal says why."""
    replies = move.decision.replies
    return len(replies) == len(move.acts) and all(len(reply.message) > 3 for reply in replies)


def a_refused_act_changes_nothing(move: Move) -> bool:
    """After a refused act the mode is what it would have been without it."""
    return bool(move.accepted()) or move.without is None or move.after.mode == move.without


def less_motion_is_never_refused(move: Move) -> bool:
    """`stop` is accepted in every mode but INIT; `pause` and `disarm` wherever the arm moves."""
    accepted = move.accepted()
    wanted = set(move.acts) if len(move.acts) == 1 else set()
    if Event.STOP in wanted and move.old is not Mode.INIT:
        return Event.STOP in accepted
    stops = move.without is not None and move.without.mode in MOVED
    return not stops or wanted & {Event.PAUSE, Event.DISARM} <= accepted


def every_change_is_told_with_its_cause(move: Move) -> bool:
    """Every change of mode is told, with both modes and the cause."""
    if move.before.mode == move.after.mode:
        return True
    told = [o.text for o in move.decision.occurrences if o.name == "MODE"]
    begins = [text.startswith(f"{move.before.mode} -> ") for text in told]
    ends = [f"-> {move.after.mode}: " in text and text[-1] not in ": " for text in told]
    return any(begins) and any(ends)


Invariant = Callable[[Move], bool]


def invariants() -> list[Invariant]:
    """Every public function above that judges a move, in the order of this file."""
    found = [
        function
        for name, function in inspect.getmembers(sys.modules[__name__], inspect.isfunction)
        if not name.startswith("_") and name != "invariants"
        if function.__module__ == __name__
    ]
    return sorted(found, key=lambda function: function.__code__.co_firstlineno)
