# SPDX-License-Identifier: Apache-2.0
"""The messages are openpi's, and nothing in one makes the reader do anything but read."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from levine_policy_node.errors import RemoteError
from levine_policy_node.runtime.msgpack_numpy import packed, unpacked

msgpack = pytest.importorskip("msgpack")

MESSAGE = {
    "observation/state": np.array([0.5, -1.25], dtype=np.float32),
    "observation/image": np.arange(12, dtype=np.uint8).reshape(2, 2, 3),
    "prompt": "pick",
    "n": np.float32(2.5),
}
# What openpi-client 0.1.2 makes of it.
OPENPI = bytes.fromhex(
    "84b16f62736572766174696f6e2f737461746584c40b5f5f6e6461727261795f5fc3c40464617461c4080000003f"
    "0000a0bfc4056474797065a33c6634c40573686170659102b16f62736572766174696f6e2f696d61676584c40b5f"
    "5f6e6461727261795f5fc3c40464617461c40c000102030405060708090a0bc4056474797065a37c7531c4057368"
    "61706593020203a670726f6d7074a47069636ba16e83c40d5f5f6e7067656e657269635f5fc3c40464617461cb40"
    "04000000000000c4056474797065a33c6634"
)
NUMBERS = st.one_of(
    npst.boolean_dtypes(),
    npst.integer_dtypes(endianness="?"),
    npst.unsigned_integer_dtypes(endianness="?"),
    npst.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
)


def test_a_message_has_the_bytes_that_openpi_writes():
    assert packed(MESSAGE) == OPENPI
    read = unpacked(OPENPI)
    assert read.keys() == MESSAGE.keys()
    for name, value in MESSAGE.items():
        np.testing.assert_array_equal(read[name], value)
        assert getattr(read[name], "dtype", None) == getattr(value, "dtype", None)


@settings(max_examples=40)
@given(NUMBERS.flatmap(lambda dtype: npst.arrays(dtype, npst.array_shapes(min_side=0))))
def test_arrays_of_numbers_come_back_as_they_were(array):
    read = unpacked(packed({"a": {"b": array}}))["a"]["b"]
    assert (read.dtype, read.shape) == (array.dtype, array.shape)
    assert read.tobytes() == array.tobytes()


@given(st.binary(max_size=200))
def test_bytes_are_a_mapping_or_refused(data):
    with contextlib.suppress(RemoteError):
        assert isinstance(unpacked(data), dict)


def array(**changes):
    fields = {"__ndarray__": True, "data": bytes(8), "dtype": "<f4", "shape": [2], **changes}
    return msgpack.packb({"actions": {name.encode(): v for name, v in fields.items()}})


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [3]},
        {"shape": [-2]},
        {"shape": [2**62, 4]},
        {"shape": [2.0]},
        {"shape": [1] * 40},
        {"shape": None},
        {"data": "text"},
        {"data": None},
    ],
)
def test_damaged_arrays_are_refused(changes):
    with pytest.raises(RemoteError, match="cannot be read"):
        unpacked(array(**changes))


@pytest.mark.parametrize("dtype", ["|O", "O", "<U4", "<M8[s]", "f4,O", "float64", "<f16", 7])
def test_arrays_of_anything_but_numbers_stay_what_they_are(dtype):
    assert isinstance(unpacked(array(dtype=dtype))["actions"], dict)


def test_what_is_no_number_is_not_sent():
    with pytest.raises(TypeError, match="cannot be sent"):
        packed({"a": np.array([object()])})
    with pytest.raises(TypeError, match="cannot be sent"):
        packed({"a": object()})


def test_deep_nesting_is_refused_and_ends_nothing():
    with pytest.raises(RemoteError):
        unpacked(b"\x81\xa1a" * 100_000 + b"\x01")
