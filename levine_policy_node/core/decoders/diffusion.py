# SPDX-License-Identifier: Apache-2.0
"""Diffusion: noise becomes actions along learned denoising steps (Diffusion Policy, Octo, NoMaD).

`core.diffusion_schedule` says what the steps are: those of diffusers' DDPM and DDIM, and Octo's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from levine_policy_node.core.decoders.decoder import Decoder, Graphs
from levine_policy_node.core.decoders.graph_outputs import STEP, encoded, taken
from levine_policy_node.core.decoders.noise import Noise
from levine_policy_node.core.diffusion_schedule import Clip, DenoisingStep, Float32Array
from levine_policy_node.core.observation import Tensors
from levine_policy_node.core.rtc import NetworkPrefix
from levine_policy_node.core.units import BoolArray, FloatArray

Padding = Literal["sampled", "noise"]


@dataclass(frozen=True, slots=True)
class DiffusionDecoder(Decoder):
    """Run `encode` once, if there is one, and `step` for every denoising step.

    Attributes:
        rows: T.
        columns: Columns A of the action.
        shape: Of one sample, without the batch axis: (T, width), or with windows, or flattened;
            what `index` leaves of it holds T rows, of which columns beyond A are padding.
        steps: The denoising steps, in order.
        sample: Input of `step` that takes the sample, shape (samples, *shape).
        time: Input of `step` that takes the timestep.
        output: Output of `step`, of the sample's shape.
        time_shape: Of the input `time`.
        time_dtype: Of the input `time`.
        encode: Whether there is an `encode` graph; its outputs go to `step` by name.
        clip: What is clipped in every step, if anything.
        index: Which window of the sample is the action; None if there are none.
        samples: Samples drawn together, of which the first is the action.
        padding: `noise` to set padding in every step to the noise it had in training, as Octo
            does; else it is sampled like the rest.
    """

    rows: int
    columns: int
    shape: tuple[int, ...]
    steps: tuple[DenoisingStep, ...]
    sample: str
    time: str
    output: str
    time_shape: tuple[int, ...]
    time_dtype: str
    encode: bool
    clip: Clip | None = None
    index: int | None = None
    samples: int = 1
    padding: Padding = "sampled"

    def decode(
        self, graphs: Graphs, inputs: Tensors, noise: Noise, prefix: NetworkPrefix | None
    ) -> FloatArray:
        """Denoise step by step; see `Decoder`. The sample is float32, as the graphs are."""
        del prefix
        feed = encoded(graphs, inputs, encode=self.encode)
        shape = (self.samples, *self.shape)
        padded = self._padded()
        x = noise.draw(shape)
        for step in self.steps:
            times = np.full(self.time_shape, step.timestep, dtype=self.time_dtype)
            outputs = graphs.run(STEP, {**feed, self.sample: x, self.time: times})
            predicted = taken(outputs, self.output, shape).astype(np.float32, copy=False)
            z = noise.draw(shape) if step.noise > 0.0 or padded is not None else None
            x = step.following_sample(x, predicted, z, self.clip)
            if padded is not None and z is not None:
                x = np.where(padded, np.float32(step.training_noise) * z, x)
        return self._actions(x)

    def _padded(self) -> BoolArray | None:
        """Which values of a sample are set to noise, shape `shape`; None if no one is."""
        windows = 1 if self.index is None else self.shape[0]
        width = int(np.prod(self.shape)) // (windows * self.rows)
        if self.padding == "sampled" or width == self.columns:
            return None
        beyond = np.arange(width) >= self.columns
        return np.tile(beyond, windows * self.rows).reshape(self.shape)

    def _actions(self, sample: Float32Array) -> FloatArray:
        first = sample[0] if self.index is None else sample[0][self.index]
        return first.reshape(self.rows, -1)[:, : self.columns].astype(np.float64)
