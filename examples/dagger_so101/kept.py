# SPDX-License-Identifier: Apache-2.0
"""Demonstrations and the policy trained on them, kept for `learner.py`; plain arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from corrections import Labelled
from improve import scaling_of, untrained
from network import ChunkPolicy, Scaling

_SAMPLES, _WEIGHTS = "demonstrations.npz", "before.npz"


def keep(folder: Path, samples: Labelled, policy: ChunkPolicy) -> None:
    """Write both into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / _SAMPLES, frames=samples.frames, joints=samples.joints, rows=samples.rows)
    weights = {name: tensor.numpy() for name, tensor in policy.state_dict().items()}
    np.savez(folder / _WEIGHTS, **weights)


def kept(folder: Path) -> tuple[Labelled, Scaling, ChunkPolicy]:
    """Read both, and what they are scaled with.

    Raises:
        SystemExit: If they are not there.
    """
    try:
        with np.load(folder / _SAMPLES, allow_pickle=False) as file:
            samples = Labelled.demonstrated(file["frames"], file["joints"], file["rows"])
        scaling = scaling_of(samples)
        policy = untrained(scaling)
        with np.load(folder / _WEIGHTS, allow_pickle=False) as file:
            policy.load_state_dict({name: torch.from_numpy(file[name]) for name in file.files})
    except FileNotFoundError as error:
        raise SystemExit(
            f"{error.filename}: not there. Run reproduce.py --out {folder}"
        ) from error
    return samples, scaling, policy
