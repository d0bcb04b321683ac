# SPDX-License-Identifier: Apache-2.0
"""Bundles that must not take over, made from a good one: what goes wrong on the way to a robot."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

_DOCUMENT = "policy.yaml"


def copied(good: Path, folder: Path, **changes: Any) -> Path:
    """A copy with top-level fields of its document replaced."""
    shutil.copytree(good, folder)
    if changes:
        document = yaml.safe_load((folder / _DOCUMENT).read_text())
        (folder / _DOCUMENT).write_text(yaml.safe_dump({**document, **changes}, sort_keys=False))
    return folder


def scaled(good: Path, folder: Path, factor: float) -> Path:
    """A copy whose actions are `factor` times as large."""
    action = yaml.safe_load((good / _DOCUMENT).read_text())["action"]
    for part in action["parts"]:
        part["scale"] = factor
    return copied(good, folder, name=folder.name, action=action)


def _half_written(good: Path, folder: Path, rng: random.Random) -> Path:
    copy = copied(good, folder)
    graph = rng.choice(sorted(copy.glob("*.onnx")))
    data = graph.read_bytes()
    graph.write_bytes(data[: rng.randrange(len(data))])
    return copy


def _corrupt(good: Path, folder: Path, rng: random.Random) -> Path:
    copy = copied(good, folder)
    graph = rng.choice(sorted(copy.glob("*.onnx")))
    data = bytearray(graph.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    graph.write_bytes(bytes(data))
    return copy


def _wrong_robot(good: Path, folder: Path, rng: random.Random) -> Path:
    return copied(good, folder, robot=rng.choice(["ur5e", "fr3", "so100", "widowx250s"]))


def _wrong_joint_order(good: Path, folder: Path, rng: random.Random) -> Path:
    """The document names the columns of the actions in another order than the network has."""
    action = yaml.safe_load((good / _DOCUMENT).read_text())["action"]
    names = list(action["parts"][0]["names"])
    while names == action["parts"][0]["names"]:
        rng.shuffle(names)
    action["parts"][0]["names"] = names
    return copied(good, folder, action=action)


def _degrees(good: Path, folder: Path, rng: random.Random) -> Path:
    """The network's actions are degrees, and the document does not say so."""
    del rng
    return scaled(good, folder, float(np.degrees(1.0)))


BAD_BUNDLES: Mapping[str, Callable[[Path, Path, random.Random], Path]] = {
    "half-written": _half_written,
    "corrupt": _corrupt,
    "wrong robot": _wrong_robot,
    "wrong joint order": _wrong_joint_order,
    "degrees for radians": _degrees,
}
