# SPDX-License-Identifier: Apache-2.0
"""The fields of a protobuf message, read strictly and with bounds.

Stricter than protobuf's own readers, so that whatever passes means to them what it means here: no
groups, no field numbers or lengths beyond their ranges, and a field that may occur once occurs
once (they would merge its occurrences, or take the last).

Encoding: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_FIELDS = 5_000_000
"""Fields of one file, over all its messages; reading so many takes a few seconds."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIZES = {_FIXED64: 8, _FIXED32: 4}
_MAX_TAG = 2**32


class ProtobufError(ValueError):
    """Bytes that are no message, or one that readers may understand differently."""


class FieldBudget:
    """Counts the fields that were read, over all messages of a file."""

    def __init__(self, fields: int = MAX_FIELDS) -> None:
        self._left = fields

    def spend(self) -> None:
        """Count one field.

        Raises:
            ProtobufError: If there are too many.
        """
        self._left -= 1
        if self._left < 0:
            raise ProtobufError("has too many fields")


def fields(message: memoryview, budget: FieldBudget) -> Iterator[tuple[int, memoryview | None]]:
    """Number and content of each field, in the order of the file.

    Args:
        message: The bytes of one message.
        budget: What may still be read of the file.

    Yields:
        Field number, and the bytes of a field that has a length; None for numbers.

    Raises:
        ProtobufError: If the bytes are no message.
    """
    position, end = 0, len(message)
    while position < end:
        budget.spend()
        tag, position = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        if number == 0 or tag >= _MAX_TAG:
            raise ProtobufError("has a field of an impossible number")
        if wire == _BYTES:
            length, begin = _varint(message, position)
            position = begin + length
            if position > end:
                raise ProtobufError("ends within a field")
            yield number, message[begin:position]
            continue
        if wire == _VARINT:
            _, position = _varint(message, position)
        elif wire in _SIZES:
            position += _SIZES[wire]
        else:
            raise ProtobufError("has a field of an unknown form")
        if position > end:
            raise ProtobufError("ends within a field")
        yield number, None


def text(content: memoryview | None) -> str:
    """A string field.

    Raises:
        ProtobufError: If it is not UTF-8, or not a string at all.
    """
    if content is None:
        raise ProtobufError("has a number where a text belongs")
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError as error:
        raise ProtobufError("has a text that is not UTF-8") from error


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """An unsigned number of 64 bits, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise ProtobufError("ends within a number")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 2**64:
                break
            return value, position
    raise ProtobufError("has a number of more than 64 bits")
