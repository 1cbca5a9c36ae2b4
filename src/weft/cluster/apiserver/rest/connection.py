"""One client's connection: its limits, how long it may be silent, and what those hear who speak no HTTP."""

import asyncio
import logging
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

_log = logging.getLogger(__name__)
LONGEST_LINE = 1024 * 1024
"""Bytes of a request line, which carries selectors; Go's limit for all headers together."""
_LONGEST_HEADER = 64 * 1024
_HEADERS = 256
IDLE = 90.0
"""Seconds without a whole request after which a connection is closed (the API server's own)."""
STALLED = 60.0
"""Seconds that a watcher may leave events in the server's buffers."""
LARGE = 64 * 1024
"""Bytes of a piece of an answer from which on it counts as one of many."""
_HANDSHAKE = 32.0
"""Seconds until TLS must be agreed on."""
_BACKLOG = 512
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Connection(web.RequestHandler):
    """A connection whose bad requests are answered in the words of Go's HTTP server, and never fill the log."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Find out within minutes, as Go's server does, that a silent client's machine is gone."""
        if sock := transport.get_extra_info("socket"):
            for option, value in ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 9)):
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
        super().connection_made(transport)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is no request; any other error is aiohttp's to answer."""
        if isinstance(exc, HttpProcessingError):
            _log.debug("%s sent no request: %s", request.remote, exc)
            return plain(_code(exc))
        return super().handle_error(request, status, exc, message)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """A body that breaks off or is no body is the client's trouble, and not worth a traceback."""
        error = kw.get("exc_info")
        if isinstance(error, HttpProcessingError | web.RequestPayloadError):
            _log.debug("a client sent no proper body: %s", error)
        else:
            super().log_exception(*args, **kw)


async def written(request: web.BaseRequest, response: web.StreamResponse, data: bytes) -> None:
    """Write a piece of an answer; ConnectionResetError where the client goes or takes nothing for too long."""
    try:
        async with asyncio.timeout(STALLED):
            await response.write(data)
            if len(data) >= LARGE:
                await asyncio.sleep(0)  # others have their turn, however fast this client reads
    except TimeoutError:
        cut(request)
        raise ConnectionResetError("the client takes nothing") from None


def cut(request: web.BaseRequest) -> None:
    """End a client's connection at once, with whatever waits for it."""
    if isinstance(request.transport, asyncio.WriteTransport):
        request.transport.abort()


def _code(error: HttpProcessingError) -> HTTPStatus:
    if isinstance(error, LineTooLong) or "Too many headers" in error.message:
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    return HTTPStatus.BAD_REQUEST


def plain(code: HTTPStatus) -> web.Response:
    """`400 Bad Request`, and the end of the connection: what Go's HTTP server says before any handler runs."""
    response = web.Response(status=code, text=f"{code} {code.phrase}")
    response.force_close()
    return response


def malformed(path: str) -> bool:
    """Whether a raw path has an escape that is none."""
    return _BAD_ESCAPE.search(path) is not None


@asynccontextmanager
async def listen(runner: web.AppRunner, host: str, port: int, context: ssl.SSLContext) -> AsyncIterator[None]:
    """Take connections for a runner that was set up. OSError where the address is taken."""
    loop = asyncio.get_running_loop()

    def connection() -> Connection:
        if runner.server is None:
            raise ConnectionAbortedError("the server is ending")
        return Connection(
            runner.server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # aiohttp's own default is a Logger; None is for none
            auto_decompress=False,  # the API server takes no compressed bodies
            keepalive_timeout=IDLE,
            max_line_size=LONGEST_LINE,
            max_field_size=_LONGEST_HEADER,
            max_headers=_HEADERS,
        )

    server = await loop.create_server(
        connection, host, port, ssl=context, backlog=_BACKLOG, ssl_handshake_timeout=_HANDSHAKE
    )
    try:
        yield
    finally:
        server.close()
