"""Thousands of connections to istiod that say nothing, or half of it: others are served, and all are let go."""

import asyncio
import contextlib
import resource
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from tests.processes.controlplane.clients import proxies
from tests.processes.controlplane.cluster import Cluster
from tests.processes.controlplane.test_istiod import (
    Istiod,
    create_certificate,
    namespace,
    rooted,
    running,
    text_of,
    tls,
)

from weft.adapters.keys import new_key
from weft.pki import request
from weft.xds.resource import CLUSTER

IDLE, HALF, AGREED = 1000, 100, 50
HELLO = b"\x16\x03\x01\x02\x00\x01\x00"
"""The beginning of a ClientHello of 512 bytes."""


@contextlib.asynccontextmanager
async def many(count: int, port: int, begin: bytes, context: ssl.SSLContext | None = None) -> AsyncIterator[None]:
    """Connections that have said `begin`, over TLS where there is a context, and say no more."""
    name = "istiod.istio-system.svc" if context else None
    opened: list[asyncio.StreamWriter] = []
    try:
        for start in range(0, count, 50):
            batch = range(start, min(start + 50, count))
            dials = (asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name) for _ in batch)
            opened += [writer for _, writer in await asyncio.gather(*dials)]
        for writer in opened:
            writer.write(begin)
        yield
    finally:
        for writer in opened:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in opened), return_exceptions=True)


def files(istiod: Istiod) -> int:
    return len(list(Path(f"/proc/{istiod.process.pid}/fd").iterdir()))


async def until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_thousands_of_silent_connections_keep_nobody_out_and_are_let_go(tmp_path: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    cluster = Cluster()
    for name in ("istio-system", "shop"):
        cluster.put(namespace(name))
    cluster.tokens["good"] = "system:serviceaccount:shop:web"
    async with (
        cluster.serving(),
        running(cluster.kubeconfig(tmp_path / "kubeconfig"), tmp_path) as istiod,
        contextlib.AsyncExitStack() as stack,
    ):
        root = await rooted(cluster)
        context = ssl.create_default_context(cadata=root)
        context.set_alpn_protocols(["h2"])
        secure, webhooks = istiod.ports["secureGRPCAddr"], istiod.ports["httpsAddr"]
        before, memory = files(istiod), istiod.memory()
        for port in (secure, webhooks):
            await stack.enter_async_context(many(IDLE, port, b""))
            await stack.enter_async_context(many(HALF, port, HELLO))
        # TLS is agreed on, HTTP/2 never begins
        await stack.enter_async_context(many(AGREED, secure, b"PRI * HTTP", context))
        await until(lambda: files(istiod) > before + 2 * (IDLE + HALF), 20)
        assert istiod.memory() < memory + 200

        began = time.monotonic()
        connecting = proxies(f"127.0.0.1:{secure}", ["v1.shop"], token="good", **tls(root))
        async with connecting as (proxy,):
            async with asyncio.timeout(10), proxy.got:
                await proxy.got.wait_for(lambda: CLUSTER in proxy.has)
            await create_certificate(istiod, root, "good", request.sign(new_key()))
            assert "pilot_xds{" in await text_of(istiod.url("monitoringAddr", "/metrics"))
            assert time.monotonic() - began < 10
            # all are let go, but for the one that has something to say
            await until(lambda: files(istiod) < before + 20, 60)
            assert "disconnected" not in istiod.log.read_text()
