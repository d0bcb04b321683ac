# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime, imported here and nowhere else.

The package has no type information; what comes out of it is given a type where it is used.
"""

from __future__ import annotations

from typing import Any, cast

import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

ort = cast("Any", onnxruntime)

# ONNX Runtime's errors share no base but Exception.
_names = cast("dict[str, object]", vars(ort.capi.onnxruntime_pybind11_state))
ORT_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    *(e for e in _names.values() if isinstance(e, type) and issubclass(e, Exception)),
)


def one_line(error: Exception) -> str:
    """What it says, in one line that is not too long."""
    return " ".join(str(error).split())[:300]


class RunLimit:
    """Stops what runs under it, from another thread."""

    def __init__(self) -> None:
        self.options: Any = ort.RunOptions()

    @property
    def reached(self) -> bool:
        """Whether it was stopped."""
        return bool(self.options.terminate)

    def stop(self) -> None:
        """Stop the run, between two of its nodes, and all that would follow."""
        self.options.terminate = True
