# SPDX-License-Identifier: Apache-2.0
"""What OpenVLA and OpenVLA-OFT share: two vision transformers, a projector, a Llama; the image.

Lines are those of openvla/openvla c8f03f4, `prismatic/extern/hf/modeling_prismatic.py` unless
another file is named.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from vla_parts import KeysValues, Layer, RmsNorm, Size, VisionTransformer

SIDE, PATCH = 48, 12
PATCHES = (SIDE // PATCH) ** 2
TEXT_TOKENS, BINS, PADDED = 120, 256, 16
VOCABULARY = TEXT_TOKENS + BINS
"""Without padding, as `self.vocab_size` (line 504): the last 256 of these are actions."""
BEGIN, EMPTY, STOP = 1, 3, 2
"""Llama 2's `<s>`, 29871 and `</s>`."""
WIDTH = 8
SIZE = Size(width=WIDTH, heads=2, shared=2, head=4, hidden=24)
LAYERS = 2

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class Backbone(nn.Module):
    """DINOv2 and SigLIP side by side (lines 63 to 123), and the projector (127 to 158).

    Of each the second to last layer is taken, without its norm (line 86).
    """

    def __init__(self, depth: int = 3, width: int = 8) -> None:
        super().__init__()
        self.first = VisionTransformer((SIDE, SIDE), PATCH, width, depth, depth - 2)
        self.second = VisionTransformer((SIDE, SIDE), PATCH, width, depth, depth - 2)
        self.projector = nn.Sequential(
            nn.Linear(2 * width, 8 * width),
            nn.GELU(),
            nn.Linear(8 * width, WIDTH),
            nn.GELU(),
            nn.Linear(WIDTH, WIDTH),
        )
        with torch.no_grad():
            self.projector[-1].weight *= 8.0

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, 48, 48) uint8 to tokens (B, 16, width).

        One image, normalised twice: `processing_prismatic.py` lines 133 to 143.
        """
        unit = pixels.to(torch.float32) / 255.0
        return self.projector(
            torch.cat(
                [
                    self.first(_normalised(unit, *_IMAGENET)),
                    self.second(_normalised(unit, *_HALF)),
                ],
                dim=2,
            )
        )


def _normalised(unit: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    return (unit - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


class Llama(nn.Module):
    """A causal language model whose embeddings and head have rows of padding at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY + PADDED, WIDTH)
        self.layers = nn.ModuleList(Layer(SIZE) for _ in range(LAYERS))
        self.norm = RmsNorm(WIDTH, "llama")
        self.head = nn.Linear(WIDTH, VOCABULARY + PADDED, bias=False)

    def hidden(
        self, x: Tensor, positions: Tensor, mask: Tensor, past: tuple[KeysValues, ...] = ()
    ) -> tuple[Tensor, list[KeysValues]]:
        """Last hidden states, and every layer's keys and values."""
        present: list[KeysValues] = []
        for index, layer in enumerate(self.layers):
            x, kept = layer(x, positions, mask, past[index] if past else None)
            present.append(kept)
        return self.norm(x), present


def places(x: Tensor) -> Tensor:
    """0, 1, ... for the tokens (B, L, W), for any L."""
    return torch.cumsum(torch.ones_like(x[:, :, 0], dtype=torch.int64), dim=1) - 1


def center_crop(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """What `center_crop` makes of a frame: `experiments/robot/openvla_utils.py`, lines 135 to 155.

    `tf.image.crop_and_resize` pixel by pixel as `crop_and_resize_op.cc` computes it: the box is
    the root of 0.9 per side, and ends between pixels.
    """
    image = frame.astype(np.float32) * np.float32(1.0 / 255.0)  # line 144
    side = np.float32(math.sqrt(0.9))  # lines 101 and 102
    offset = (np.float32(1.0) - side) / np.float32(2.0)
    made = np.empty((SIDE, SIDE, 3), dtype=np.float32)
    one = np.float32(1.0)
    heights, widths = (np.float32(length - 1) for length in frame.shape[:2])
    down = ((offset + side) - offset) * heights / np.float32(SIDE - 1)
    along = ((offset + side) - offset) * widths / np.float32(SIDE - 1)
    for y, x in np.ndindex(SIDE, SIDE):
        at_y = offset * heights + np.float32(y) * down
        at_x = offset * widths + np.float32(x) * along
        top, bottom = math.floor(at_y), math.ceil(at_y)
        left, right = math.floor(at_x), math.ceil(at_x)
        mix_y, mix_x = at_y - np.float32(top), at_x - np.float32(left)
        upper = image[top, left] + (image[top, right] - image[top, left]) * mix_x
        lower = image[bottom, left] + (image[bottom, right] - image[bottom, left]) * mix_x
        made[y, x] = upper + (lower - upper) * mix_y
    return (np.clip(made, 0.0, one) * np.float32(255.5)).astype(np.uint8)  # lines 150 and 151


def as_pixels(frame: npt.NDArray[np.uint8]) -> Tensor:
    """A frame (48, 48, 3) as (1, 3, 48, 48)."""
    return torch.tensor(frame.transpose(2, 0, 1)[None].copy())


def unlike(logits: Tensor, least: float = 1e-3) -> int:
    """The largest of (V,), which must stand out: other hardware must find the same."""
    best, second = torch.topk(logits, 2).values
    if float(best - second) < least:
        raise RuntimeError(f"two tokens are alike within {float(best - second):.1e}; reseed")
    return int(torch.argmax(logits))
