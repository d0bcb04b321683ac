# SPDX-License-Identifier: Apache-2.0
"""Every family's export: its parity from message to message, and its success where it is trained.

`examples/export` makes the bundles, the recordings and the answers of the families' own code.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from levine_policy_node.bench.family_command import commanded_apart
from levine_policy_node.bench.family_parity import compare
from levine_policy_node.bench.family_playback import through_ros
from levine_policy_node.bench.family_recording import read_recording, robot_of
from levine_policy_node.bench.machine_probe import MachineProbe
from levine_policy_node.bench.rollouts import run_rollouts
from levine_policy_node.errors import ConfigError, LevineError, UnknownNameError
from levine_policy_node.graph import GraphOptions
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.merge_choice import MergeChoice
from levine_policy_node.sim.direct import Delay, run_direct
from levine_policy_node.sim.tasks import TASKS, Episodes

FAMILIES = (
    "gps",
    "sac",
    "cql",
    "hil_serl",
    "qt_opt",
    "visual_foresight",
    "decision_transformer",
    "rt1",
    "rt2",
    "openvla",
    "openvla_oft",
    "octo",
    "diffusion_policy",
    "act",
    "pi0",
    "pi05",
    "smolvla",
    "gcbc",
    "nomad",
    "rsl_rl",
    "maml",
    "bc",
    "flow",
)
"""Every family that must have an export."""

PICK_PLACE = ("so101_pick_place", "so101_flow")
"""Bundles that ship and are scored on pick and place."""

SHARE_OF_DIRECT = 0.95
_SIMULATED = "sim_so101"
# Followed as far as the controller's topic, as that does not depend on the network.
_COMMANDED, _SPLINE_RAD = "bc", 1e-3


@dataclass(frozen=True, slots=True)
class FamilyRow:
    """What is known of one family.

    Attributes:
        family: Its name.
        robot: Robot file that its recording was played with.
        parity_max_abs: Largest difference from its own code; None if nothing was compared.
        tolerance: Largest difference allowed.
        commanded_max_abs: Largest difference of what the controller is told at a row's time from
            the row [rad]; None where that is not measured.
        closed_loop: Whether it drove the simulated arm.
        task: What for.
        success: Share of the episodes won through ROS.
        success_direct: Likewise, in one process without ROS.
        episodes: How many, of the same seeds.
        stops: Watchdog stops of the episodes through ROS.
        limit_violations: Of the commands in them, as the simulated arm counted them.
        repeated: Episodes through ROS that were run again because the machine was held up.
        error: Why something is missing, or "".
    """

    family: str
    robot: str = ""
    parity_max_abs: float | None = None
    tolerance: float | None = None
    commanded_max_abs: float | None = None
    closed_loop: bool = False
    task: str = ""
    success: float | None = None
    success_direct: float | None = None
    episodes: int = 0
    stops: int = 0
    limit_violations: int = 0
    repeated: int = 0
    error: str = ""

    @property
    def good(self) -> bool:
        """Whether nothing is missing, parity holds, and ROS costs no success."""
        near = self.parity_max_abs is None or self.parity_max_abs <= (self.tolerance or 0.0)
        told = self.commanded_max_abs is None or self.commanded_max_abs <= _SPLINE_RAD
        return not self.error and near and told and self._keeps_up

    @property
    def _keeps_up(self) -> bool:
        if self.success is None or self.success_direct is None:
            return not self.closed_loop
        return self.success >= SHARE_OF_DIRECT * self.success_direct

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Scope:
    """What to measure.

    Attributes:
        root: Folder with `bundles`, `parity` and `closed_loop.yaml`.
        only: Families; empty for all.
        episodes: Per family and way; 0 for parity only.
        seed: Of the first episode.
    """

    root: Path
    only: Sequence[str] = ()
    episodes: int = 20
    seed: int = 1000

    @property
    def seeds(self) -> range:
        """One episode each."""
        return range(self.seed, self.seed + self.episodes)


def family_names(scope: Scope) -> tuple[str, ...]:
    """Families to measure: those that must be there, and what else there is.

    Raises:
        UnknownNameError: If one that was asked for is neither.
    """
    found = sorted(path.stem for path in (scope.root / "parity").glob("*.npz"))
    known = tuple(dict.fromkeys((*FAMILIES, *found)))
    for name in scope.only:
        if name not in (*known, *PICK_PLACE):
            raise UnknownNameError(str(scope.root), "family", name, known)
    return tuple(name for name in known if not scope.only or name in scope.only)


def measure_family(name: str, scope: Scope) -> FamilyRow:
    """Parity of one family, and its success if it is trained for a task."""
    row = FamilyRow(name)
    try:
        bundle = load_bundle(scope.root / "bundles" / name)
        recording = read_recording(scope.root / "parity" / f"{name}.npz")
        robot = robot_of(bundle, recording)
        parity = compare(recording, through_ros(recording, bundle, robot), robot)
        row = replace(
            row,
            robot=robot.name,
            parity_max_abs=parity.max_abs,
            tolerance=recording.tolerance,
        )
        task = read_trained(scope.root).get(name)
        if task is None or scope.episodes == 0:
            return row
        commanded = None
        if name == _COMMANDED:
            commanded = commanded_apart(str(bundle.path), task, scope.seed, _SIMULATED)
        scored = score(str(bundle.path), task, scope.seeds)
        return replace(row, commanded_max_abs=commanded, closed_loop=True, task=task, **scored)
    except (LevineError, ValueError) as error:
        return replace(row, error=" ".join(str(error).split()))


def measure_pick_place(name: str, scope: Scope) -> FamilyRow:
    """Success of a bundle that ships."""
    scored = score(name, "pick_place", scope.seeds)
    return FamilyRow(name, _SIMULATED, closed_loop=True, task="pick_place", **scored)


def score(policy: str, task: str, seeds: range) -> dict[str, Any]:
    """Success on the same seeds through ROS and without, as fields of a row."""
    direct = run_direct(
        robot=_SIMULATED,
        policy=policy,
        episodes=Episodes(seeds, task),
        delay=Delay(),
        merge=MergeChoice(),
        on_episode=_quiet,
    )
    options = GraphOptions(
        robot=_SIMULATED,
        policy=policy,
        recorder=False,
        simulate=True,
        seed=seeds.start,
        task=task,
        log_level="warn",
    )
    with tempfile.TemporaryDirectory(prefix="levine_family_") as logs, MachineProbe() as probe:
        ros = run_rollouts(
            options, seeds, log_directory=Path(logs), on_episode=_quiet, probe=probe
        ).results()
    return {
        "success": ros["successes"] / len(seeds),
        "success_direct": direct["successes"] / len(seeds),
        "episodes": len(seeds),
        "stops": len(ros["stops"]),
        "limit_violations": ros["limit_violations"],
        "repeated": ros["repeated"],
    }


def read_trained(root: Path) -> Mapping[str, str]:
    """Task of every family whose network is trained, from `closed_loop.yaml`.

    Raises:
        ConfigError: If the file is missing or names no task of the simulation.
    """
    path = root / "closed_loop.yaml"
    try:
        document = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(str(path), "", f"cannot be read ({error})") from error
    for family, task in document.items():
        if task not in TASKS:
            raise UnknownNameError(str(path), str(family), str(task), TASKS)
    return document


def measure(scope: Scope, on_row: Callable[[FamilyRow], None]) -> list[FamilyRow]:
    """Every family of the scope, one after the other."""
    rows: list[FamilyRow] = []
    for name in family_names(scope):
        rows.append(measure_family(name, scope))
        on_row(rows[-1])
    return rows


def _quiet(index: int, result: object) -> None:
    del index, result
