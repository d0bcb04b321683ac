# SPDX-License-Identifier: Apache-2.0
"""What a graph declares of its inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What a graph declares of one input or output.

    Attributes:
        dtype: NumPy's name of the element type, or ONNX Runtime's where there is none here.
        shape: A size, or a name or None where any size goes.
    """

    dtype: str
    shape: tuple[int | str | None, ...]

    @property
    def fixed(self) -> bool:
        """Whether only one shape goes."""
        return all(isinstance(size, int) for size in self.shape)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of `shape` is what is declared."""
        return len(self.shape) == len(shape) and all(
            not isinstance(size, int) or size == wanted
            for size, wanted in zip(self.shape, shape, strict=True)
        )

    def agrees(self, other: TensorInfo) -> bool:
        """Whether some tensor is what both declare."""
        return (
            self.dtype == other.dtype
            and len(self.shape) == len(other.shape)
            and all(
                a == b or not isinstance(a, int) or not isinstance(b, int)
                for a, b in zip(self.shape, other.shape, strict=True)
            )
        )

    def __str__(self) -> str:
        """As messages show it."""
        return f"{self.dtype} of shape {list(self.shape)}"
