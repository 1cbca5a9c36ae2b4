"""healthCheckNodePort, asked over real sockets."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
from tests.support.ports import free_port

from weft.cluster.network import health_checks
from weft.cluster.network.directory import Directory, Picture, picture
from weft.cluster.network.objects import Service, Slice


def balancer(port: int, **spec: Any) -> Service:
    wanted = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": port} | spec
    return msgspec.convert({"metadata": {"name": "web", "namespace": "net"}, "spec": wanted}, Service)


def endpoints(**nodes: bool) -> Slice:
    labels = {"kubernetes.io/service-name": "web"}
    entries = [
        {"addresses": [f"10.244.{number}.9"], "nodeName": node, "conditions": {"ready": ready}}
        for number, (node, ready) in enumerate(nodes.items())
    ]
    metadata = {"name": "web-1", "namespace": "net", "labels": labels}
    return msgspec.convert({"metadata": metadata, "endpoints": entries}, Slice)


def show(directory: Directory, state: Picture) -> None:
    directory.picture, directory.complete = state, True
    for listener in directory._listeners:
        listener()


@contextlib.asynccontextmanager
async def running(directory: Directory) -> AsyncIterator[None]:
    task = asyncio.create_task(health_checks.run(directory, "127.0.0.1", "one"))
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def ask(port: int, path: str = "/healthz") -> tuple[int, str, Any]:
    async with aiohttp.ClientSession() as session, asyncio.timeout(10):
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{port}{path}") as reply:
                    weight = reply.headers.get("X-Load-Balancing-Endpoint-Weight", "")
                    return reply.status, weight, json.loads(await reply.text())
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.02)


async def gone(port: int) -> bool:
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:
                return True
            writer.close()
            await asyncio.sleep(0.02)


async def test_a_node_says_how_many_ready_endpoints_it_has() -> None:
    port, directory = free_port(), Directory()
    async with running(directory):
        show(directory, picture([balancer(port)], [endpoints(one=True, two=True)]))
        service = {"namespace": "net", "name": "web"}
        told = {"service": service, "localEndpoints": 1, "serviceProxyHealthy": True}
        assert await ask(port) == (200, "1", told)
        assert (await ask(port, "/"))[0] == 200

        for other in ({"two": True}, {"one": False, "two": True}, {}):
            show(directory, picture([balancer(port)], [endpoints(**other)]))
            assert await ask(port) == (503, "0", told | {"localEndpoints": 0})


async def test_the_port_comes_and_goes_with_the_policy() -> None:
    first, second, directory = free_port(), free_port(), Directory()
    async with running(directory):
        show(directory, picture([balancer(first)], [endpoints(one=True)]))
        assert (await ask(first))[0] == 200
        show(directory, picture([balancer(second)], [endpoints(one=True)]))
        assert (await ask(second))[0] == 200
        assert await gone(first)
        show(directory, picture([balancer(second, externalTrafficPolicy="Cluster")], []))
        assert await gone(second)


async def test_a_port_that_is_taken_hinders_no_other() -> None:
    port, directory = free_port(), Directory()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        other = msgspec.structs.replace(
            balancer(taken.getsockname()[1]),
            metadata=msgspec.convert({"name": "a", "namespace": "net"}, type(balancer(1).metadata)),
        )
        async with running(directory):
            show(directory, picture([other, balancer(port)], [endpoints(one=True)]))
            assert (await ask(port))[0] == 200
