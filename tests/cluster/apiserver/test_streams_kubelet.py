"""Kubelets that do not do as they should."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp.test_utils import unused_port

from weft.cluster.apiserver.errors import StatusError
from weft.cluster.apiserver.streams_kubelet import KubeletTarget, connect


@asynccontextmanager
async def kubelet(answer: bytes) -> AsyncIterator[KubeletTarget]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield KubeletTarget(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/exec/a/b/c?command=true", None)
    finally:
        server.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\x01\x02",
        b"no http at all\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 200\r\nContent-Length: many\r\n\r\n",
        b"x" * 600_000,
    ],
)
async def test_an_answer_that_is_none_is_an_internal_error_that_names_the_kubelet(answer: bytes) -> None:
    async with kubelet(answer) as target:
        with pytest.raises(StatusError, match=r"127\.0\.0\.1:.* cannot be reached") as caught:
            await connect(target, ["v4.channel.k8s.io"])
        assert caught.value.code == 500


@pytest.mark.parametrize(
    ("answer", "code", "reason", "message"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone", 404, "NotFound", "gone"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\nnot you\n", 403, "Forbidden", "not you"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 9\r\n\r\n", 500, "InternalError", "the kubelet answered 500"),
    ],
)
async def test_a_refusal_keeps_its_code_and_words(answer: bytes, code: int, reason: str, message: str) -> None:
    async with kubelet(answer) as target:
        with pytest.raises(StatusError) as caught:
            await connect(target, ["v4.channel.k8s.io"])
    assert (caught.value.code, caught.value.reason, caught.value.message) == (code, reason, message)


async def test_an_agreement_leaves_what_came_with_it_to_the_reader() -> None:
    async with kubelet(
        b"HTTP/1.1 101 Yes\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\nfirst bytes"
    ) as target:
        connection = await connect(target, ["v4.channel.k8s.io"])
        assert connection.headers["x-stream-protocol-version"] == "v4.channel.k8s.io"
        assert await connection.reader.read() == b"first bytes"
        connection.close()


async def test_nobody_at_the_address_is_an_internal_error() -> None:
    with pytest.raises(StatusError, match="cannot be reached"):
        await connect(KubeletTarget(f"http://127.0.0.1:{unused_port()}/exec", None), [])
