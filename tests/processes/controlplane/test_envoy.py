"""The discovery service against the real Envoy: it starts, follows changes, and survives what it rejects."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from tests.processes.controlplane.meshes import (
    ControlPlane,
    asking_envoy,
    bad_cluster,
    bad_routes,
    cluster,
    endpoints,
    free_port,
    listener,
    routes,
)
from tests.support.envoy import Running, scratch

from weft.xds.resource import CLUSTER, ROUTE


class Backends:
    """Two HTTP servers that answer with their name."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}
        self.runners: list[web.AppRunner] = []

    async def start(self, name: str) -> None:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(text=name)

        app = web.Application()
        app.router.add_get("/", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        self.ports[name] = free_port()
        await web.TCPSite(runner, "127.0.0.1", self.ports[name]).start()
        self.runners.append(runner)


@pytest.fixture
async def backends() -> AsyncIterator[Backends]:
    them = Backends()
    for name in ("one", "two"):
        await them.start(name)
    yield them
    for runner in them.runners:
        await runner.cleanup()


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch() as path:
        yield path


@pytest.fixture(params=["DELTA_GRPC", "GRPC"])
def kind(request: pytest.FixtureRequest) -> str:
    """Both kinds of xDS: delta, and state of the world."""
    return str(request.param)


async def ready(envoy: Running) -> None:
    await asyncio.to_thread(envoy.wait_ready)


async def ask(port: int) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/") as answer:
        return answer.status, await answer.text()


class Traffic:
    """Requests one after the other until told to stop; what went wrong is kept."""

    def __init__(self, port: int) -> None:
        self.port, self.failures, self.count, self.last = port, list[str](), 0, ""
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                async with session.get(f"http://127.0.0.1:{self.port}/") as answer:
                    self.last = await answer.text()
                    self.count += 1
                    if answer.status != 200:
                        self.failures.append(f"{answer.status} {self.last}")
                await asyncio.sleep(0.001)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def test_envoy_starts_and_follows_changes_without_losing_a_request(
    backends: Backends, folder: Path, kind: str
) -> None:
    port = free_port()
    base = [cluster("one"), endpoints("one", backends.ports["one"]), listener(port)]
    plane = ControlPlane(f"unix:{folder}/xds")
    async with plane.serving():
        plane.set(*base, routes("one"))
        with asking_envoy(folder / "xds", kind) as envoy:
            await ready(envoy)
            await plane.settled()
            assert await ask(port) == (200, "one")
            traffic = Traffic(port)
            for target in ("two", "one", "two"):
                # the other cluster replaces the first, with its route
                parts = [
                    cluster(target),
                    endpoints(target, backends.ports[target]),
                    listener(port),
                    routes(target),
                ]
                plane.set(*parts)
                await plane.settled()
                await asyncio.sleep(0.05)
                assert await ask(port) == (200, target)
            # a changed cluster: its endpoints go again, or Envoy would wait for them
            plane.set(cluster("two", "3s"), endpoints("two", backends.ports["two"]), listener(port), routes("two"))
            await plane.settled()
            # endpoints alone
            plane.set(cluster("two", "3s"), endpoints("two", backends.ports["one"]), listener(port), routes("two"))
            await plane.settled()
            assert await ask(port) == (200, "one")
            await traffic.stop()
            assert traffic.count > 50
            assert traffic.failures == []


async def test_a_route_change_is_confirmed_within_20_ms(backends: Backends, folder: Path, kind: str) -> None:
    port = free_port()
    base = [cluster("one"), endpoints("one", backends.ports["one"]), listener(port)]
    plane = ControlPlane(f"unix:{folder}/xds")
    async with plane.serving():
        plane.set(*base, routes("one"))
        with asking_envoy(folder / "xds", kind) as envoy:
            await ready(envoy)
            await plane.settled()
            times = []
            for number in range(20):
                await asyncio.sleep(0.02)
                began = time.perf_counter()
                plane.set(*base, routes("one", header=str(number)))
                await plane.settled()
                times.append(time.perf_counter() - began)
    assert sorted(times)[len(times) // 4] < 0.02, [f"{one * 1000:.1f} ms" for one in times]


async def test_bad_resources_are_held_back_while_others_go_on(backends: Backends, folder: Path, kind: str) -> None:
    port = free_port()
    base = [cluster("one"), endpoints("one", backends.ports["one"]), listener(port)]
    second = [cluster("two"), endpoints("two", backends.ports["two"])]
    plane = ControlPlane(f"unix:{folder}/xds")
    async with plane.serving():
        plane.set(*base, routes("one"))
        with asking_envoy(folder / "xds", kind) as envoy:
            await ready(envoy)
            await plane.settled()
            plane.set(*base, *second, bad_cluster("broken"), bad_cluster("also"), routes("two"))
            await plane.settled()
            assert await ask(port) == (200, "two")
            (connection,) = plane.discovery.connections
            assert set(connection.status()[CLUSTER].held) == {"broken", "also"}
            assert plane.metrics.rejects["cds"] >= 2

            plane.set(*base, *second, bad_routes())
            await plane.settled()
            assert await ask(port) == (200, "two")  # the last good routes
            assert "80" in connection.status()[ROUTE].held
            assert connection.status()[CLUSTER].held == {}

            plane.set(*base, routes("one"))
            await plane.settled()
            assert await ask(port) == (200, "one")
            assert connection.status()[ROUTE].held == {}


async def test_a_restarted_control_plane_disturbs_nobody(backends: Backends, folder: Path, kind: str) -> None:
    port = free_port()
    base = [cluster("one"), endpoints("one", backends.ports["one"]), listener(port), routes("one")]
    plane = ControlPlane(f"unix:{folder}/xds")
    with asking_envoy(folder / "xds", kind) as envoy:
        async with plane.serving():
            plane.set(*base)
            await ready(envoy)
            await plane.settled()
            traffic = Traffic(port)
        again = ControlPlane(f"unix:{folder}/xds")
        async with again.serving():
            # nothing is known yet, so nothing is said, whatever Envoy asks
            await again.connected()
            await asyncio.sleep(0.2)
            assert again.metrics.pushes.total() == 0
            again.set(*base)
            await again.settled()
            (connection,) = again.discovery.connections
            assert connection.status()[CLUSTER].versions == {"one": base[0].version}
            stats = envoy.get("/stats?filter=cluster_manager.cluster_(added|modified|removed)")
            assert "cluster_modified: 0" in stats
            assert "cluster_removed: 0" in stats
            again.set(*base[:3], routes("one", header="after"))
            await again.settled()
            await traffic.stop()
    assert traffic.count > 50
    assert traffic.failures == []
