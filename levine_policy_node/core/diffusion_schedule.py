# SPDX-License-Identifier: Apache-2.0
"""Denoising steps of DDPM and DDIM, each as a few coefficients computed beforehand.

Formulas and conventions are those of Hugging Face diffusers (`DDPMScheduler`, `DDIMScheduler`),
with leading timesteps. Every prediction type is linear in the sample and the graph's output, so
one form holds all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.units import FloatArray

Float32Array = npt.NDArray[np.float32]
BetaSchedule = Literal["squaredcos_cap_v2", "linear", "scaled_linear"]
Prediction = Literal["epsilon", "sample", "v_prediction"]
Variance = Literal["fixed_small", "fixed_large"]
ClipOn = Literal["original", "sample"]

_MAX_BETA = 0.999
_LEAST_VARIANCE = 1e-20


@dataclass(frozen=True, slots=True)
class Clip:
    """A bound of every value, for the predicted original or for the sample after each step.

    Attributes:
        bound: Largest magnitude.
        on: `original` as diffusers' `clip_sample` does, `sample` as Octo does.
    """

    bound: float
    on: ClipOn = "original"


@dataclass(frozen=True, slots=True)
class DenoisingStep:
    """One step from timestep t towards 0, for sample x, graph output o and fresh noise z.

    The predicted original is `(original[0] x + original[1] o) / original[2]`, clipped; the next
    sample is `following[0] original + following[1] x + following[2] o + noise z`.

    Attributes:
        timestep: What the graph is told.
        original: See above.
        following: See above.
        noise: Standard deviation of what is added; 0 for none.
        training_noise: Standard deviation of the noise in training at this timestep.
    """

    timestep: int
    original: tuple[float, float, float]
    following: tuple[float, float, float]
    noise: float
    training_noise: float

    def following_sample(
        self, sample: Float32Array, output: Float32Array, z: Float32Array | None, clip: Clip | None
    ) -> Float32Array:
        """The next sample; all arrays are of one shape, and `z` may be None without noise."""
        from_sample, from_output, divisor = self.original
        original: Float32Array = np.multiply(sample, from_sample, dtype=np.float32)
        original += from_output * output
        original /= divisor
        if clip is not None and clip.on == "original":
            np.clip(original, -clip.bound, clip.bound, out=original)
        result: Float32Array = np.multiply(original, self.following[0], dtype=np.float32)
        # Terms of weight 0 are left out: 0 times infinity is not a number.
        for weight, term in (
            (self.following[1], sample),
            (self.following[2], output),
            (self.noise, z),
        ):
            if weight != 0.0 and term is not None:
                result += weight * term
        if clip is not None and clip.on == "sample":
            np.clip(result, -clip.bound, clip.bound, out=result)
        return result


def cumulative_alphas(
    schedule: BetaSchedule, steps: int, beta_start: float = 1e-4, beta_end: float = 0.02
) -> FloatArray:
    """Product of 1 - beta up to every training timestep, shape (steps,).

    Args:
        schedule: How beta grows; `squaredcos_cap_v2` is the cosine schedule that Diffusion Policy
            and Octo use, and takes no start or end.
        steps: Timesteps in training.
        beta_start: Smallest beta.
        beta_end: Largest beta.
    """
    betas: npt.NDArray[Any]
    if schedule == "linear":
        betas = np.linspace(beta_start, beta_end, steps)
    elif schedule == "scaled_linear":
        betas = np.linspace(math.sqrt(beta_start), math.sqrt(beta_end), steps) ** 2
    else:
        portion = np.arange(steps + 1) / steps
        level = np.cos((portion + 0.008) / 1.008 * math.pi / 2) ** 2
        betas = np.minimum(1.0 - level[1:] / level[:-1], _MAX_BETA)
    # Rounded as in training: a small beta is a difference of these.
    alphas = np.float32(1.0) - betas.astype(np.float32)
    return np.cumprod(alphas, dtype=np.float64).astype(np.float32).astype(np.float64)


def leading_timesteps(train: int, steps: int) -> list[int]:
    """Timesteps of `steps` steps, the noisiest first: multiples of `train // steps`."""
    return [step * (train // steps) for step in reversed(range(steps))]


def ddim_steps(
    alphas: FloatArray,
    steps: int,
    prediction: Prediction,
    *,
    set_alpha_to_one: bool = True,
    eta: float = 0.0,
) -> tuple[DenoisingStep, ...]:
    """Steps of DDIM (Song et al., 2021, equations 12 and 16).

    Args:
        alphas: Of `cumulative_alphas`.
        steps: Steps at inference, at most as many as in training.
        prediction: What the graph predicts.
        set_alpha_to_one: Whether the last step ends without any noise, else at that of timestep 0.
        eta: Share of DDPM's noise; 0 is deterministic.
    """
    made: list[DenoisingStep] = []
    ratio = len(alphas) // steps
    for timestep in leading_timesteps(len(alphas), steps):
        now = float(alphas[timestep])
        final = 1.0 if set_alpha_to_one else float(alphas[0])
        then = float(alphas[timestep - ratio]) if timestep >= ratio else final
        noise = eta * math.sqrt(max((1.0 - then) / (1.0 - now) * (1.0 - now / then), 0.0))
        direction = math.sqrt(max(1.0 - then - noise**2, 0.0))
        epsilon = _epsilon(now, prediction)
        made.append(
            DenoisingStep(
                timestep,
                _original(now, prediction),
                (math.sqrt(then), direction * epsilon[0], direction * epsilon[1]),
                noise,
                math.sqrt(1.0 - now),
            )
        )
    return tuple(made)


def ddpm_steps(
    alphas: FloatArray,
    steps: int,
    prediction: Prediction,
    variance: Variance = "fixed_small",
) -> tuple[DenoisingStep, ...]:
    """Steps of DDPM (Ho et al., 2020, equations 6 and 7); see `ddim_steps`.

    With as many steps as in training, `fixed_large` and a clip on the sample this is Octo's
    sampler (`octo/model/components/action_heads.py`), whose mean is written differently.
    """
    made: list[DenoisingStep] = []
    ratio = len(alphas) // steps
    for timestep in leading_timesteps(len(alphas), steps):
        now = float(alphas[timestep])
        then = float(alphas[timestep - ratio]) if timestep >= ratio else 1.0
        # In float32 as diffusers has it, where a beta of 1e-4 is 1e-3 off.
        alpha = float(np.float32(now) / np.float32(then))
        beta = 1.0 - alpha
        small = max((1.0 - then) / (1.0 - now) * beta, _LEAST_VARIANCE)
        added = 0.0 if timestep == 0 else (beta if variance == "fixed_large" else small)
        made.append(
            DenoisingStep(
                timestep,
                _original(now, prediction),
                (
                    math.sqrt(then) * beta / (1.0 - now),
                    math.sqrt(alpha) * (1.0 - then) / (1.0 - now),
                    0.0,
                ),
                math.sqrt(added),
                math.sqrt(1.0 - now),
            )
        )
    return tuple(made)


def _original(alpha: float, prediction: Prediction) -> tuple[float, float, float]:
    """How the original follows from sample and output, as numerators and denominator."""
    if prediction == "epsilon":
        return 1.0, -math.sqrt(1.0 - alpha), math.sqrt(alpha)
    if prediction == "v_prediction":
        return math.sqrt(alpha), -math.sqrt(1.0 - alpha), 1.0
    return 0.0, 1.0, 1.0


def _epsilon(alpha: float, prediction: Prediction) -> tuple[float, float]:
    """How the noise follows from sample and output; the original is not clipped for it."""
    if prediction == "epsilon":
        return 0.0, 1.0
    if prediction == "v_prediction":
        return math.sqrt(1.0 - alpha), math.sqrt(alpha)
    return 1.0 / math.sqrt(1.0 - alpha), -math.sqrt(alpha / (1.0 - alpha))
