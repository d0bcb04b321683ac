# SPDX-License-Identifier: Apache-2.0
"""FAST without its byte-pair encoding: actions as quantised cosine coefficients.

Pertsch et al., 2025 (arXiv:2501.09747), and `UniversalActionProcessor` of its release. Each
column's orthonormal DCT-II over the rows, times a scale, rounded; written frequency by frequency
from the lowest, one character per coefficient. The byte-pair encoding of those characters needs
the tokenizer's file and is the runtime's.
"""

from __future__ import annotations

import numpy as np

from levine_policy_node.core.units import FloatArray


def fast_actions(text: str, rows: int, columns: int, scale: float, min_token: int) -> FloatArray:
    """Actions of FAST characters, shape (rows, columns).

    Args:
        text: `rows * columns` characters; the code point plus `min_token` is a coefficient.
        rows: T.
        columns: A.
        scale: What coefficients were multiplied with.
        min_token: Smallest coefficient.
    """
    numbers = np.array([ord(character) for character in text], dtype=np.float64) + min_token
    return inverse_cosine(numbers.reshape(rows, columns) / scale)


def inverse_cosine(coefficients: FloatArray) -> FloatArray:
    """Inverse of the orthonormal DCT-II along the first axis; shape (T, A) to (T, A)."""
    return _basis(len(coefficients)).T @ coefficients


def _basis(rows: int) -> FloatArray:
    """The orthonormal DCT-II, shape (frequencies, rows)."""
    frequency = np.arange(rows)[:, None]
    basis = np.cos(np.pi * frequency * (2 * np.arange(rows)[None] + 1) / (2 * rows))
    basis *= np.sqrt(2.0 / rows)
    basis[0] /= np.sqrt(2.0)
    return basis
