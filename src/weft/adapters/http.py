"""Just enough HTTP/1.1 for an agent: one request a connection, both ways, without a framework's weight."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

_LARGEST_HEAD = 64 * 1024
_READ_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Request:
    """A request without a body; `path` includes the query."""

    method: str
    path: str
    headers: Mapping[str, str]
    peer: str


@dataclass(frozen=True, slots=True)
class Response:
    """A response with all of its body."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"


class HttpError(OSError):
    """The other side is not there, is too slow, or does not speak HTTP."""


Handler = Callable[[Request], Awaitable[Response]]


async def serve(host: str, port: int, handler: Handler) -> asyncio.Server:
    """Answer requests on `host:port` (0 takes a free port). Every connection ends with its answer."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_READ_SECONDS):
                request = _request(await reader.readuntil(b"\r\n\r\n"), str(writer.get_extra_info("peername")[0]))
            response = await handler(request) if request else Response(400)
            writer.write(_encoded(response))
            await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # the client went away or does not speak HTTP: there is nobody to tell
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    return await asyncio.start_server(connected, host, port, limit=_LARGEST_HEAD)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes. `source` is the local address to come from, "" for any."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    source: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


async def fetch(target: Target, method: str, path: str, *, timeout: float) -> Response:
    """The answer of `target`. HttpError when there is none within `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            return await _exchange(target, method, path)
    except TimeoutError as error:
        raise HttpError(f"{target.host}:{target.port}: no answer within {timeout:g} s") from error
    except (OSError, ValueError, asyncio.IncompleteReadError) as error:
        raise HttpError(f"{target.host}:{target.port}: {error}") from error


async def connect(target: Target, *, timeout: float) -> None:
    """Open a connection and close it again. HttpError when that fails within `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout), _connection(target):
            pass
    except (OSError, TimeoutError) as error:
        raise HttpError(f"{target.host}:{target.port}: {error or 'timed out'}") from error


class _connection:  # noqa: N801 -- used as a function
    def __init__(self, target: Target) -> None:
        self._target = target
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        local = (self._target.source, 0) if self._target.source else None
        reader, self._writer = await asyncio.open_connection(
            self._target.host, self._target.port, ssl=self._target.tls, local_addr=local
        )
        return reader, self._writer

    async def __aexit__(self, *_: object) -> None:
        if self._writer:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()


async def _exchange(target: Target, method: str, path: str) -> Response:
    headers = {"Host": f"{target.host}:{target.port}", **target.headers, "Connection": "close"}
    if method == "POST":
        headers["Content-Length"] = "0"
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    async with _connection(target) as (reader, writer):
        writer.write("\r\n".join(lines).encode("latin-1"))
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        found = re.match(r"HTTP/1\.[01] (\d{3})", head)
        if not found:
            raise ValueError("the answer is not HTTP")
        answered = _headers(head)
        body = await reader.read() if answered.get("transfer-encoding") != "chunked" else await _chunks(reader)
    return Response(int(found[1]), body, answered.get("content-type", ""))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    return b"".join(parts)


def _request(head: bytes, peer: str) -> Request | None:
    text = head.decode("latin-1")
    found = re.match(r"([A-Z]+) (/\S*) HTTP/1\.[01]\r\n", text)
    return Request(found[1], found[2], _headers(text), peer) if found else None


def _headers(head: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in head.split("\r\n")[1:] if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _encoded(response: Response) -> bytes:
    lines = [
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        "Connection: close",
        "",
        "",
    ]
    return "\r\n".join(lines).encode("latin-1") + response.body
