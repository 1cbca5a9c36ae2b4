"""Two connections joined into one: a client's upgrade request and the server that answers it, byte for byte."""

import asyncio
from typing import cast

from aiohttp import web

_KEPT = ("upgrade", "connection", "x-stream-protocol-version", "sec-websocket-")
_HIGH = 256 * 1024  # bytes written and not yet taken, at which the other side is made to wait


class _End(asyncio.Protocol):
    """One end: what it receives goes to the other, no faster than that takes it."""

    def __init__(self, closed: asyncio.Event) -> None:
        self._closed = closed
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=_HIGH)

    def data_received(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, _error: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()
        self._closed.set()


async def splice(request: web.Request, host: str, port: int, path: str) -> web.StreamResponse:
    """Send the request's upgrade on to `http://host:port/path` and join the two, until either side ends.

    Raises OSError where there is no connection. The answer, agreement or refusal, is the server's own. aiohttp has
    no upgrade to anything but WebSocket, so its connection gets another protocol here.
    """
    client = request.transport
    if client is None:
        raise ConnectionResetError("the client is gone")
    closed = asyncio.Event()
    near, far = _End(closed), _End(closed)
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: far, host, port)
    near.other, far.other = far, near
    near.connection_made(client)
    head = [f"{request.method} {path} HTTP/1.1", f"Host: {host}:{port}", "Content-Length: 0"]
    head += [f"{name}: {value}" for name, value in request.headers.items() if name.lower().startswith(_KEPT)]
    client.set_protocol(near)
    if far.transport is not None:
        far.transport.write(("\r\n".join(head) + "\r\n\r\n").encode())
    client.resume_reading()
    try:
        await closed.wait()
    finally:
        for end in (near, far):
            if end.transport is not None:
                end.transport.close()
        # aiohttp would wait for the end of a connection that is no longer its own
        request.protocol.connection_lost(None)
    return web.Response()
