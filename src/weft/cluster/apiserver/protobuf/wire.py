"""The protobuf wire format: bytes to numbered, untyped fields."""

import struct
from collections.abc import Iterator


class ProtobufError(ValueError):
    """A body that is no protobuf, or none of a kind that is known here; the message says where it fails."""


Raw = int | bytes
"""A varint or a fixed number (not yet signed), or a length-delimited run of bytes."""

VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The unsigned number at `at`, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ProtobufError("the message ends inside a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise ProtobufError("a number is longer than ten bytes")


def fields(data: bytes) -> Iterator[tuple[int, int, Raw]]:
    """Each field as (number, wire type, value), in the order of the message."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, wire_type = key >> 3, key & 7
        value: Raw
        match wire_type:
            case 0:
                value, at = varint(data, at)
            case 1 | 5:
                end = at + (8 if wire_type == FIXED64 else 4)
                if end > len(data):
                    raise ProtobufError(f"field {number} ends too early")
                value, at = int.from_bytes(data[at:end], "little"), end
            case 2:
                length, at = varint(data, at)
                if length > len(data) - at:
                    raise ProtobufError(f"field {number} is longer than its message")
                value, at = data[at : at + length], at + length
            case _:
                raise ProtobufError(f"field {number} has the unknown wire type {wire_type}")
        yield number, wire_type, value


def signed(value: int, bits: int) -> int:
    """The two's complement reading of the low `bits`."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def double(value: int) -> float:
    """A fixed64 as a floating point number."""
    number: float = struct.unpack("<d", value.to_bytes(8, "little"))[0]
    return number
