"""Neighbours on a link asked and told by raw frames: who has an address, and that we have it now.

ARP for IPv4 (RFC 826, RFC 5227), neighbour discovery for IPv6 (RFC 4861, RFC 4862), by packet sockets that are
opened in a pod's network namespace and then belong to the loop of the caller.
"""

import asyncio
import contextlib
import errno
import fcntl
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from weft.adapters import netns as namespaces
from weft.adapters.announcing import gratuitous

Address = IPv4Address | IPv6Address
Match = Callable[[bytes], bytes | None]
"""The hardware address of whom a frame shows to have the address; None for a frame about something else."""

_ARP, _IPV6 = 0x0806, 0x86DD
_ETHERNET: Final = 1
_REQUEST: Final = 1
_BROADCAST: Final = b"\xff" * 6
_SOLICITATION, _ADVERTISEMENT = 135, 136
_SOURCE_OPTION, _TARGET_OPTION = 1, 2
_ALL_NODES: Final = IPv6Address("ff02::1")
_SOLICITED: Final = int(IPv6Address("ff02::1:ff00:0"))
_OVERRIDE: Final = 1 << 29
_HOPS: Final = 255
"""What comes from farther away than this link has fewer."""
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1
_FRAME: Final = 2048


async def conflict(
    netns: str, interface: str, address: Address, *, timeout: float = 0.1, tries: int = 3
) -> str | None:
    """The hardware address of whoever on the link has `address` or is about to take it; None where nobody says so.

    Asked without an address of our own, so that no neighbour learns a wrong one. An interface that is down is set
    up: IPAM comes before the plugin that would do so. OSError where the link cannot be asked.
    """
    async with _socket(netns, interface, address) as link:
        return await _ask(link, address, None, timeout, tries)


async def reachable(
    netns: str, interface: str, address: Address, source: Address | None, *, timeout: float = 0.1, tries: int = 3
) -> str | None:
    """The hardware address of `address` (a gateway), asked from `source`, an address of ours. None: no answer."""
    async with _socket(netns, interface, address) as link:
        return await _ask(link, address, source, timeout, tries)


async def announce(netns: str, interface: str, address: Address) -> None:
    """Tell all neighbours on the link that `address` is here now. Where it is no Ethernet there are none."""
    with contextlib.suppress(_NoEthernetError):
        async with _socket(netns, interface, address) as link:
            mac = _mac(link)
            frame = (
                gratuitous(str(address), mac) if isinstance(address, IPv4Address) else _advertised(address, mac)
            )
            await asyncio.get_running_loop().sock_sendall(link, frame)


class _NoEthernetError(OSError):
    pass


@asynccontextmanager
async def _socket(netns: str, interface: str, address: Address) -> AsyncIterator[socket.socket]:
    protocol = _ARP if address.version == 4 else _IPV6

    def opened() -> socket.socket:
        return _opened(interface, protocol)

    link = await asyncio.to_thread(namespaces.inside, netns, opened) if netns else opened()
    with link:
        yield link


def _opened(interface: str, protocol: int) -> socket.socket:
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    try:
        _set_up(link, interface)
        link.bind((interface, protocol))
        _check(link, interface)
    except BaseException:
        link.close()
        raise
    return link


def _check(link: socket.socket, interface: str) -> None:
    if link.getsockname()[3] != _ETHERNET:
        raise _NoEthernetError(errno.EOPNOTSUPP, f"{interface} is no Ethernet: its neighbours cannot be asked")


def _set_up(link: socket.socket, interface: str) -> None:
    request = struct.pack("16sH14x", interface.encode(), 0)
    (flags,) = struct.unpack_from("H", fcntl.ioctl(link, _GET_FLAGS, request), 16)
    if not flags & _UP:
        fcntl.ioctl(link, _SET_FLAGS, struct.pack("16sH14x", interface.encode(), flags | _UP))


def _mac(link: socket.socket) -> bytes:
    found: bytes = link.getsockname()[4]
    return found


