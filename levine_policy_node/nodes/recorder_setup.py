# SPDX-License-Identifier: Apache-2.0
"""Parameters of `intervention_recorder`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from levine_policy_node.core.episode import Provenance
from levine_policy_node.robot import Robot
from levine_policy_node.ros.parameters import parameter
from levine_policy_node.runtime.mcap_writer import WriterOptions
from levine_policy_node.runtime.recording import RecordingOptions
from levine_policy_node.runtime.session_document import pseudonym, salt_file, software


@dataclass(frozen=True, slots=True)
class RecorderParameters:
    """Parameters of `intervention_recorder`; `config/intervention_recorder.param.yaml`."""

    robot: str = parameter("Name or path of the robot file")
    root: str = parameter("Directory that sessions are created in", default="recordings")
    policy_name: str = parameter("Name of the bundle; empty: from the source tags", default="")
    policy_sha256: str = parameter("Hash of the bundle; empty: from the source tags", default="")
    seed: int = parameter("Scene of the simulation; -1: none", default=-1, low=-1, dynamic=True)
    operator: str = parameter("Who runs the robot", default="", dynamic=True)
    operator_id: str = parameter(
        "How the operator is stored: pseudonym or plain", default="pseudonym"
    )
    operator_salt: str = parameter("File of the salt of pseudonyms; empty: the user's", default="")
    site: str = parameter("Where the robot stands; a pseudonym", default="")
    licence: str = parameter("Licence of the recordings, such as CC-BY-4.0", default="")
    consent: str = parameter("Where consent is filed; a reference", default="", dynamic=True)
    notes: str = parameter("Anything worth knowing of what follows", default="", dynamic=True)
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
        if self.operator_id not in {"pseudonym", "plain"}:
            found = self.operator_id
            raise ValueError(f"operator_id: expected pseudonym or plain, found '{found}'")

    def stored_operator(self, name: str) -> str:
        """What is stored of a person's name.

        Raises:
            RecordingError: If the salt can be neither read nor created.
        """
        if self.operator_id == "plain":
            return name
        salt = Path(self.operator_salt).expanduser() if self.operator_salt else salt_file()
        return pseudonym(name, salt)

    def provenance(self, session: str, robot: Robot, live: Callable[[str], Any]) -> Provenance:
        """What an episode that begins now is recorded with, as far as parameters say.

        Args:
            session: Identifier of the recorder's run.
            robot: The robot file.
            live: Present value of a parameter.

        Raises:
            RecordingError: If the salt of pseudonyms can be neither read nor created.
        """
        seed = int(live("seed"))
        return Provenance(
            session=session,
            robot=robot.name,
            robot_sha256=robot.sha256,
            policy=self.policy_name,
            policy_sha256=self.policy_sha256,
            seed=None if seed < 0 else seed,
            operator=self.stored_operator(str(live("operator"))),
            software=software(),
            site=self.site,
            licence=self.licence,
            consent=str(live("consent")),
            notes=str(live("notes")),
        )

    def recording_options(self) -> RecordingOptions:
        """The part that says how files are written."""
        quality = self.jpeg_quality if self.image_format == "jpeg" else None
        writer = WriterOptions(self.queue_mb << 20, self.flush_period_s, quality)
        return RecordingOptions(writer, self.min_free_gb, self.reserve_gb)
