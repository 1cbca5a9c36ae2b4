"""The HTTP server of webhooks and monitoring against clients that are slow, silent, many or too large."""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from weft.adapters import http_server
from weft.adapters.http_server import Limits

LIMITS = Limits(connections=50, idle=1.0)
SLOW_HEAD = b"POST /review HTTP/1.1\r\nHost: x\r\nX-Slow: "


async def review(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await request.read())))


@pytest.fixture
async def port() -> AsyncIterator[int]:
    app = web.Application(client_max_size=1 << 20)
    app.router.add_post("/review", review)
    async with http_server.serving(app, "127.0.0.1:0", limits=LIMITS) as port:
        yield port


async def reviewed(port: int, body: bytes = b"12345") -> tuple[int, str]:
    url = f"http://127.0.0.1:{port}/review"
    async with aiohttp.ClientSession() as session, session.post(url, data=io.BytesIO(body)) as answer:
        return answer.status, await answer.text()


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial = Callable[..., Awaitable[Ends]]


@pytest.fixture
async def dial(port: int) -> AsyncIterator[Dial]:
    """Connects, from an address of this machine, and begins to speak."""
    opened: list[asyncio.StreamWriter] = []

    async def dial(begin: bytes = b"", local: str = "127.0.0.1") -> Ends:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(local, 0))
        opened.append(writer)
        writer.write(begin)
        return reader, writer

    yield dial
    for writer in opened:
        writer.transport.abort()
    await asyncio.gather(*(writer.wait_closed() for writer in opened), return_exceptions=True)


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(10):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


@pytest.mark.parametrize("begin", [b"", SLOW_HEAD], ids=["silent", "half-a-head"])
async def test_who_does_not_come_to_the_point_is_let_go(port: int, dial: Dial, begin: bytes) -> None:
    ends = [await dial(begin) for _ in range(20)]
    assert await reviewed(port) == (200, "5")
    assert [await until_closed(reader) for reader, _ in ends] == [b""] * 20


async def test_a_head_that_trickles_in_gets_no_more_time_for_it(dial: Dial) -> None:
    reader, writer = await dial(SLOW_HEAD)
    began = time.monotonic()

    async def trickle() -> None:
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.05)

    trickling = asyncio.create_task(trickle())
    assert await until_closed(reader) == b""
    assert time.monotonic() - began < 5
    trickling.cancel()
    await asyncio.gather(trickling, return_exceptions=True)


async def test_a_body_that_does_not_arrive_is_not_waited_for(dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "_WHOLE", 0.3)
    reader, _ = await dial(b"POST /review HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert (await until_closed(reader)).startswith(b"HTTP/1.1 408 ")


async def test_what_is_too_large_is_refused(port: int, dial: Dial) -> None:
    assert (await reviewed(port, b"x" * (2 << 20)))[0] == 413
    reader, _ = await dial(b"POST /review HTTP/1.1\r\nX: " + b"x" * (32 << 10) + b"\r\n\r\n")
    assert (await until_closed(reader)).startswith(b"HTTP/1.0 400 ")
    lines = b"".join(b"X-%d: 1\r\n" % number for number in range(500))
    reader, _ = await dial(b"POST /review HTTP/1.1\r\n" + lines + b"\r\n")
    assert (await until_closed(reader)).startswith(b"HTTP/1.0 400 ")


async def test_one_address_takes_no_more_than_its_share_of_connections(port: int, dial: Dial) -> None:
    ends = [await dial(local="127.0.0.2") for _ in range(200)]
    began = time.monotonic()
    dropped = asyncio.gather(*(until_closed(reader) for reader, _ in ends[LIMITS.connections :]))
    assert await reviewed(port) == (200, "5")
    await dropped
    assert time.monotonic() - began < 5
    # those that are gone no longer count
    assert [await until_closed(reader) for reader, _ in ends] == [b""] * 200
    whole = b"POST /review HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1"
    reader, _ = await dial(whole, local="127.0.0.2")
    assert (await asyncio.wait_for(reader.readline(), 5)) == b"HTTP/1.1 200 OK\r\n"
