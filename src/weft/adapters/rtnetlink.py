"""Links and addresses of the calling thread's network namespace, asked of the kernel itself (rtnetlink(7)).

A process of ip(8) takes some milliseconds of which a pod's start has none to spare; this takes a tenth of one.
"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address, ip_interface
from typing import Final

_GET_LINK: Final = 18
_GET_ADDRESS: Final = 22
_GET_ROUTE: Final = 26
_ERROR: Final = 2
_DONE: Final = 3
_DUMP: Final = 0x301
"""NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH"""
_INTERRUPTED: Final = 0x10
"""NLM_F_DUMP_INTR: something has changed while it was told."""
_HEADER: Final = struct.Struct("=IHHII")
_LINK: Final = struct.Struct("=BxHiII")
_ADDRESS: Final = struct.Struct("=BBBBi")
_ROUTE: Final = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE: Final = struct.Struct("=HH")
_NAME, _MASTER = 3, 10
_PEER, _LOCAL = 1, 2
_DESTINATION, _OUTGOING, _TABLE = 1, 4, 15
_UNICAST: Final = 1
_GLOBAL: Final = 0
_SOL_NETLINK, _STRICT = 270, 12
"""NETLINK_GET_STRICT_CHK: what is asked for is picked out, instead of overlooked."""
_TRIES: Final = 10
_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Link:
    """An interface. `enslaved`: it is a port of another one."""

    name: str
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    up: bool
    enslaved: bool


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


def global_addresses() -> Iterator[tuple[int, str]]:
    """Numbers of links, and the addresses of theirs that the world may know. Hundreds of links are no matter."""
    for message in _dump(_GET_ADDRESS):
        _, length, _, scope, index = _ADDRESS.unpack_from(message)
        if scope == _GLOBAL:
            attributes = dict(_attributes(message[_ADDRESS.size :]))
            yield index, f"{ip_address(attributes.get(_LOCAL, attributes.get(_PEER, b'')))}/{length}"


@dataclass(frozen=True, slots=True)
class TableRoute:
    """A route of a table, as far as it leads straight to a link. `made_by` is its protocol."""

    destination: IPv4Network | IPv6Network
    index: int
    made_by: int


def table(number: int, index: int = 0) -> Iterator[TableRoute]:
    """The unicast routes of a table, of one link where `index` is given. Others of the kernel's are no matter."""
    picked = _ATTRIBUTE.pack(8, _TABLE) + struct.pack("=I", number)
    if index:
        picked += _ATTRIBUTE.pack(8, _OUTGOING) + struct.pack("=I", index)
    for family, network, bits in ((socket.AF_INET, IPv4Network, 4), (socket.AF_INET6, IPv6Network, 16)):
        # a table that is not there is no error of ours
        with contextlib.suppress(FileNotFoundError):
            for message in _dump(_GET_ROUTE, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, _UNICAST, 0) + picked):
                _, length, _, _, _, made_by, _, _, _ = _ROUTE.unpack_from(message)
                attributes = dict(_attributes(message[_ROUTE.size :]))
                place = attributes.get(_DESTINATION, bytes(bits))
                (outgoing,) = struct.unpack("=I", attributes.get(_OUTGOING, bytes(4)))
                yield TableRoute(network((place, length)), outgoing, made_by)


def _link(message: bytes, addresses: dict[int, list[IPv4Interface | IPv6Interface]]) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(message)
    attributes = dict(_attributes(message[_LINK.size :]))
    name = attributes[_NAME].rstrip(b"\0").decode(errors="replace")
    return Link(name, tuple(addresses.get(index, ())), bool(flags & 1), _MASTER in attributes)


def _dump(what: int, body: bytes = bytes(_LINK.size)) -> list[bytes]:
    """The bodies of all messages of an answer. What `body` asks for the kernel picks out itself."""
    for _ in range(_TRIES):
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        ) as asked:
            asked.settimeout(_SECONDS)
            if what == _GET_ROUTE:
                asked.setsockopt(_SOL_NETLINK, _STRICT, 1)
            asked.send(_HEADER.pack(_HEADER.size + len(body), what, _DUMP, 1, 0) + body)
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
