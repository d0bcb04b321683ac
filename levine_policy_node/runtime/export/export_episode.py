# SPDX-License-Identifier: Apache-2.0
"""One episode on the grid of a data set: columns, pictures and what is known about it.

Every format is written from this value and knows nothing of recordings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy.typing as npt

from levine_policy_node.core.observation import Pixels

STATE = "observation.state"
VELOCITY = "observation.velocity"
IMAGE_PREFIX = "observation.images."
ACTION = "action"
REWARD = "next.reward"
DONE = "next.done"
SUCCESS = "next.success"
INTERVENTION = "intervention"
EXTRA = "complementary_info."
LABEL = f"{EXTRA}intv_label"


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One value per frame.

    Attributes:
        values: Shape (N,) or (N, D); text has dtype object.
        names: Of the D columns; None for a single value.
        about: What it is, with its unit, for people.
    """

    values: npt.NDArray[Any]
    names: tuple[str, ...] | None = None
    about: str = ""

    @property
    def dtype(self) -> str:
        """Name of the type as data sets write it."""
        return "string" if self.values.dtype.kind in "OU" else str(self.values.dtype)

    @property
    def width(self) -> int | None:
        """Values per frame; None for a single one."""
        return None if self.values.ndim == 1 else int(self.values.shape[1])


class Reel(Protocol):
    """The pictures of one camera, one per frame, read when they are asked for."""

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        ...

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        ...

    def pixels(self, index: int) -> Pixels:
        """RGB of one frame, shape (H, W, 3)."""
        ...


@dataclass(frozen=True, slots=True)
class Intervention:
    """Frames in which a person drove.

    Attributes:
        start_frame: First one.
        end_frame: One past the last.
        start_s: Since the first frame of the episode, by the recorded clock [s].
        end_s: The same, of the frame after the last [s].
        reason: Why it began, as the recording says.
        trigger: Who or what began it.
    """

    start_frame: int
    end_frame: int
    start_s: float
    end_s: float
    reason: str = ""
    trigger: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ExportEpisode:
    """What one recording gives to a data set.

    Attributes:
        columns: By their name in the data set, each with N rows.
        cameras: Pictures by camera name, N each.
        task: What was to be done, in words; one for the whole episode.
        success: How it ended.
        outcome: `success`, `failure`, `aborted` or `unknown`.
        interventions: When a person drove.
        facts: Further values of the episode, by column name: text, numbers or truth values.
    """

    columns: Mapping[str, Column]
    cameras: Mapping[str, Reel]
    task: str
    success: bool
    outcome: str
    interventions: Sequence[Intervention] = ()
    facts: Mapping[str, str | int | float | bool] = field(
        default_factory=dict[str, "str | int | float | bool"]
    )

    @property
    def length(self) -> int:
        """Number of frames N."""
        return len(self.columns[ACTION].values)

    @property
    def layout(self) -> dict[str, dict[str, Any]]:
        """What every episode of a data set has alike, as plain values."""
        columns = {
            name: {"dtype": c.dtype, "width": c.width or 1, "about": c.about}
            for name, c in self.columns.items()
        }
        cameras = {name: [reel.height, reel.width] for name, reel in self.cameras.items()}
        return {"columns": columns, "cameras": cameras}
