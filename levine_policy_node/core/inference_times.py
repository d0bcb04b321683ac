# SPDX-License-Identifier: Apache-2.0
"""How long the way from an observation to a chunk takes, for the diagnostics."""

from __future__ import annotations

from levine_policy_node.core.statistics import RollingPercentiles


class InferenceTimes:
    """Recent times of each part of the way, in figures."""

    def __init__(self) -> None:
        self._age_s = RollingPercentiles()
        self._inference_s = RollingPercentiles()
        self._frame_to_chunk_s = RollingPercentiles()
        self._overhead_s = RollingPercentiles()

    def observed(self, age_s: float) -> None:
        """Note how old an observation was when it was given to the policy [s]."""
        self._age_s.add(age_s)

    def inferred(self, took_s: float) -> None:
        """Note how long an inference took, the whole of it [s]."""
        self._inference_s.add(took_s)

    def published(self, since_frame_s: float, graph_s: float) -> None:
        """Note a chunk.

        Args:
            since_frame_s: From its newest frame to its publication [s].
            graph_s: How much of that was spent inside ONNX Runtime [s].
        """
        self._frame_to_chunk_s.add(since_frame_s)
        self._overhead_s.add(since_frame_s - graph_s)

    def figures(self) -> dict[str, float]:
        """Percentiles in [ms], as the diagnostics call them."""
        found_s = {
            "inference_ms_p50": self._inference_s.percentile(50),
            "inference_ms_p99": self._inference_s.percentile(99),
            "frame_to_chunk_ms_p50": self._frame_to_chunk_s.percentile(50),
            "overhead_ms_p50": self._overhead_s.percentile(50),
            "observation_age_ms_p50": self._age_s.percentile(50),
            "observation_age_ms_p99": self._age_s.percentile(99),
        }
        return {name: value_s * 1e3 for name, value_s in found_s.items()}
