# SPDX-License-Identifier: Apache-2.0
"""TFRecord files of `tf.train.Example`, written without TensorFlow.

A record is its length, a masked CRC-32C of the length, the bytes and their masked CRC-32C
(tensorflow/core/lib/io/record_writer.h). An Example is a map from names to lists of bytes, float32
or int64 (tensorflow/core/example/feature.proto).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from levine_policy_node.runtime.export.packages import package

_MASK = 0xA282EAD8
_WORD = 0xFFFFFFFF
_MOST = 64
Values = Sequence[bytes] | npt.NDArray[Any]


def record_bytes(data: bytes) -> bytes:
    """Frame one record."""
    length = struct.pack("<Q", len(data))
    return b"".join([length, _masked_crc(length), data, _masked_crc(data)])


def example_bytes(features: Mapping[str, Values]) -> bytes:
    """Serialize a tf.train.Example, names in alphabetical order.

    Args:
        features: Bytes, or numbers of any shape; what is no float counts as int64.
    """
    entries = [
        _field(1, _field(1, name.encode()) + _field(2, _feature(features[name])))
        for name in sorted(features)
    ]
    return _field(1, b"".join(entries))


def _feature(values: Values) -> bytes:
    if not isinstance(values, np.ndarray):
        return _field(1, b"".join(_field(1, value) for value in values))
    flat = values.reshape(-1)
    if flat.dtype.kind == "f":
        return _field(2, _field(1, flat.astype("<f4").tobytes()))
    return _field(3, _field(1, b"".join(_varint(int(value) % (1 << _MOST)) for value in flat)))


def _field(number: int, content: bytes) -> bytes:
    """A field with a length (wire type 2)."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _masked_crc(data: bytes) -> bytes:
    crc = int(package("google_crc32c", "an export to RLDS").value(data))
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK) & _WORD)