async def _ask(
    link: socket.socket, address: Address, source: Address | None, timeout: float, tries: int
) -> str | None:
    mac, loop = _mac(link), asyncio.get_running_loop()
    if isinstance(address, IPv4Address):
        question = _who_has(address, mac, IPv4Address(0) if source is None else IPv4Address(source))
    else:
        question = _solicited(address, mac, None if source is None else IPv6Address(source))
    for _ in range(tries):
        await loop.sock_sendall(link, question)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                return (await _answered(link, address, mac)).hex(":")
    return None


async def _answered(link: socket.socket, address: Address, own: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    while True:
        frame = await loop.sock_recv(link, _FRAME)
        told = _of_arp(frame, address) if isinstance(address, IPv4Address) else _of_ndp(frame, address)
        if told is not None and told != own:
            return told


def _who_has(address: IPv4Address, mac: bytes, source: IPv4Address) -> bytes:
    ethernet = _BROADCAST + mac + struct.pack("!H", _ARP)
    header = struct.pack("!HHBBH", 1, 0x0800, 6, 4, _REQUEST)
    return ethernet + header + mac + source.packed + bytes(6) + address.packed


def _of_arp(frame: bytes, address: IPv4Address) -> bytes | None:
    if len(frame) < 42 or struct.unpack_from("!HHHBB", frame, 12) != (_ARP, 1, 0x0800, 6, 4):
        return None
    (operation,) = struct.unpack_from("!H", frame, 20)
    mac, sender, target = frame[22:28], frame[28:32], frame[38:42]
    # its owner speaks; or another one probes for the same address just now (RFC 5227, 2.1.1)
    probing = operation == _REQUEST and sender == bytes(4) and target == address.packed
    return mac if sender == address.packed or probing else None


def _solicited(address: IPv6Address, mac: bytes, source: IPv6Address | None) -> bytes:
    group = IPv6Address(_SOLICITED | int(address) & 0xFFFFFF)
    # without a source there is nobody to be remembered (RFC 4861, 4.3)
    option = struct.pack("!BB", _SOURCE_OPTION, 1) + mac if source else b""
    body = bytes(4) + address.packed + option
    return _neighbour_message(_SOLICITATION, body, mac, source or IPv6Address(0), group)


def _advertised(address: IPv6Address, mac: bytes) -> bytes:
    body = struct.pack("!I", _OVERRIDE) + address.packed + struct.pack("!BB", _TARGET_OPTION, 1) + mac
    return _neighbour_message(_ADVERTISEMENT, body, mac, address, _ALL_NODES)


def _neighbour_message(kind: int, body: bytes, mac: bytes, source: IPv6Address, to: IPv6Address) -> bytes:
    pseudo = source.packed + to.packed + struct.pack("!II", len(body) + 4, socket.IPPROTO_ICMPV6)
    message = struct.pack("!BBH", kind, 0, _checksum(pseudo + struct.pack("!BBH", kind, 0, 0) + body)) + body
    header = struct.pack("!IHBB", 6 << 28, len(message), socket.IPPROTO_ICMPV6, _HOPS)
    ethernet = b"\x33\x33" + to.packed[12:] + mac + struct.pack("!H", _IPV6)
    return ethernet + header + source.packed + to.packed + message


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def _of_ndp(frame: bytes, address: IPv6Address) -> bytes | None:
    if len(frame) < 78 or frame[12:14] != struct.pack("!H", _IPV6) or frame[20:22] != bytes((58, _HOPS)):
        return None
    source, kind, target = frame[22:38], frame[54], frame[62:78]
    if target != address.packed:
        return None
    if kind == _ADVERTISEMENT:
        return frame[80:86] if frame[78:80] == bytes((_TARGET_OPTION, 1)) and len(frame) >= 86 else frame[6:12]
    # another one probes for the same address just now (RFC 4862, 5.4.3)
    return frame[6:12] if kind == _SOLICITATION and source == bytes(16) else None
