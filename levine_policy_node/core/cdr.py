# SPDX-License-Identifier: Apache-2.0
"""Reading and writing serialized ROS messages without the message classes.

A message on the wire is CDR (OMG DDSI-RTPS 2.3, section 10): 4 bytes of encapsulation, then the
fields in order, each aligned to its size counted from the end of the encapsulation. Strings and
sequences carry a uint32 length; a string's length counts its closing zero.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from levine_policy_node.core.units import NS_PER_S, FloatArray, StampNs

_ENCAPSULATION = 4
_LITTLE_ENDIAN = b"\x00\x01\x00\x00"


class CdrError(ValueError):
    """The bytes are not the message they should be."""


@dataclass(frozen=True, slots=True)
class Header:
    """A std_msgs/Header: stamp [ns] on the ROS clock and frame."""

    stamp_ns: StampNs
    frame_id: str


@dataclass(frozen=True, slots=True)
class RawImage:
    """A sensor_msgs/Image whose pixels are a view of the message's own bytes."""

    header: Header
    height: int
    width: int
    encoding: str
    step: int
    data: memoryview


class CdrReader:
    """Read fields one after the other."""

    def __init__(self, data: bytes) -> None:
        """Start after the encapsulation.

        Raises:
            CdrError: If the bytes are not plain CDR.
        """
        if len(data) < _ENCAPSULATION or data[0] != 0 or data[1] not in (0, 1):
            raise CdrError("not a plain CDR message")
        self._data = data
        self._order = "<" if data[1] == 1 else ">"
        self._at = _ENCAPSULATION

    @property
    def little_endian(self) -> bool:
        """Byte order of the numbers."""
        return self._order == "<"

    def _number(self, code: str, size: int) -> int:
        self._at += -(self._at - _ENCAPSULATION) % size
        if self._at + size > len(self._data):
            raise CdrError("message is cut short")
        (value,) = struct.unpack_from(self._order + code, self._data, self._at)
        self._at += size
        return int(value)

    def uint8(self) -> int:
        """Read an unsigned 8-bit number."""
        return self._number("B", 1)

    def uint32(self) -> int:
        """Read an unsigned 32-bit number."""
        return self._number("I", 4)

    def int32(self) -> int:
        """Read a signed 32-bit number."""
        return self._number("i", 4)

    def floats(self) -> FloatArray:
        """Read a sequence of float64."""
        length = self.uint32()
        if length:
            self._at += -(self._at - _ENCAPSULATION) % 8
        end = self._at + 8 * length
        if end > len(self._data):
            raise CdrError("message is cut short")
        values = np.frombuffer(self._data[self._at : end], f"{self._order}f8").astype(np.float64)
        self._at = end
        return values

    def octets(self) -> memoryview:
        """Read a sequence of bytes, without copying it."""
        length = self.uint32()
        if self._at + length > len(self._data):
            raise CdrError("message is cut short")
        view = memoryview(self._data)[self._at : self._at + length]
        self._at += length
        return view

    def string(self) -> str:
        """Read a string."""
        return bytes(self.octets()).rstrip(b"\x00").decode("utf-8", "replace")

    def header(self) -> Header:
        """Read a std_msgs/Header."""
        sec, nanosec = self.int32(), self.uint32()
        return Header(StampNs(sec * NS_PER_S + nanosec), self.string())

    def rest(self) -> bytes:
        """Everything that has not been read."""
        return self._data[self._at :]


def read_header(data: bytes) -> Header:
    """Read the header of a message that begins with one.

    Raises:
        CdrError: If the bytes are too short or not CDR.
    """
    return CdrReader(data).header()


def stamp_of(data: bytes) -> StampNs | None:
    """Read when a message with a header says it was made; None if it does not say."""
    try:
        stamp_ns = read_header(data).stamp_ns
    except CdrError:
        return None
    return stamp_ns if stamp_ns > 0 else None


def read_image(data: bytes) -> RawImage:
    """Read a serialized sensor_msgs/Image without copying the pixels.

    Raises:
        CdrError: If the bytes are too short or not CDR.
    """
    reader = CdrReader(data)
    header = reader.header()
    height, width, encoding = reader.uint32(), reader.uint32(), reader.string()
    reader.uint8()  # is_bigendian: pixels of one byte have no order
    return RawImage(header, height, width, encoding, reader.uint32(), reader.octets())


class CdrWriter:
    """Write fields one after the other."""

    def __init__(self) -> None:
        """Start with the encapsulation."""
        self._out = bytearray(_LITTLE_ENDIAN)

    def align(self, size: int) -> None:
        """Fill up to a multiple of `size`."""
        self._out += bytes(-(len(self._out) - _ENCAPSULATION) % size)

    def aligned(self, size: int) -> bool:
        """Whether the next field would start at a multiple of `size`."""
        return (len(self._out) - _ENCAPSULATION) % size == 0

    def uint32(self, value: int) -> None:
        """Write an unsigned 32-bit number."""
        self.align(4)
        self._out += struct.pack("<I", value)

    def int32(self, value: int) -> None:
        """Write a signed 32-bit number."""
        self.align(4)
        self._out += struct.pack("<i", value)

    def uint64(self, value: int) -> None:
        """Write an unsigned 64-bit number."""
        self.align(8)
        self._out += struct.pack("<Q", value)

    def uint8(self, value: int) -> None:
        """Write an unsigned 8-bit number."""
        self._out += struct.pack("<B", value)

    def floats(self, values: FloatArray) -> None:
        """Write a sequence of float64."""
        self.uint32(len(values))
        if len(values):
            self.align(8)
            self._out += values.astype("<f8").tobytes()

    def string(self, text: str) -> None:
        """Write a string."""
        encoded = text.encode() + b"\x00"
        self.uint32(len(encoded))
        self._out += encoded

    def octets(self, data: bytes) -> None:
        """Write a sequence of bytes."""
        self.uint32(len(data))
        self._out += data

    def header(self, header: Header) -> None:
        """Write a std_msgs/Header."""
        sec, nanosec = divmod(int(header.stamp_ns), NS_PER_S)
        self.align(4)
        self._out += struct.pack("<iI", sec, nanosec)
        self.string(header.frame_id)

    def raw(self, data: bytes) -> None:
        """Write bytes as they are."""
        self._out += data

    def finish(self) -> bytes:
        """The message."""
        return bytes(self._out)


def compressed_image(header: Header, image_format: str, data: bytes) -> bytes:
    """Serialize a sensor_msgs/CompressedImage."""
    writer = CdrWriter()
    writer.header(header)
    writer.string(image_format)
    writer.octets(data)
    return writer.finish()
