# SPDX-License-Identifier: Apache-2.0
"""How moments lie in one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.units import BoolArray

Axis = Literal["time", "channel", "flat"]
Pad = Literal["repeat", "zero"]
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class HistoryAxis:
    """Moments in one tensor, oldest first.

    Attributes:
        steps: How many.
        axis: `time`: an axis of their own after the batch's. `channel`: along an image's channels
            (ViNT, NoMaD). `flat`: along a vector.
        pad: What stands for moments before the first: that one again (Octo, Diffusion Policy), or
            zeros (Decision Transformer).
        channel: Which axis of a moment's tensor the channels are.
        widths: With `flat`, how many numbers of each term; one term's moments then lie together
            (Isaac Lab). Empty to put whole moments one after the other.
    """

    steps: int = 1
    axis: Axis = "time"
    pad: Pad = "repeat"
    channel: int = 0
    widths: tuple[int, ...] = ()

    def tensor(self, moments: Sequence[Array]) -> Array:
        """One tensor with a batch axis of 1.

        Args:
            moments: At least one array, all of one shape, oldest first, without batch axis; those
                before the last `steps` are left out.
        """
        moments = moments[-self.steps :]
        missing = self.steps - len(moments)
        first = np.zeros_like(moments[0]) if self.pad == "zero" else moments[0]
        padded = [*[first] * missing, *moments]
        if self.axis == "time":
            return np.stack(padded)[None]
        if self.axis == "channel":
            return np.concatenate(padded, axis=self.channel)[None]
        rows = np.stack(padded)
        terms = np.split(rows, np.cumsum(self.widths)[:-1], axis=1) if self.widths else [rows]
        return np.concatenate([term.ravel() for term in terms])[None]

    def shape(self, moment: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the tensor for moments of this shape."""
        if self.axis == "time":
            return (1, self.steps, *moment)
        along = self.channel if self.axis == "channel" else 0
        sizes = list(moment)
        sizes[along] *= self.steps
        return (1, *sizes)

    def seen(self, count: int) -> BoolArray:
        """Which of the steps are no padding, shape (steps,), when there are `count` moments."""
        return np.arange(self.steps) >= self.steps - min(count, self.steps)
