"""A DNS server: bytes in, bytes out, by UDP and TCP. Clients can neither end it nor make it grow without bound."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Literal, cast

_LOG = logging.getLogger(__name__)

Transport = Literal["udp", "tcp"]
Resolve = Callable[[bytes, Transport], Awaitable[bytes | None]]
"""The answer to a message; None where there is nothing to say."""

AtOnce = Callable[[bytes], bytes | None]
"""The answer to a datagram where it is known without waiting."""

_IDLE_SECONDS = 2.0  # as CoreDNS: who has begun to speak is quick about it
_MOST_QUERIES = 2000  # by UDP, at one time: clients ask again for what is dropped
_MOST_CONNECTIONS = 200


def _later(_: bytes) -> None:
    return None


async def serve(resolve: Resolve, bind_ip: str, port: int, at_once: AtOnce = _later) -> None:
    """Listen until cancelled. OSError where the port cannot be had."""
    loop = asyncio.get_running_loop()
    make = lambda: _Udp(resolve, at_once)  # noqa: E731 -- asyncio's word for it is a factory
    transport, _ = await loop.create_datagram_endpoint(make, local_addr=(bind_ip, port))
    try:
        connections = _Tcp(resolve)
        listener = await asyncio.start_server(connections.serve, bind_ip, port)
        async with listener:
            await listener.serve_forever()
    finally:
        transport.close()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, resolve: Resolve, at_once: AtOnce) -> None:
        self._resolve, self._at_once = resolve, at_once
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own class for datagrams is no subclass of DatagramTransport
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            reply = self._at_once(data)
        except Exception:  # noqa: BLE001 -- logged with its trace
            _LOG.exception("a query of %d bytes from %s", len(data), addr[0])
            return
        if reply is not None:
            self._send(reply, addr)
        elif len(self._tasks) < _MOST_QUERIES:
            task = asyncio.get_running_loop().create_task(self._reply(data, addr))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _reply(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            reply = await self._resolve(data, "udp")
        except Exception:  # noqa: BLE001 -- logged with its trace
            # one strange packet must not end the resolver; the trace shows which of our lines was wrong
            _LOG.exception("a query of %d bytes from %s", len(data), addr[0])
            return
        if reply:
            self._send(reply, addr)

    def _send(self, reply: bytes, addr: tuple[str, int]) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.sendto(reply, addr)


class _Tcp:
    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Queries on one connection, each with its length before it (RFC 7766), until it is idle too long."""
        self._open += 1
        try:
            if self._open <= _MOST_CONNECTIONS:
                await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            pass  # the client went away: there is nobody to tell
        except Exception:  # noqa: BLE001 -- logged with its trace
            _LOG.exception("a query by TCP")
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(_IDLE_SECONDS):
                length = int.from_bytes(await reader.readexactly(2), "big")
                data = await reader.readexactly(length)
            reply = await self._resolve(data, "tcp")
            if reply is None:
                return
            writer.write(len(reply).to_bytes(2, "big") + reply)
            async with asyncio.timeout(_IDLE_SECONDS):
                await writer.drain()
