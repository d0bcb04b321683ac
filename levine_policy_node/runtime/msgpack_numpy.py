# SPDX-License-Identifier: Apache-2.0
"""Messages of openpi's protocol: msgpack with NumPy arrays, and no pickle.

An array is a mapping of `__ndarray__`, `data`, `dtype` and `shape` (byte strings as keys), a NumPy
scalar one of `__npgeneric__`, `data` and `dtype`, as `openpi_client/msgpack_numpy.py` writes them.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from levine_policy_node.errors import RemoteError

_NUMBERS = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
_MAX_AXES = 8
_MAX_ITEMS = 100_000


def packed(message: Mapping[str, Any]) -> bytes:
    """The bytes of a message."""
    return _msgpack().packb(message, default=_pack)


def unpacked(data: bytes) -> dict[str, Any]:
    """The message in these bytes; arrays of anything but numbers are left as they are.

    Raises:
        RemoteError: If they are no mapping in msgpack, or an array in it is damaged.
    """
    try:
        # Its errors share no base but Exception, and nothing else runs in here.
        message = _msgpack().unpackb(
            data, object_hook=_unpack, max_array_len=_MAX_ITEMS, max_map_len=_MAX_ITEMS
        )
    except Exception as error:
        detail = " ".join(str(error).split())[:200]
        raise RemoteError(f"what it sent cannot be read ({detail})") from error
    if not isinstance(message, dict):
        raise RemoteError(f"it sent {type(message).__name__}, not a mapping")
    return cast("dict[str, Any]", message)


def _msgpack() -> Any:
    return importlib.import_module("msgpack")


def _pack(value: object) -> dict[bytes, Any]:
    if isinstance(value, np.ndarray):
        array = cast("npt.NDArray[Any]", value)
        _check_dtype(array.dtype.str)
        return {
            b"__ndarray__": True,
            b"data": array.tobytes(),
            b"dtype": array.dtype.str,
            b"shape": array.shape,
        }
    if isinstance(value, np.generic):
        scalar = cast("np.generic[Any]", value)
        _check_dtype(scalar.dtype.str)
        return {b"__npgeneric__": True, b"data": scalar.item(), b"dtype": scalar.dtype.str}
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _unpack(found: dict[Any, Any]) -> Any:
    is_array = b"__ndarray__" in found
    if not is_array and b"__npgeneric__" not in found:
        return found
    dtype = found.get(b"dtype")
    if not isinstance(dtype, str) or not _NUMBERS.fullmatch(dtype):
        return found
    if not is_array:
        return np.dtype(dtype).type(found.get(b"data"))
    data, shape = found.get(b"data"), found.get(b"shape")
    if not isinstance(data, bytes) or not isinstance(shape, list):
        raise ValueError("an array without data or shape")
    sizes = cast("list[object]", shape)
    axes = [size for size in sizes if type(size) is int and size >= 0]
    if len(axes) != len(sizes) or len(axes) > _MAX_AXES:
        raise ValueError("an array of an impossible shape")
    if math.prod(axes) * np.dtype(dtype).itemsize != len(data):
        raise ValueError(f"an array of shape {axes} with {len(data)} bytes of {dtype}")
    return np.frombuffer(data, dtype=dtype).reshape(axes)


def _check_dtype(dtype: str) -> None:
    if not _NUMBERS.fullmatch(dtype):
        raise TypeError(f"an array of {dtype} cannot be sent")
