"""Clients of exec and port-forward that break every frame or vanish: the stream ends at both ends, and no more."""

import asyncio
import base64
import contextlib
import os
import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from tests.cluster.apiserver.processes import until
from tests.cluster.apiserver.small_kubelet import kubelet_connection
from tests.cluster.apiserver.test_bad_connections import open_files
from tests.cluster.apiserver.test_streams import Cluster, application, listening

from weft.cluster.apiserver.spdy_dictionary import DICTIONARY

EXEC = "/api/v1/namespaces/default/pods/p/exec?command=sleep&command=7777&stdin=true&stdout=true"
FORWARD = "/api/v1/namespaces/default/pods/p/portforward"
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
CHANNELS, TUNNEL = "v5.channel.k8s.io", "SPDY/3.1+portforward.k8s.io"


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """The relay before a small kubelet; afterwards nothing of any stream is left."""
    async with listening(kubelet_connection) as kubelet:
        runner = web.AppRunner(application(f"http://127.0.0.1:{kubelet}"), shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        files, tasks = open_files(), len(asyncio.all_tasks())
        yield Cluster(f"http://127.0.0.1:{runner.addresses[0][1]}", tmp_path)
        await until(lambda: open_files() <= files and len(asyncio.all_tasks()) <= tasks)
        await runner.cleanup()


async def upgrade(cluster: Cluster, path: str, *headers: str) -> Ends:
    port = int(cluster.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    method = "POST" if any("SPDY/3.1" in line and line.startswith("Upgrade") for line in headers) else "GET"
    writer.write(
        "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", "Connection: Upgrade", *headers, "", ""]).encode()
    )
    return reader, writer


async def socket(
    cluster: Cluster, path: str, subprotocol: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    key = base64.b64encode(os.urandom(16)).decode()
    reader, writer = await upgrade(
        cluster,
        path,
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        f"Sec-WebSocket-Protocol: {subprotocol}",
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def spdy(cluster: Cluster, path: str) -> Ends:
    protocol = "v4.channel.k8s.io" if "exec" in path else "portforward.k8s.io"
    reader, writer = await upgrade(cluster, path, "Upgrade: SPDY/3.1", f"X-Stream-Protocol-Version: {protocol}")
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


def frame(opcode: int, payload: bytes, *, final: bool = True, reserved: int = 0) -> bytes:
    first = bytes([(0x80 if final else 0) | reserved | opcode])
    mask = b"\1\2\3\4"
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size)
    length = bytes([length[0] | 0x80]) + length[1:]
    body = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return first + length + mask + body


async def ends(reader: asyncio.StreamReader) -> None:
    """The server closes the connection, in whatever words."""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(10):
            while await reader.read(65536):
                pass


FRAMES = {
    "an unknown opcode": frame(0x5, b"x"),
    "a reserved bit": frame(0x2, b"\0x", reserved=0x40),
    "a frame beyond all memory": b"\x82\xff" + struct.pack(">Q", 2**62) + b"\1\2\3\4" + b"x" * 1000,
    "a frame beyond what is taken": b"\x82\xff" + struct.pack(">Q", 2**30) + b"\1\2\3\4" + b"x" * 1000,
    "a negative length": b"\x82\xff" + b"\xff" * 8 + b"\1\2\3\4",
    "a continuation of nothing": frame(0x0, b"x"),
    "a message in a message": frame(0x2, b"\0x", final=False) + frame(0x2, b"\0x"),
    "a long ping": frame(0x9, b"x" * 200),
    "a ping in pieces": frame(0x9, b"x", final=False),
    "text that is none": frame(0x1, b"\xff\xfe"),
    "a close of one byte": frame(0x8, b"x"),
    "a close with no such code": frame(0x8, struct.pack(">H", 5)),
    "a close whose words are none": frame(0x8, struct.pack(">H", 1000) + b"\xff"),
    "a proper close": frame(0x8, struct.pack(">H", 1000)),
}


@pytest.mark.parametrize("name", list(FRAMES))
@pytest.mark.parametrize(("path", "subprotocol"), [(EXEC, CHANNELS), (FORWARD, TUNNEL)])
async def test_a_frame_of_websocket_that_is_none_ends_the_stream(
    cluster: Cluster, name: str, path: str, subprotocol: str
) -> None:
    reader, writer = await socket(cluster, path, subprotocol)
    writer.write(FRAMES[name])
    await ends(reader)
    writer.transport.abort()


def control(kind: int, body: bytes, *, version: int = 3, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return struct.pack(">HHI", 0x8000 | version, kind, size) + body


def opening(stream: int, block: bytes) -> bytes:
    return control(1, struct.pack(">IIH", stream, 0, 0) + block)


def packed(text: bytes) -> bytes:
    deflate = zlib.compressobj(zdict=DICTIONARY)
    return deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH)


SPDY = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "another version": control(6, struct.pack(">I", 1), version=2),
    "a frame beyond what is taken": control(1, b"", length=0xFFFFFF),
    "data beyond what is taken": struct.pack(">II", 1, 0xFFFFFF),
    "headers that do not unpack": opening(1, b"\xff" * 100),
    "headers that unpack to a bomb": opening(1, packed(b"\0" * 10_000_000)),
    "more headers than there are": opening(1, packed(b"\xff\xff\xff\xff")),
    "a header longer than its block": opening(1, packed(struct.pack(">II", 1, 2**31))),
    "a stream of the other side's": opening(2, packed(struct.pack(">I", 0))),
    "a stream twice": opening(1, packed(struct.pack(">I", 0))) * 2,
    "a frame that is too short": control(3, b"\0\0"),
}


