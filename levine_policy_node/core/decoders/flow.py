# SPDX-License-Identifier: Apache-2.0
"""Flow matching: noise becomes actions along a learned velocity (pi0, SmolVLA).

Convention of LeRobot and openpi (`policies/common/flow_matching.py`, `euler_integrate`): time 1
is noise, time 0 is actions, and `x <- x + dt * v` with `dt = -1 / steps`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from levine_policy_node.core.decoders.decoder import Decoder, Graphs
from levine_policy_node.core.decoders.noise import Noise
from levine_policy_node.core.observation import Tensors
from levine_policy_node.core.rtc import Float32Array, Guidance, HardPrefix, NetworkPrefix
from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import InferenceError

TimeShape = Literal["scalar", "sample", "token"]
"""Whether a graph takes one time (), one per sample (1,), or one per row (1, T)."""


@dataclass(frozen=True, slots=True)
class FlowDecoder(Decoder):
    """Run `encode` once, if there is one, and `step` for every Euler step.

    Attributes:
        rows: T.
        columns: Columns A of the action.
        width: Columns of the sample; those beyond A are padding.
        steps: Euler steps.
        sample: Input of `step` that takes the sample, shape (1, T, width).
        time: Input of `step` that takes the flow time.
        velocity: Output of `step`, shape (1, T, width).
        time_shape: What `time` looks like.
        encode: Whether there is an `encode` graph; its outputs go to `step` by name.
        rtc: How a prefix steers the loop; None to leave it alone.
    """

    rows: int
    columns: int
    width: int
    steps: int
    sample: str
    time: str
    velocity: str
    time_shape: TimeShape
    encode: bool
    rtc: Guidance | HardPrefix | None = None

    def __post_init__(self) -> None:
        if isinstance(self.rtc, HardPrefix) and self.time_shape != "token":
            raise ValueError("a hard prefix needs a time per row")

    def decode(
        self, graphs: Graphs, inputs: Tensors, noise: Noise, prefix: NetworkPrefix | None
    ) -> FloatArray:
        """Integrate from noise to actions; see `Decoder`."""
        feed = dict(inputs)
        if self.encode:
            feed.update(graphs.run("encode", inputs))
        x = noise.draw((1, self.rows, self.width))
        target = None if prefix is None else prefix.padded(self.rows, self.width)
        fixed = 0
        if prefix is not None and isinstance(self.rtc, HardPrefix):
            fixed = prefix.delay
        dt = -1.0 / self.steps
        for step in range(self.steps):
            time = 1.0 + step * dt
            if target is not None:
                x[:, :fixed] = target[:, :fixed]
            velocity = self._velocity(graphs, feed, x, time, fixed)
            if prefix is not None and target is not None and isinstance(self.rtc, Guidance):
                weights = self.rtc.row_weights(prefix, self.rows)
                velocity = self.rtc.corrected(velocity, x, time, target, weights)
            x = (x + dt * velocity).astype(np.float32)
        if target is not None:
            x[:, :fixed] = target[:, :fixed]
        return x[0, :, : self.columns].astype(np.float64)

    def _velocity(
        self, graphs: Graphs, feed: Tensors, x: Float32Array, time: float, fixed: int
    ) -> Float32Array:
        """What the graph says at `x`; the first `fixed` rows are clean actions, of time 0."""
        shapes = {"scalar": (), "sample": (1,), "token": (1, self.rows)}
        times = np.full(shapes[self.time_shape], time, dtype=np.float32)
        if fixed > 0:
            times[:, :fixed] = 0.0
        outputs = graphs.run("step", {**feed, self.sample: x, self.time: times})
        velocity = np.asarray(outputs[self.velocity], dtype=np.float32)
        if velocity.shape != x.shape:
            raise InferenceError(
                f"output {self.velocity} has shape {velocity.shape}, not {x.shape}"
            )
        return velocity
