"""Clients that send nonsense, say nothing or vanish: the server answers the others and keeps nothing of them."""

import asyncio
from pathlib import Path

import pytest
from tests.cluster.apiserver.servers import Home

from weft.adapters.kube.client import Kube
from weft.cluster.apiserver.rest import bodies
from weft.cluster.apiserver.rest.server import Server

IDLE = 300


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def talk(home: Home, text: bytes, *, read: int = 65536) -> tuple[bytes, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", home.port, ssl=home.access.ssl_context())
    writer.write(text)
    async with asyncio.timeout(10):
        return await reader.read(read), writer


async def close(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    await asyncio.sleep(0)


async def settle(before: int) -> None:
    async with asyncio.timeout(10):
        while open_files() > before:  # the kernel tells nobody when a file closes
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("text", [b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
async def test_what_is_no_http_is_answered_400(home: Home, server: Server, text: bytes) -> None:
    answer, writer = await talk(home, text)
    await close(writer)
    assert answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))


async def test_a_body_beyond_the_limit_is_answered_413(home: Home, server: Server) -> None:
    head = b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    size = bodies.LARGEST + 1
    answer, writer = await talk(home, head + f"Content-Length: {size}\r\n\r\n".encode() + b" " * size)
    await close(writer)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"RequestEntityTooLarge" in answer


async def test_hundreds_of_silent_connections_leave_room_for_others(
    home: Home, kube: Kube, server: Server
) -> None:
    before = open_files()
    idle = [await asyncio.open_connection("127.0.0.1", home.port) for _ in range(IDLE)]
    answer, writer = await talk(home, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    await close(writer)
    for _, silent in idle:
        await close(silent)
    await settle(before)


async def test_a_watcher_that_vanishes_leaves_no_task_and_no_connection(home: Home, server: Server) -> None:
    before = open_files()
    text = b"GET /api/v1/configmaps?watch=true HTTP/1.1\r\nHost: x\r\n\r\n"
    writers = [(await talk(home, text))[1] for _ in range(20)]
    assert len(server._watches) == 20
    for writer in writers:
        await close(writer)
    await settle(before)
    assert not server._watches


async def test_a_client_without_tls_is_turned_away(home: Home, server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", home.port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(10):
        assert b"200" not in await reader.read()
    await close(writer)
    assert (await talk(home, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"))[0].startswith(b"HTTP/1.1 200")
