"""Links and addresses of the calling thread's network namespace, asked of the kernel itself (rtnetlink(7)).

A process of ip(8) takes some milliseconds of which a pod's start has none to spare; this takes a tenth of one.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from typing import Final

_GET_LINK: Final = 18
_GET_ADDRESS: Final = 22
_ERROR: Final = 2
_DONE: Final = 3
_DUMP: Final = 0x301
"""NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH"""
_INTERRUPTED: Final = 0x10
"""NLM_F_DUMP_INTR: something has changed while it was told."""
_HEADER: Final = struct.Struct("=IHHII")
_LINK: Final = struct.Struct("=BxHiII")
_ADDRESS: Final = struct.Struct("=BBBBi")
_ATTRIBUTE: Final = struct.Struct("=HH")
_NAME, _MASTER = 3, 10
_PEER, _LOCAL = 1, 2
_TRIES: Final = 10
_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Link:
    """An interface. `enslaved`: it is a port of another one."""

    name: str
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    up: bool
    enslaved: bool
    index: int = field(default=0, compare=False)


def links() -> tuple[Link, ...]:
    """All interfaces, in the kernel's order. OSError where it does not say."""
    addresses: dict[int, list[IPv4Interface | IPv6Interface]] = {}
    found = list(_dump(_GET_LINK))
    for message in _dump(_GET_ADDRESS):
        _, length, _, _, index = _ADDRESS.unpack_from(message)
        attributes = dict(_attributes(message[_ADDRESS.size :]))
        # of IPv6 there is a local address only where there is a peer
        if (packed := attributes.get(_LOCAL, attributes.get(_PEER))) is not None:
            addresses.setdefault(index, []).append(ip_interface(f"{ip_address(packed)}/{length}"))
    return tuple(_link(message, addresses) for message in found)


def _link(message: bytes, addresses: dict[int, list[IPv4Interface | IPv6Interface]]) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(message)
    attributes = dict(_attributes(message[_LINK.size :]))
    name = attributes[_NAME].rstrip(b"\0").decode(errors="replace")
    return Link(name, tuple(addresses.get(index, ())), bool(flags & 1), _MASTER in attributes, index)


def _dump(what: int) -> list[bytes]:
    """The bodies of all messages of an answer."""
    for _ in range(_TRIES):
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        ) as asked:
            asked.settimeout(_SECONDS)
            asked.send(_HEADER.pack(_HEADER.size + _LINK.size, what, _DUMP, 1, 0) + bytes(_LINK.size))
            if (messages := _answer(asked)) is not None:
                return messages
    raise OSError(errno.EINTR, "interfaces come and go while the kernel tells of them")


def _answer(asked: socket.socket) -> list[bytes] | None:
    """None where the kernel says that it is not the same throughout."""
    messages, whole = list[bytes](), True
    while True:
        data = asked.recv(1 << 16)
        while data:
            length, kind, flags, _, _ = _HEADER.unpack_from(data)
            body, data = data[_HEADER.size : length], data[_aligned(length) :]
            whole = whole and not flags & _INTERRUPTED
            if kind == _ERROR:
                code = -int(struct.unpack_from("=i", body)[0])
                raise OSError(code, f"rtnetlink: {os.strerror(code)}")
            if kind == _DONE:
                return messages if whole else None
            messages.append(body)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            return
        yield kind, data[_ATTRIBUTE.size : length]
        data = data[_aligned(length) :]


def _aligned(length: int) -> int:
    return (length + 3) & ~3
