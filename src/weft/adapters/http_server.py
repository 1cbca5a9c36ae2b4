"""An HTTP server that no client holds up: bounds on silence, heads, bodies, and the connections of one address."""

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

IDLE = 30.0
"""Seconds in which the head of a request must be whole, counted from the connection or from the answer before."""
_HANDSHAKE = 10.0
"""Seconds until TLS must be agreed on."""
_WHOLE = 30.0
"""Seconds from the head of a request to its answer: a body may come slowly."""
_LONGEST_LINE = 8 * 1024
_HEADERS = 128
_BACKLOG = 512


@dataclass(frozen=True, slots=True)
class Limits:
    """Connections that one address may have, and seconds that one may be silent."""

    connections: int = 512
    idle: float = IDLE


@asynccontextmanager
async def serving(
    app: web.Application, address: str, tls: ssl.SSLContext | None = None, limits: Limits | None = None
) -> AsyncIterator[int]:
    """Serve on `ip:port` (port 0 picks one); gives the port. OSError where the address is taken."""
    app.middlewares.insert(0, _in_time)
    chosen = limits or Limits()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    host, _, port = address.rpartition(":")
    loop, held = asyncio.get_running_loop(), Counter[str]()

    def connection() -> _Connection:
        if runner.server is None:
            raise ConnectionAbortedError("the server is ending")
        return _Connection(
            runner.server,
            held=held,
            most=chosen.connections,
            loop=loop,
            access_log=None,
            keepalive_timeout=chosen.idle,
            lingering_time=1.0,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
            max_headers=_HEADERS,
        )

    handshake = _HANDSHAKE if tls else None
    try:
        server = await loop.create_server(
            connection, host.strip("[]"), int(port), ssl=tls, backlog=_BACKLOG, ssl_handshake_timeout=handshake
        )
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()
    finally:
        await runner.cleanup()


class _Connection(web.RequestHandler):
    """Counts the connections of its client's address in `held`, and ends at once beyond `most`."""

    __slots__ = ("_address", "_held", "_most")

    def __init__(self, manager: Any, *, held: Counter[str], most: int, **options: Any) -> None:
        super().__init__(manager, **options)
        self._held, self._most, self._address = held, most, ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._address = str((transport.get_extra_info("peername") or ("",))[0])
        self._held[self._address] += 1
        if self._held[self._address] > self._most and isinstance(transport, asyncio.WriteTransport):
            transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._held[self._address] -= 1
        if self._held[self._address] <= 0:
            del self._held[self._address]
        super().connection_lost(exc)


@web.middleware
async def _in_time(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        async with asyncio.timeout(_WHOLE) as deadline:
            return await handler(request)
    except TimeoutError:
        if not deadline.expired():
            raise
        raise web.HTTPRequestTimeout(text="the request took too long to arrive") from None
