# SPDX-License-Identifier: Apache-2.0
"""The loop that every training here runs: AdamW, one cycle of learning rate, clipped gradients."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_WEIGHT_DECAY = 1e-4
_LARGEST_GRADIENT = 1.0


@dataclass(frozen=True, slots=True)
class Descent:
    """How far and how fast.

    Attributes:
        steps: Of the optimiser.
        learning_rate: The highest of the cycle.
        report_every: Steps between two lines of progress.
    """

    steps: int
    learning_rate: float
    report_every: int

    def run(
        self,
        parameters: Iterable[nn.Parameter],
        loss: Callable[[], Tensor],
        after_step: Callable[[], object] = lambda: None,
    ) -> None:
        """Minimise in place, printing the mean loss.

        Args:
            parameters: To be fitted.
            loss: Draws a batch and returns its loss.
            after_step: Called after each step.
        """
        fitted = list(parameters)
        optimizer = torch.optim.AdamW(fitted, self.learning_rate, weight_decay=_WEIGHT_DECAY)
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.learning_rate, total_steps=self.steps, pct_start=0.1
        )
        began, total = time.monotonic(), 0.0
        for step in range(1, self.steps + 1):
            found = loss()
            optimizer.zero_grad()
            found.backward()
            nn.utils.clip_grad_norm_(fitted, _LARGEST_GRADIENT)
            optimizer.step()
            cycle.step()
            after_step()
            total += found.item()
            if step % self.report_every == 0:
                mean, seconds = total / self.report_every, time.monotonic() - began
                print(f"  step {step}/{self.steps}  loss {mean:.4f}  {seconds:.0f} s", flush=True)
                total = 0.0
