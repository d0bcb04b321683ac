# SPDX-License-Identifier: Apache-2.0
"""The training loop of the families that are trained here."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def fitted(
    network: nn.Module,
    loss: Callable[[Tensor], Tensor],
    samples: int,
    steps: int,
    *,
    batch: int = 128,
    rate: float = 3e-3,
) -> None:
    """Adam with a cosine decay; the weights are averaged over the last quarter.

    Args:
        network: What is trained, in place.
        loss: Of the samples with these numbers.
        samples: How many there are.
        steps: Gradient steps.
        batch: Samples per step.
        rate: Learning rate at the beginning.
    """
    weights = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, rate, weight_decay=1e-4, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    mean = [weight.detach().clone() for weight in weights]
    network.train()
    for step in range(1, steps + 1):
        value = loss(torch.randint(0, samples, (batch,)))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
        since = step - steps * 3 // 4
        if since > 0:
            for average, weight in zip(mean, weights, strict=True):
                average.lerp_(weight.detach(), 1.0 / since)
        if step % max(steps // 5, 1) == 0:
            print(f"step {step}, loss {value.item():.4f}", flush=True)
    with torch.no_grad():
        for average, weight in zip(mean, weights, strict=True):
            weight.copy_(average)
    network.eval()
