# SPDX-License-Identifier: Apache-2.0
"""The `metadata.yaml` that makes an episode's directory a rosbag2 bag.

Version 8, since Humble reads it (version 9 writes QoS profiles in a form Humble does not know) and
every later release still does.
"""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from levine_policy_node.runtime.mcap_writer import WriterReport
from levine_policy_node.runtime.message_definitions import type_hash

VERSION = 8


def rosbag_metadata(file_name: str, report: WriterReport, custom_data: Mapping[str, str]) -> str:
    """Describe one MCAP file for `ros2 bag`.

    Args:
        file_name: Name of the MCAP file in the same directory.
        report: What the file holds.
        custom_data: Shown by `ros2 bag info`.
    """
    start = report.first_ns or 0
    span = {
        "duration": {"nanoseconds": (report.last_ns or 0) - start},
        "starting_time": {"nanoseconds_since_epoch": start},
        "message_count": sum(report.messages.values()),
    }
    topics = [
        {
            "topic_metadata": {
                "name": topic.name,
                "type": topic.type_name,
                "serialization_format": "cdr",
                "offered_qos_profiles": topic.offered_qos(),
                "type_description_hash": type_hash(topic.type_name),
            },
            "message_count": count,
        }
        for topic, count in report.messages.items()
    ]
    document = {
        "version": VERSION,
        "storage_identifier": "mcap",
        **span,
        "topics_with_message_count": topics,
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [file_name],
        "files": [{"path": file_name, **span}],
        "custom_data": dict(custom_data),
        "ros_distro": "",
    }
    # No anchors for repeated parts: people read this file too.
    return yaml.dump(
        {"rosbag2_bagfile_information": document}, Dumper=_PlainDumper, sort_keys=False
    )


class _PlainDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        """Write repeated values out."""
        del data
        return True
