"""Thousands of connections that say nothing, half of it or too slowly, and readers that do not read."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.cluster.apiserver.processes import Running, running, until
from tests.cluster.apiserver.servers import Home, make_home

from weft.adapters.kube.client import Kube
from weft.cluster.apiserver import store
from weft.cluster.apiserver.rest import connection, deadlines
from weft.cluster.apiserver.rest.server import Server

MAPS = "/api/v1/namespaces/default/configmaps"
FEW = 256
"""Files that the server may open at first: fewer than there are connections."""
IDLE, HALF, SLOW = 2000, 100, 50
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def started(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(make_home(tmp_path), files=FEW) as found:
        yield found


async def dial(home: Home, *, tls: bool = True, window: int = 0) -> Ends:
    """A connection; `window` bytes are all that it takes unread."""
    plain = socket.socket()
    plain.setblocking(False)  # noqa: FBT003 - the socket's own signature
    if window:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", home.port))
    context = home.access.ssl_context() if tls else None
    name = "127.0.0.1" if tls else None
    return await asyncio.open_connection(sock=plain, ssl=context, server_hostname=name, limit=max(window, 4096))


async def many(count: int, home: Home, text: bytes, *, tls: bool = True) -> list[Ends]:
    ends = []
    for _ in range(0, count, 20):
        ends += await asyncio.gather(*(dial(home, tls=tls) for _ in range(20)))
    for _, writer in ends:
        writer.write(text)
    return ends


def drop(ends: list[Ends]) -> None:
    for _, writer in ends:
        writer.transport.abort()


async def told(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(30):
        return await reader.read()


async def test_thousands_of_silent_and_half_open_connections_leave_room_and_no_trace(started: Running) -> None:
    home = started.home
    async with Kube(home.access) as kube:
        await kube.call("POST", MAPS, body={"metadata": {"name": "first"}})
        files, memory = started.files, started.memory
        head = b"GET /readyz HTTP/1.1\r\nHost: x\r\n"
        body = f"POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode()
        ends = await many(IDLE, home, b"")
        ends += await many(SLOW, home, head)
        ends += await many(SLOW, home, body)
        ends += await many(HALF, home, b"\x16\x03\x01\x02\x00\x01", tls=False)
        await until(lambda: started.files >= files + IDLE + HALF + 2 * SLOW)
        assert started.files > FEW
        assert started.memory < memory + 250  # a tenth of a MiB each
        await kube.call("POST", MAPS, body={"metadata": {"name": "second"}})
        assert len((await kube.call("GET", MAPS))["items"]) == 2
        drop(ends)
        await until(lambda: started.files <= files)
        await until(lambda: started.memory < memory + 20)
    assert b"Traceback" not in started.log.read_bytes()


async def test_who_says_nothing_for_too_long_is_hung_up_on(
    home: Home, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "IDLE", 0.5)
    for text in (b"", b"GET /readyz HTTP/1.1\r\nHo", b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"):
        reader, writer = await dial(home)
        writer.write(text)
        answer = await told(reader)
        assert answer.startswith(b"HTTP/1.1 200") == text.endswith(b"\r\n\r\n")
        drop([(reader, writer)])


async def test_a_body_that_never_ends_is_answered_with_a_timeout(
    home: Home, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "LONGEST", 0.5)
    for head in ("Content-Length: 100\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"):
        reader, writer = await dial(home)
        writer.write(f"POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{head}".encode())
        answer = await asyncio.wait_for(reader.read(65536), 10)
        assert answer.startswith(b"HTTP/1.1 504")
        status = msgspec.json.decode(answer.partition(b"\r\n\r\n")[2])
        assert (status["reason"], status["code"]) == ("Timeout", 504)
        assert status["message"] == "Timeout: request did not complete within the allotted timeout"
        drop([(reader, writer)])


async def test_a_request_may_shorten_its_own_deadline_and_must_write_it_as_a_duration(
    home: Home, server: Server
) -> None:
    head = "HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    for timeout, code in (("300ms", b"504"), ("soon", b"400")):
        reader, writer = await dial(home)
        writer.write(f"POST {MAPS}?timeout={timeout} {head}".encode())
        answer = await asyncio.wait_for(reader.read(65536), 10)
        assert answer.split()[1] == code
        drop([(reader, writer)])


def filling(number: int) -> dict[str, Any]:
    return {"metadata": {"name": "big"}, "data": {"a": str(number) + "x" * 50_000}}


async def test_watchers_that_do_not_read_are_cut_off_and_delay_nobody(
    home: Home, kube: Kube, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "STALLED", 1.0)
    monkeypatch.setattr(store, "QUEUE_BYTES", 1_000_000)
    slow = [await dial(home, window=8192) for _ in range(20)]
    for _, writer in slow:
        writer.write(f"GET {MAPS}?watch=true HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await until(lambda: len(server._watches) == 20)
    lines = kube.lines(MAPS, {"watch": "true"})
    await kube.call("POST", MAPS, body=filling(0))
    assert b"ADDED" in await anext(lines)
    queued = 0
    for number in range(1, 300):
        await kube.call("PUT", f"{MAPS}/big", body=filling(number))
        event = msgspec.json.decode(await asyncio.wait_for(anext(lines), 10))
        assert event["object"]["data"]["a"].startswith(f"{number}x")
        known = server.cluster.store._subscriptions["/configmaps"]
        queued = max(queued, *(sum(len(change.row.raw) for change in one._queue) for one in known))
    assert queued < 1_200_000  # 300 changes are 15 MB
    await until(lambda: len(server._watches) == 1)
    drop(slow)
    await lines.aclose()  # type: ignore[attr-defined]  # an async generator, typed as an iterator
