"""Protobuf's wire format, as much of it as joining cached messages takes."""


def text(number: int, value: str) -> bytes:
    """A string field; nothing where the string is empty, as proto3 has it."""
    encoded = value.encode()
    return head(number, len(encoded)) + encoded if encoded else b""


def head(number: int, size: int) -> bytes:
    """What precedes `size` bytes of a length-delimited field: tag and length."""
    return varint(number << 3 | 2) + varint(size)


def varint(value: int) -> bytes:
    """A non-negative integer in base 128, least significant group first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
