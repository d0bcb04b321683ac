# SPDX-License-Identifier: Apache-2.0
"""How the releases of ros2_controllers differ, as far as it changes what the arm is told.

Read in ros2_controllers at these commits; the same files are meant by `trajectory.cpp`, `jtc.cpp`
(`joint_trajectory_controller.cpp`) and `base.cpp` (`forward_controllers_base.cpp`) everywhere
in `sim/`:

| distribution | branch, commit | version |
|---|---|---|
| humble | humble ad559d9c8 | 2.54.0 |
| jazzy | jazzy ed360c97d | 4.42.1 |
| kilted | kilted 0f8eb14e1 | 5.17.0 |
| lyrical, rolling | master 94e74de35 | 6.9.0 and after; blending is from #2419 |

What is the same in all of them: a message whose stamp lies in the past is sampled at its own
times, so that points in the past are skipped (`trajectory.cpp` `sample`); between now and a first
point in the future the controller interpolates from the *measured* state; past the last point it
holds it; NaN passes every check. Kilted differs from Jazzy only in that `open_loop_control` is
gone, which is a second name of `interpolate_from_desired_state` there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Distribution = Literal["humble", "jazzy", "kilted", "master"]
"""A branch of ros2_controllers; Lyrical and Rolling are built from `master`."""


@dataclass(frozen=True, slots=True)
class ControllerSemantics:
    """What one release does.

    Attributes:
        looks_ahead: joint_trajectory_controller writes the setpoint of the *next* cycle (jazzy
            jtc.cpp:327, kilted :333, master :345); Humble that of the present one (:220).
        remembers_command_time: With `interpolate_from_desired_state` the way to the first point
            begins when the last command was written (jazzy jtc.cpp:302-307); on Humble, where
            the parameter is called `open_loop_control`, it begins now (:206-209).
        blends: A message that arrives while another is played is joined to it at its *arrival*,
            and a stamp in the past counts as "now", so its points are played late by as much
            (master jtc.cpp:285-290 and 1789-1895), unless `allow_trajectory_replacement` is off.
        end_searches_on: Looking one cycle ahead past the last point also moves the search for
            the present one there (jazzy and kilted trajectory.cpp:211); master asks first
            (:306). Humble has one search only.
        end_velocity_allowed: Default of `allow_nonzero_velocity_at_trajectory_end`.
        drops_nonfinite: forward_command_controller drops a message with NaN or infinity (jazzy
            base.cpp:79-87); Humble writes it to the hardware (:140-143).
        error_deactivates: The controller manager deactivates a controller whose `update` fails,
            as forward_command_controller's does for a wrong size (jazzy base.cpp:175). Humble's
            ignores it, so the next good message is obeyed again.
    """

    looks_ahead: bool = True
    remembers_command_time: bool = True
    blends: bool = False
    end_searches_on: bool = True
    end_velocity_allowed: bool = False
    drops_nonfinite: bool = True
    error_deactivates: bool = True


SEMANTICS: Mapping[Distribution, ControllerSemantics] = MappingProxyType(
    {
        "humble": ControllerSemantics(
            looks_ahead=False,
            remembers_command_time=False,
            end_velocity_allowed=True,
            drops_nonfinite=False,
            error_deactivates=False,
        ),
        "jazzy": ControllerSemantics(),
        "kilted": ControllerSemantics(),
        "master": ControllerSemantics(blends=True, end_searches_on=False),
    }
)
