# SPDX-License-Identifier: Apache-2.0
"""What `policy_executor` is configured with: its parameters, and a policy loaded from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from levine_policy_node.core.alignment import AlignmentLimits
from levine_policy_node.core.frame_store import FrameStore
from levine_policy_node.core.merge import MergeOptions
from levine_policy_node.core.replan_rule import ReplanOptions
from levine_policy_node.core.replanner import Replanner
from levine_policy_node.robot import Robot, load_robot
from levine_policy_node.ros.parameters import parameter
from levine_policy_node.runtime.bundle import Bundle, load_bundle
from levine_policy_node.runtime.merge_choice import MergeChoice, merge_options
from levine_policy_node.runtime.onnx_graphs import OnnxOptions
from levine_policy_node.runtime.onnx_policy import OnnxPolicy
from levine_policy_node.runtime.replan_choice import ReplanChoice, replan_options


@dataclass(frozen=True, slots=True)
class PolicyExecutorParameters:
    """Parameters of `policy_executor`."""

    robot: str = parameter("Robot file: name of one that ships, or path")
    policy: str = parameter("Policy bundle: name of one that ships, or path")
    camera_max_age_s: float = parameter(
        "Oldest frame an observation may have [s]", low=0.01, high=10.0
    )
    joint_max_age_s: float = parameter(
        "Oldest joint state, and longest gap between two [s]", low=0.005, high=10.0
    )
    frozen_motion_rad: float = parameter(
        "A camera that repeats its pixels while an arm joint moves so far is frozen [rad]",
        low=0.0,
        high=10.0,
    )
    blend_s: float = parameter("Fade from one chunk to the next [s]", low=0.0, high=5.0)
    lead_s: float = parameter("Time a chunk needs to reach the arm [s]", low=0.0, high=1.0)
    merge: str = parameter("bundle (as it says), replace, blend, ensemble or rtc")
    smoothing_s: float = parameter(
        "Zero-phase smoothing of a chunk, standard deviation [s]; 0: none, -1: as the bundle says",
        low=-1.0,
        high=1.0,
    )
    replan: str = parameter("When to infer: bundle (as it says), every, at_once or threshold")
    replan_threshold_s: float = parameter(
        "What is left to play when a threshold inference begins [s]; -1: as the bundle says",
        low=-1.0,
        high=60.0,
    )
    inference_timeout_s: float = parameter(
        "An inference that takes longer is stopped and silences the heartbeat [s]",
        low=0.005,
        high=60.0,
    )
    heartbeat_hz: float = parameter("Rate of policy/heartbeat [Hz]", low=5.0, high=200.0)
    provider: str = parameter("Where graphs run: cpu or cuda; there is no fallback")
    threads: int = parameter("Threads of one inference", low=1, high=64)
    autostart: bool = parameter("Configure and activate without a manager", default=True)

    def __post_init__(self) -> None:
        if self.provider not in {"cpu", "cuda"}:
            raise ValueError(f"provider: '{self.provider}' is not known. Known: cpu, cuda")
        rules = ("bundle", "every", "at_once", "threshold")
        if self.replan not in rules:
            raise ValueError(f"replan: '{self.replan}' is not known. Known: {', '.join(rules)}")
        known = ("bundle", "replace", "blend", "ensemble", "rtc")
        if self.merge not in known:
            raise ValueError(f"merge: '{self.merge}' is not known. Known: {', '.join(known)}")


@dataclass(frozen=True, slots=True, eq=False)
class LoadedPolicy:
    """A policy that fits the robot, warmed up."""

    robot: Robot
    bundle: Bundle
    policy: OnnxPolicy


def load_policy(settings: PolicyExecutorParameters) -> LoadedPolicy:
    """Load robot file and bundle, and run the policy once.

    Raises:
        ConfigError: If the robot file or the bundle is wrong, or they do not fit each other.
    """
    robot = load_robot(settings.robot)
    bundle = load_bundle(settings.policy)
    options = OnnxOptions(
        provider=cast("Literal['cpu', 'cuda']", settings.provider),
        threads=settings.threads,
        timeout_s=settings.inference_timeout_s,
    )
    return LoadedPolicy(robot, bundle, OnnxPolicy(bundle, robot, options))


def choose_replan(loaded: LoadedPolicy, settings: PolicyExecutorParameters) -> ReplanOptions:
    """When to infer."""
    choice = ReplanChoice(
        rule=cast("Literal['bundle', 'every', 'at_once', 'threshold']", settings.replan),
        threshold_s=settings.replan_threshold_s,
    )
    return replan_options(loaded.bundle, loaded.robot, choice)


def make_replanner(
    loaded: LoadedPolicy,
    settings: PolicyExecutorParameters,
    store: FrameStore,
    options: ReplanOptions,
) -> Replanner:
    """Build the part that decides when to infer, and from what."""
    robot, bundle = loaded.robot, loaded.bundle
    limits = AlignmentLimits(
        camera_max_age_s=settings.camera_max_age_s,
        joint_max_age_s=settings.joint_max_age_s,
        frozen_motion_rad=settings.frozen_motion_rad,
        arm=np.array([joint.role == "arm" for joint in robot.joints.values()]),
    )
    return Replanner(store, bundle.cameras, limits, options)


def choose_merge(loaded: LoadedPolicy, settings: PolicyExecutorParameters) -> MergeOptions:
    """How chunks become one timeline."""
    choice = MergeChoice(
        rule=cast("Literal['bundle', 'replace', 'blend', 'ensemble', 'rtc']", settings.merge),
        smoothing_s=settings.smoothing_s,
        blend_s=settings.blend_s,
        lead_s=settings.lead_s,
    )
    return merge_options(loaded.bundle.document.chunk, loaded.robot, choice)
