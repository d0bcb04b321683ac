# SPDX-License-Identifier: Apache-2.0
"""Clock types that cannot be mixed, and array aliases."""

from __future__ import annotations

from typing import NewType

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

StampNs = NewType("StampNs", int)
"""Data time: nanoseconds on the ROS clock (`header.stamp`)."""

SteadyNs = NewType("SteadyNs", int)
"""Watchdog and deadline time: nanoseconds on the steady (monotonic) clock."""

BOOT = SteadyNs(0)
"""Before anything happened."""

NS_PER_S = 1_000_000_000


def seconds(duration_ns: int) -> float:
    """Convert a duration from [ns] to [s]."""
    return duration_ns / NS_PER_S


def nanoseconds(duration_s: float) -> int:
    """Convert a duration from [s] to [ns], rounded to the nearest."""
    return round(duration_s * NS_PER_S)
