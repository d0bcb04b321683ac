# SPDX-License-Identifier: Apache-2.0
"""Parameters of `intervention_recorder`."""

from __future__ import annotations

from dataclasses import dataclass

from levine_policy_node.ros.parameters import parameter
from levine_policy_node.runtime.mcap_writer import WriterOptions
from levine_policy_node.runtime.recording import RecordingOptions


@dataclass(frozen=True, slots=True)
class RecorderParameters:
    """Parameters of `intervention_recorder`; `config/intervention_recorder.param.yaml`."""

    robot: str = parameter("Name or path of the robot file")
    root: str = parameter("Directory that sessions are created in", default="recordings")
    policy_name: str = parameter("Name of the bundle; empty: from the source tags", default="")
    policy_sha256: str = parameter("Hash of the bundle; empty: from the source tags", default="")
    seed: int = parameter("Scene of the simulation; -1: none", default=-1, low=-1, dynamic=True)
    operator: str = parameter("Who runs the robot; a pseudonym", default="", dynamic=True)
    image_format: str = parameter("How raw camera images are kept: jpeg or raw", default="jpeg")
    jpeg_quality: int = parameter("JPEG quality", default=95, low=1, high=100)
    auto_start: bool = parameter("Follow the supervisor's modes", default=True)
    min_free_gb: float = parameter("No episode starts with less space [GB]", default=1.0, low=0)
    reserve_gb: float = parameter("An episode ends at this space left [GB]", default=0.2, low=0)
    queue_mb: int = parameter("Memory between node and disk [MB]", default=64, low=1, high=4096)
    flush_period_s: float = parameter(
        "Longest time between two flushes to the disk [s]", default=0.08, low=0.01, high=0.1
    )

    def __post_init__(self) -> None:
        if self.image_format not in {"jpeg", "raw"}:
            raise ValueError(f"image_format: expected jpeg or raw, found '{self.image_format}'")

    def recording_options(self) -> RecordingOptions:
        """The part that says how files are written."""
        quality = self.jpeg_quality if self.image_format == "jpeg" else None
        writer = WriterOptions(self.queue_mb << 20, self.flush_period_s, quality)
        return RecordingOptions(writer, self.min_free_gb, self.reserve_gb)
