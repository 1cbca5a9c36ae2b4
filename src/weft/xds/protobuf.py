"""Protobuf's wire format, as much of it as joining cached messages and looking into large ones takes."""


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


def last_text(message: bytes, number: int) -> str:
    """The last value of a string field of `message`; "" where it has none, or is no message at all.

    Other fields are stepped over, however long they are.
    """
    found, position = b"", 0
    try:
        while position < len(message):
            tag, position = _varint(message, position)
            match tag & 7:
                case 0:
                    _, position = _varint(message, position)
                case 1:
                    position += 8
                case 2:
                    size, position = _varint(message, position)
                    if tag >> 3 == number:
                        found = message[position : position + size]
                    position += size
                case 5:
                    position += 4
                case _:
                    return ""
    except IndexError:
        return ""
    return found.decode(errors="replace") if position == len(message) else ""


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """A varint at `position`, and where it ends. IndexError where the message ends in it."""
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise IndexError
