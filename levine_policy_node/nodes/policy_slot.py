# SPDX-License-Identifier: Apache-2.0
"""One loaded policy with all that goes with it, ready to be put in another's place."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, cast

from levine_policy_node.core.alignment import AlignmentLimits
from levine_policy_node.core.effort_placement import EffortPlacer
from levine_policy_node.core.frame_store import FrameStore
from levine_policy_node.core.merge import MergeOptions
from levine_policy_node.core.output_watch import OutputWatch
from levine_policy_node.core.placement import ChunkPlacer
from levine_policy_node.core.replan_rule import ReplanOptions
from levine_policy_node.core.replanner import Replanner
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import BundleError
from levine_policy_node.nodes.policy_setup import PolicyExecutorParameters
from levine_policy_node.robot import Robot
from levine_policy_node.runtime.bundle import Bundle, load_bundle
from levine_policy_node.runtime.bundle_trial import Trials
from levine_policy_node.runtime.merge_choice import (
    MergeChoice,
    merge_options,
    merge_remarks,
    prefix_options,
)
from levine_policy_node.runtime.policy_loader import LoadedPolicy, load_policy
from levine_policy_node.runtime.remote_access import RemoteAccess
from levine_policy_node.runtime.replan_choice import (
    ReplanChoice,
    describe,
    replan_options,
    replan_remarks,
)
from levine_policy_node.runtime.trust import Trust

_SPARE_FRAMES = 8


@dataclass(frozen=True, slots=True, eq=False)
class PolicySlot:
    """A policy that fits the robot, warmed up, and what decides for it.

    Attributes:
        bundle: What it was made from.
        policy: The policy; it is the slot's to close.
        replanner: When to infer, and from what.
        placer: The timeline its chunks are merged into.
        output: Whether its chunks make sense.
        summary: All of this in one line.
        remarks: What the operator should know of it.
    """

    bundle: Bundle
    policy: LoadedPolicy
    replanner: Replanner
    placer: ChunkPlacer | EffortPlacer
    output: OutputWatch
    summary: str
    remarks: tuple[str, ...]

    def continue_from(self, other: PolicySlot, now_ns: StampNs) -> None:
        """Take over from `other`: the joint states it has seen, the timeline that is played."""
        self.replanner.continue_from(other.replanner)
        mine, others = self.placer, other.placer
        # A robot takes either positions or efforts, so both are of one kind.
        if isinstance(mine, ChunkPlacer) and isinstance(others, ChunkPlacer):
            mine.continue_from(others, now_ns)
        elif isinstance(mine, EffortPlacer) and isinstance(others, EffortPlacer):
            mine.continue_from(others)


def make_slot(
    bundle: Bundle,
    robot: Robot,
    settings: PolicyExecutorParameters,
    store: FrameStore,
    trials: Trials,
) -> PolicySlot:
    """Try, load and warm up a verified bundle; takes as long as that takes.

    Raises:
        BundleError: If it does not fit the robot, the executor's parameters or its own document.
    """
    bundle = bundle.for_robot(robot)
    settings.access.check(bundle)
    merge, replan = _merge(bundle, robot, settings), _replan(bundle, robot, settings)
    prefix = prefix_options(bundle, merge)
    _keep_past(bundle, robot, store)
    options = settings.onnx_options
    if settings.trial_limits is not None:
        trials.try_bundle(bundle, robot, options, settings.trial_limits, settings.access)
    pushes = bool(bundle.document.action.effort_names)
    policy = load_policy(bundle, robot, options, settings.access)
    return PolicySlot(
        bundle=bundle,
        policy=policy,
        replanner=Replanner(
            store, bundle.cameras, _alignment(robot, settings), replan, bundle.document.context
        ),
        placer=(
            EffortPlacer(robot.controller.actuation_delay_s)
            if pushes
            else ChunkPlacer(robot.limits(), merge, prefix)
        ),
        output=OutputWatch(robot.limits(), ~robot.arm_joints()),
        summary=f"{bundle.source} for {robot.name}, {describe(replan)}, "
        + ("efforts" if pushes else f"{merge.rule}, smoothing {merge.smoothing_s:g} s")
        + f", on {policy.place}",
        remarks=(
            *([f"{bundle.path} was read as {bundle.origin}"] if bundle.origin else []),
            *bundle.notes,
            *(() if pushes else merge_remarks(bundle.document.chunk, merge, bundle.document.rate)),
            *replan_remarks(bundle, replan),
            *(
                f"{name}: is optional, and robot {robot.name} has no such camera"
                for name in bundle.document.missing_images
            ),
        ),
    )


def verified_bundle(
    name: str,
    trust: Trust,
    robot: Robot,
    cameras: Collection[str] | None,
    access: RemoteAccess,
) -> Bundle:
    """Read a bundle and refuse what cannot run here; nothing is loaded.

    Args:
        name: Of a bundle that ships, or a path.
        trust: What must vouch for it.
        robot: The robot it must be for.
        cameras: Cameras whose frames arrive; None where others can be subscribed to.
        access: Which servers may be asked.

    Raises:
        BundleError: With the first thing that is wrong.
    """
    bundle = load_bundle(name, trust).for_robot(robot)
    access.check(bundle)
    missing = [
        camera for camera in bundle.cameras if cameras is not None and camera not in cameras
    ]
    if cameras is not None and missing:
        raise BundleError(
            str(bundle.path),
            "observations",
            f"sees {', '.join(missing)}, and this process reads {', '.join(cameras)}",
            "Start it with this policy, or run camera_ingest as a process of its own",
        )
    return bundle


def _keep_past(bundle: Bundle, robot: Robot, store: FrameStore) -> None:
    """Keep as many frames as the policy sees."""
    needs = bundle.document.context
    rates_hz = [robot.cameras[n].rate_hz for n in needs.past_cameras if n in robot.cameras]
    if rates_hz:
        store.keep(math.ceil(max(rates_hz) * needs.past_s) + _SPARE_FRAMES)


def _alignment(robot: Robot, settings: PolicyExecutorParameters) -> AlignmentLimits:
    return AlignmentLimits(
        camera_max_age_s=settings.camera_max_age_s,
        joint_max_age_s=settings.joint_max_age_s,
        frozen_motion_rad=settings.frozen_motion_rad,
        arm=robot.arm_joints(),
    )


def _replan(bundle: Bundle, robot: Robot, settings: PolicyExecutorParameters) -> ReplanOptions:
    choice = ReplanChoice(
        rule=cast("Literal['bundle', 'every', 'at_once', 'threshold']", settings.replan),
        threshold_s=settings.replan_threshold_s,
    )
    return replan_options(bundle, robot, choice)


def _merge(bundle: Bundle, robot: Robot, settings: PolicyExecutorParameters) -> MergeOptions:
    choice = MergeChoice(
        rule=cast("Literal['bundle', 'replace', 'blend', 'ensemble', 'rtc']", settings.merge),
        smoothing_s=settings.smoothing_s,
        blend_s=settings.blend_s,
        lead_s=settings.lead_s,
    )
    return merge_options(bundle.document.chunk, robot, choice)
