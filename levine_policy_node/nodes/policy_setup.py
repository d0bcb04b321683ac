# SPDX-License-Identifier: Apache-2.0
"""What `policy_executor` is configured with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from levine_policy_node.core.frame_checks import FrameLimits
from levine_policy_node.robot import Robot
from levine_policy_node.ros.parameters import parameter
from levine_policy_node.runtime.bundle_trial import TrialLimits
from levine_policy_node.runtime.graph_cache import cache_directory
from levine_policy_node.runtime.onnx_loader import OnnxOptions
from levine_policy_node.runtime.onnx_providers import PROVIDERS, Provider
from levine_policy_node.runtime.remote_access import RemoteAccess
from levine_policy_node.runtime.trust import Trust, TrustLevel

_MIB = 1024**2


@dataclass(frozen=True, slots=True)
class PolicyExecutorParameters:
    """Parameters of `policy_executor`."""

    robot: str = parameter("Robot file: name of one that ships, or path")
    policy: str = parameter(
        "Policy bundle: name of one that ships, or path; setting it swaps the policy",
        dynamic=True,
    )
    camera_max_age_s: float = parameter(
        "Oldest frame an observation may have [s]", low=0.01, high=10.0
    )
    joint_max_age_s: float = parameter(
        "Oldest joint state, and longest gap between two [s]", low=0.005, high=10.0
    )
    frozen_motion_rad: float = parameter(
        "A noiseless camera that repeats its pixels while an arm joint moves so far is frozen "
        "[rad]",
        low=0.0,
        high=10.0,
    )
    image_dark: float = parameter(
        "A camera whose mean brightness is less is dark (0 to 255); 0: not watched",
        low=0.0,
        high=255.0,
    )
    image_bright: float = parameter(
        "A camera whose mean brightness is more is blinded (0 to 255); 255: not watched",
        low=0.0,
        high=255.0,
    )
    image_spread: float = parameter(
        "A camera whose pixels differ less (standard deviation) shows nothing; 0: not watched",
        low=0.0,
        high=255.0,
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
    stop_on_bad_output: bool = parameter(
        "Whether a policy is stopped that turns to and fro faster than the arm can, or asks for "
        "what is far out of range; it is told anyway"
    )
    heartbeat_hz: float = parameter("Rate of policy/heartbeat [Hz]", low=5.0, high=200.0)
    provider: str = parameter(
        "Where graphs run: tensorrt, cuda or cpu, without fallback; auto: the first that can"
    )
    threads: int = parameter("Threads of one inference", low=1, high=64)
    shadow_observations: int = parameter(
        "Observations a new policy runs in shadow before it takes over; 0 for none",
        low=0,
        high=1000,
        dynamic=True,
    )
    swap_in_motion: bool = parameter(
        "Whether a new policy may take over at a seam while the arm moves", dynamic=True
    )
    swap_agreement: float = parameter(
        "In motion: largest distance from the active policy's chunks in shadow [rad]",
        low=0.0,
        high=10.0,
        dynamic=True,
    )
    trust: str = parameter(
        "What must vouch for a bundle: off, checksums or signature (with trust_key)",
        default="checksums",
    )
    trust_key: str = parameter(
        "Public key (PEM file) of who signs bundles, for trust signature", default=""
    )
    bundle_max_mib: int = parameter(
        "Largest bundle, all files together [MiB]", low=1, high=1_000_000, default=8192
    )
    trial: bool = parameter(
        "Whether a process of its own loads and runs a bundle before this one does", default=True
    )
    trial_timeout_s: float = parameter(
        "Processor time and time on the clock that a trial may take [s]",
        low=1.0,
        high=3600.0,
        default=60.0,
    )
    trial_memory_mib: int = parameter(
        "Memory that a trial may use besides four times the bundle [MiB]",
        low=256,
        high=1_000_000,
        default=4096,
    )
    remote_hosts: str = parameter(
        "Hosts that may serve a policy beside this computer, separated by commas", default=""
    )
    graph_cache: bool = parameter(
        "Whether ~/.cache keeps what was made of graphs for this host", default=True
    )
    autostart: bool = parameter("Configure and activate without a manager", default=True)

    @property
    def trusted(self) -> Trust:
        """What must vouch for a bundle."""
        key = Path(self.trust_key).expanduser() if self.trust_key else None
        return Trust(cast("TrustLevel", self.trust), key, self.bundle_max_mib * _MIB)

    @property
    def access(self) -> RemoteAccess:
        """Which servers may be asked."""
        return RemoteAccess.listed(self.remote_hosts)

    def frame_limits(self, robot: Robot) -> FrameLimits:
        """What the frames of the robot's cameras must be like."""
        return FrameLimits(
            dark=self.image_dark,
            bright=self.image_bright,
            spread=self.image_spread,
            noiseless=frozenset(name for name, c in robot.cameras.items() if c.noiseless),
        )

    @property
    def onnx_options(self) -> OnnxOptions:
        """How graphs are run."""
        return OnnxOptions(
            provider=cast("Provider", self.provider),
            threads=self.threads,
            timeout_s=self.inference_timeout_s,
            cache=cache_directory() if self.graph_cache else None,
        )

    @property
    def trial_limits(self) -> TrialLimits | None:
        """What a bundle may use while it is tried; None if it is not to be tried."""
        if not self.trial:
            return None
        return TrialLimits(self.trial_timeout_s, self.trial_memory_mib * _MIB)

    def __post_init__(self) -> None:
        if self.provider not in PROVIDERS:
            known = ", ".join(PROVIDERS)
            raise ValueError(f"provider: '{self.provider}' is not known. Known: {known}")
        rules = ("bundle", "every", "at_once", "threshold")
        if self.replan not in rules:
            raise ValueError(f"replan: '{self.replan}' is not known. Known: {', '.join(rules)}")
        known = ("bundle", "replace", "blend", "ensemble", "rtc")
        if self.merge not in known:
            raise ValueError(f"merge: '{self.merge}' is not known. Known: {', '.join(known)}")
        # Says what is wrong with the two parameters it is made of.
        _ = self.trusted
