"""Asking another resolver, from the network that can reach it: a node has no way out, the machine may have one."""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from weft.adapters import netns

Place = Callable[[], str]
"""Where to ask from: a network namespace's name or path, empty for the own one. OSError where there is none."""


def here() -> str:
    """The own network namespace."""
    return ""


async def ask_udp(upstream: tuple[str, int], data: bytes, place: Place = here) -> bytes:
    """The answer to one query. Wait for it with a limit: datagrams get lost."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[bytes] = loop.create_future()
    asking = _socket(socket.SOCK_DGRAM, place)
    try:
        asking.settimeout(0)
        asking.connect(upstream)
        transport, _ = await loop.create_datagram_endpoint(lambda: _Asking(data, answered), sock=asking)
    except OSError:
        asking.close()
        raise
    try:
        return await answered
    finally:
        transport.close()


async def ask_tcp(upstream: tuple[str, int], data: bytes, place: Place = here) -> bytes:
    """The same by TCP, for answers that no datagram holds (RFC 7766)."""
    asking = _socket(socket.SOCK_STREAM, place)
    try:
        asking.settimeout(0)
        await asyncio.get_running_loop().sock_connect(asking, upstream)
        reader, writer = await asyncio.open_connection(sock=asking)
    except BaseException:
        asking.close()
        raise
    try:
        writer.write(len(data).to_bytes(2, "big") + data)
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    except asyncio.IncompleteReadError as error:
        raise ConnectionError("the connection ended within the answer") from error
    finally:
        writer.close()


def _socket(kind: socket.SocketKind, place: Place) -> socket.socket:
    """A socket stays in the namespace that it was made in, whoever uses it."""
    name = place()
    if not name:
        return socket.socket(socket.AF_INET, kind)
    return netns.inside(name, lambda: socket.socket(socket.AF_INET, kind))


class _Asking(asyncio.DatagramProtocol):
    def __init__(self, data: bytes, answered: asyncio.Future[bytes]) -> None:
        self._data, self._answered = data, answered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own class for datagrams is no subclass of DatagramTransport
        cast("asyncio.DatagramTransport", transport).sendto(self._data)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:  # noqa: ARG002 -- asyncio's signature
        # the connected socket hears only its upstream; the number tells answers to this query from late ones
        if data[:2] == self._data[:2] and not self._answered.done():
            self._answered.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._answered.done():
            self._answered.set_exception(exc)