@pytest.mark.parametrize("name", list(SPDY))
@pytest.mark.parametrize("tunnelled", [False, True])
async def test_frames_of_spdy_that_are_none_end_the_stream(cluster: Cluster, name: str, tunnelled: bool) -> None:  # noqa: FBT001 - pytest names it
    if tunnelled:
        reader, writer = await socket(cluster, FORWARD, TUNNEL)
        text = SPDY[name]
        for at in range(0, len(text), 60_000):
            writer.write(frame(0x2, text[at : at + 60_000]))
    else:
        reader, writer = await spdy(cluster, EXEC)
        writer.write(SPDY[name])
    await ends(reader)
    writer.transport.abort()


async def test_a_flood_of_streams_ends_the_connection_and_not_the_server(cluster: Cluster) -> None:
    reader, writer = await spdy(cluster, FORWARD)
    deflate = zlib.compressobj(zdict=DICTIONARY)
    for stream in range(1, 20_001, 2):
        block = deflate.compress(struct.pack(">I", 0)) + deflate.flush(zlib.Z_SYNC_FLUSH)
        writer.write(opening(stream, block))
    await ends(reader)
    writer.transport.abort()


async def test_frames_about_streams_that_are_not_there_are_passed_over(cluster: Cluster) -> None:
    reader, writer = await spdy(cluster, FORWARD)
    reset, unknown = control(3, struct.pack(">II", 99, 5)), control(77, b"anything")
    data = struct.pack(">II", 99, 5) + b"hello"
    writer.write((reset + unknown + data) * 1000 + control(6, struct.pack(">I", 1)))
    async with asyncio.timeout(10):
        assert await reader.readexactly(12) == control(6, struct.pack(">I", 1))
    writer.transport.abort()


@pytest.mark.parametrize("goodbye", ["abort", "close"])
async def test_a_client_that_vanishes_leaves_nothing_at_the_kubelet(cluster: Cluster, goodbye: str) -> None:
    for path, subprotocol in ((EXEC, CHANNELS), (FORWARD, TUNNEL)):
        _, writer = await socket(cluster, path, subprotocol)
        getattr(writer.transport, goodbye)()
    _, writer = await spdy(cluster, FORWARD)
    getattr(writer.transport, goodbye)()


@pytest.mark.parametrize(
    "headers",
    [
        ("Upgrade: websocket",),
        ("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: x"),
        ("Upgrade: websocket", "Sec-WebSocket-Protocol: v9.channel.k8s.io"),
        ("Upgrade: websocket", f"Sec-WebSocket-Protocol: {CHANNELS}", "Sec-WebSocket-Version: 99"),
        ("Upgrade: websocket", f"Sec-WebSocket-Protocol: {CHANNELS}", "Sec-WebSocket-Version: 13"),
        ("Upgrade: h2c",),
        (),
    ],
)
async def test_an_upgrade_that_is_none_is_a_bad_request(cluster: Cluster, headers: tuple[str, ...]) -> None:
    reader, writer = await upgrade(cluster, EXEC, *headers)
    async with asyncio.timeout(10):
        assert (await reader.readuntil(b"\r\n")).split()[1] == b"400"
    writer.transport.abort()
