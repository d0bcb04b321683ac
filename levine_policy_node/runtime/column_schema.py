# SPDX-License-Identifier: Apache-2.0
"""What `policy.yaml` says of the numbers in the columns of a vector."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Number = Annotated[float, Field(allow_inf_nan=False)]
Numbers = Number | Annotated[tuple[Number, ...], Field(strict=False, min_length=1)]
"""One number for all columns, or one each."""


def check_numbers(scale: Numbers, offset: Numbers, count: int, what: str = "names") -> None:
    """Refuse a list of another length than the columns it is for."""
    for field, value in (("scale", scale), ("offset", offset)):
        if isinstance(value, tuple) and len(value) != count:
            raise ValueError(f"{field}: {len(value)} values for {count} {what}")
