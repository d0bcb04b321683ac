# SPDX-License-Identifier: Apache-2.0
"""The hazards, numbered; what must happen, and where it is to be shown.

`dst` is the deterministic simulation, `sil` real processes over loopback, `code` the production
code called directly. Stops: DROP discards the message and keeps the motion that was safe; HOLD
brakes to a stand that is not latched (PAUSED); PSTOP is the same, latched; FAULT and ESTOP latch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Where = Literal["dst", "sil", "both", "code"]


@dataclass(frozen=True, slots=True)
class Hazard:
    """One row of the table."""

    text: str
    reaction: str
    where: Where = "dst"


HAZARDS: Mapping[int, Hazard] = {
    1: Hazard("NaN or infinity in an action", "DROP; two in a row: PSTOP"),
    2: Hazard("position beyond a limit", "clamped or dropped, never sent"),
    3: Hazard("velocity beyond a limit", "slowed as a whole, never sent"),
    4: Hazard("acceleration beyond a limit", "slowed, never sent"),
    5: Hazard("jerk beyond a limit", "slowed, never sent"),
    6: Hazard("a chunk begins far from the last command", "never a step; blended or dropped"),
    7: Hazard("wrong length, type, unit or scale", "refused at load; at run time PSTOP"),
    8: Hazard("joint names missing, reordered or twice", "mapped by name, else dropped"),
    9: Hazard("times that stand still, go back or are absurd", "DROP"),
    10: Hazard("a stamp in the past or the future", "DROP"),
    11: Hazard("the policy's output is stuck or out of range", "warned of; out of range: HOLD"),
    12: Hazard("the policy's output chatters", "smoothed; for 0.5 s: HOLD"),
    13: Hazard("the way leaves the workspace or hits the arm itself", "stopped before: HOLD"),
    14: Hazard("singular pose", "slowed"),
    15: Hazard("excess force or contact", "HOLD"),
    16: Hazard("observations are old", "no inference from them; HOLD", "both"),
    17: Hazard("a camera repeats its image with fresh stamps", "HOLD", "both"),
    18: Hazard("a camera is gone", "HOLD", "both"),
    19: Hazard("black, white or saturated images", "HOLD"),
    20: Hazard("two cameras are swapped", "refused to arm", "both"),
    21: Hazard("encoding, size or rate of images changes", "HOLD"),
    22: Hazard("stamps or the ROS clock jump", "watchdogs go on; HOLD", "both"),
    23: Hazard("clocks of two hosts disagree", "refused to arm; warned of", "both"),
    24: Hazard("/clock stops", "watchdogs go on; HOLD", "both"),
    25: Hazard("joint_states lack joints, or have them in another order", "by name; else PSTOP"),
    26: Hazard("joint_states are not numbers", "as if nothing came: PSTOP"),
    27: Hazard("joint_states stand still while the arm moves", "PSTOP"),
    28: Hazard("the arm is blocked", "PSTOP"),
    29: Hazard("camera and joints are apart in time", "no inference; HOLD"),
    30: Hazard("the policy dies", "HOLD; it comes back into standby", "both"),
    31: Hazard("the policy hangs", "HOLD", "both"),
    32: Hazard("the policy becomes slow", "HOLD", "both"),
    33: Hazard("the policy's interpreter stalls", "HOLD; the supervisor does not notice", "both"),
    34: Hazard("the supervisor dies", "the controller finishes the brake it has", "both"),
    35: Hazard("the supervisor hangs", "as 34; no old motion afterwards", "both"),
    36: Hazard("policy and supervisor die", "as 34", "both"),
    37: Hazard("memory, descriptors or shared memory leak", "none do", "sil"),
    38: Hazard("the processor is taken away", "HOLD with the next tick", "both"),
    39: Hazard("a process comes back by itself", "DISARMED, never motion", "both"),
    40: Hazard("the recorder's disk is full", "motion goes on; the episode says so", "both"),
    41: Hazard("the recorder is slow", "bounded; dropped and counted", "code"),
    42: Hazard("the recorder dies in an episode", "what was closed is intact", "sil"),
    43: Hazard("a network's file is corrupt", "refused before arming", "code"),
    44: Hazard("a network's file is hostile", "refused before arming", "code"),
    45: Hazard("a policy of another robot", "refused before arming", "code"),
    46: Hazard("policies are exchanged while the arm moves", "only at a stand", "code"),
    47: Hazard("statistics of another data set", "refused in shadow", "code"),
    48: Hazard("a person takes over in the middle of a chunk", "at once, without a step"),
    49: Hazard("a person lets go", "HOLD; never back to the policy"),
    50: Hazard("the deadman switch is released or squeezed", "HOLD"),
    51: Hazard("the operator's device is gone or sends nonsense", "HOLD"),
    52: Hazard("emergency stop", "silence after one last brake; latched"),
    53: Hazard("reset while the cause is there, or a stuck button", "refused"),
    54: Hazard("the robot stops by itself and recovers by itself", "PSTOP"),
    55: Hazard("the safety status is missing", "refused to arm; running: stopped"),
    56: Hazard("two publishers on the command topic", "refused to arm; running: FAULT", "both"),
    57: Hazard("a rogue publisher", "FAULT by the controller's reference", "both"),
    58: Hazard("parameters are changed at run time", "refused", "sil"),
    59: Hazard("the controller is deactivated", "FAULT; never the old motion"),
    60: Hazard("a trajectory is rejected", "noticed by its absence: HOLD"),
    61: Hazard("the hardware reports an error", "FAULT"),
    62: Hazard("the network is cut", "both sides stop by themselves", "both"),
    63: Hazard("QoS does not match", "refused before arming", "sil"),
    64: Hazard("a flood of messages", "ticks go on; PSTOP", "both"),
    65: Hazard("two supervisors", "the second ends", "sil"),
    66: Hazard("discovery is slow", "not armed before the arm is heard"),
    67: Hazard("oversized or malformed messages", "dropped and counted"),
    68: Hazard("another robot on the same domain", "refused to arm", "sil"),
    69: Hazard("somebody else arms or resets", "refused", "sil"),
    70: Hazard("NTP corrects the system clock", "nothing", "both"),
}
