"""The discovery service over real gRPC: who gets what, who is let in, and how one's trouble stays its own."""

import asyncio
import logging
import time
from typing import Any

import grpc
import pytest
from tests.processes.controlplane.clients import proxies
from tests.processes.controlplane.meshes import ControlPlane, cluster, endpoints, listener, mesh, routes

from weft.adapters.grpc_server import Peer
from weft.pki.identity import SpiffeId
from weft.processes.controlplane import syncz
from weft.processes.controlplane.connection import Client
from weft.processes.controlplane.discovery import SERVICE
from weft.processes.controlplane.identities import Caller
from weft.xds.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resources

BASE = (cluster("one"), endpoints("one", 1), listener(15001))


class ByNamespace(ControlPlane):
    """Gives routes by the proxy's namespace, and fails for the namespace `broken`."""

    targets: dict[str, str]

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.targets = {}

    def retarget(self, **targets: str) -> None:
        self.targets |= targets
        self.set(*BASE)

    def configure(self, snapshot: Resources, client: Client) -> Resources:
        namespace = client.name.partition(".")[2]
        if namespace == "broken":
            raise ZeroDivisionError("a bug in a builder")
        return mesh(*BASE, routes("one", header=self.targets.get(namespace, "")))


async def test_only_proxies_whose_view_changed_get_anything() -> None:
    plane = ByNamespace("127.0.0.1:0")
    async with plane.serving():
        plane.retarget(a="1", b="1")
        async with proxies(f"127.0.0.1:{plane.port}", ["x.a", "y.a", "z.b"]) as (x, y, z):
            await plane.connected(3)
            await plane.settled()
            before = z.messages
            plane.retarget(a="2")
            version = routes("one", header="2").version
            for proxy in (x, y):
                await proxy.until(ROUTE, "80", version)
            await plane.settled()
            assert z.messages == before
            assert z.has[ROUTE] == {"80": routes("one", header="1").version}


async def test_a_failing_build_for_one_proxy_leaves_the_others_unharmed(caplog: pytest.LogCaptureFixture) -> None:
    plane = ByNamespace("127.0.0.1:0")
    async with plane.serving():
        plane.retarget(a="1")
        async with proxies(f"127.0.0.1:{plane.port}", ["w.broken", "x.a"]) as (_, x):
            await x.until(ROUTE, "80", routes("one", header="1").version)
            plane.retarget(a="2")
            await x.until(ROUTE, "80", routes("one", header="2").version)
    assert plane.metrics.errors["proxy"] >= 1
    assert "w.broken: the configuration failed to build" in caplog.text


async def test_nobody_is_answered_before_the_first_snapshot() -> None:
    plane = ControlPlane("127.0.0.1:0")
    async with plane.serving(), proxies(f"127.0.0.1:{plane.port}", ["x.a"]) as (x,):
        await plane.connected()
        await asyncio.sleep(0.2)
        assert x.messages == 0
        plane.set(*BASE, routes("one"))
        await x.until(CLUSTER, "one", BASE[0].version)


async def test_changes_in_quick_succession_are_merged() -> None:
    plane = ControlPlane("127.0.0.1:0")
    async with plane.serving():
        plane.set(*BASE, routes("one"))
        async with proxies(f"127.0.0.1:{plane.port}", ["x.a"]) as (x,):
            await plane.connected()
            await x.until(ROUTE, "80", routes("one").version)
            before = x.messages
            for number in range(100):
                plane.set(*BASE, routes("one", header=str(number)))
                await asyncio.sleep(0)
            await x.until(ROUTE, "80", routes("one", header="99").version)
            assert x.messages - before <= 10


async def test_a_change_reaches_twenty_proxies_within_50_ms() -> None:
    plane = ControlPlane("127.0.0.1:0")
    async with plane.serving():
        plane.set(*BASE, routes("one"))
        async with proxies(f"127.0.0.1:{plane.port}", [f"p{number}.a" for number in range(20)]) as them:
            await plane.connected(20)
            await plane.settled()
            times = []
            for number in range(10):
                await asyncio.sleep(0.02)
                changed = routes("one", header=f"v{number}")
                began = time.perf_counter()
                plane.set(*BASE, changed)
                await asyncio.gather(*(one.until(ROUTE, "80", changed.version) for one in them))
                times.append(time.perf_counter() - began)
    assert sorted(times)[2] < 0.05, [f"{one * 1000:.1f} ms" for one in times]


class Authenticating(ControlPlane):
    """Takes all callers for the account of shop/web, with a token of the pod `pod` if that is set."""

    pod = ""

    async def identify(self, peer: Peer) -> Caller | None:
        return Caller(SpiffeId("cluster.local", "shop", "web"), self.pod)


@pytest.mark.parametrize("metadata", [{"NAMESPACE": "shop", "SERVICE_ACCOUNT": "web"}, {}])
async def test_a_proxy_that_is_what_its_token_says_is_served(metadata: dict[str, str]) -> None:
    plane = Authenticating("127.0.0.1:0")
    async with plane.serving():
        plane.set(*BASE, routes("one"))
        async with proxies(f"127.0.0.1:{plane.port}", ["web.shop"], metadata=metadata) as (proxy,):
            await proxy.until(CLUSTER, "one", BASE[0].version)


@pytest.mark.parametrize(
    ("name", "metadata"),
    [
        ("web.bank", {"NAMESPACE": "shop"}),
        ("web.shop", {"NAMESPACE": "bank"}),
        ("web.shop", {"NAMESPACE": "shop", "SERVICE_ACCOUNT": "root"}),
    ],
)
async def test_a_proxy_may_only_claim_what_its_token_says(name: str, metadata: dict[str, str]) -> None:
    plane = Authenticating("127.0.0.1:0")
    async with plane.serving():
        plane.set(*BASE, routes("one"))
        address = f"127.0.0.1:{plane.port}"
        async with proxies(address, [name], metadata=metadata, run=False) as (proxy,):
            await proxy.call.write(proxy.request(CLUSTER))
            assert await asyncio.wait_for(proxy.call.code(), 5) is grpc.StatusCode.PERMISSION_DENIED
            assert "its token says spiffe://cluster.local/ns/shop/sa/web" in await proxy.call.details()


async def test_a_pods_token_introduces_that_pod_and_no_neighbour_of_the_same_account() -> None:
    plane = Authenticating("127.0.0.1:0")
    plane.pod = "web-1"
    async with plane.serving():
        plane.set(*BASE, routes("one"))
        address = f"127.0.0.1:{plane.port}"
        async with proxies(address, ["web-1.shop"]) as (proxy,):
            await proxy.until(CLUSTER, "one", BASE[0].version)
        async with proxies(address, ["web-2.shop"], run=False) as (proxy,):
            await proxy.call.write(proxy.request(CLUSTER))
            assert await asyncio.wait_for(proxy.call.code(), 5) is grpc.StatusCode.PERMISSION_DENIED
            assert "its token is that of the pod web-1" in await proxy.call.details()


@pytest.mark.parametrize("name", ["a\nERROR forged line.shop", "x" * 1100 + ".shop"])
async def test_a_node_id_that_would_spoil_the_log_is_refused(name: str, caplog: pytest.LogCaptureFixture) -> None:
    plane = Authenticating("127.0.0.1:0")
    async with plane.serving(), proxies(f"127.0.0.1:{plane.port}", [name], run=False) as (proxy,):
        await proxy.call.write(proxy.request(CLUSTER))
        assert await asyncio.wait_for(proxy.call.code(), 5) is grpc.StatusCode.INVALID_ARGUMENT
    assert name not in caplog.text


async def test_bytes_that_are_no_request_end_the_call(caplog: pytest.LogCaptureFixture) -> None:
    plane = ControlPlane("127.0.0.1:0")
    async with plane.serving(), grpc.aio.insecure_channel(f"127.0.0.1:{plane.port}") as channel:
        call: Any = channel.stream_stream(f"/{SERVICE}/DeltaAggregatedResources")()
        await call.write(b"\xff\xff")
        assert await asyncio.wait_for(call.code(), 5) is grpc.StatusCode.INVALID_ARGUMENT


async def test_syncz_and_the_metrics_tell_what_was_confirmed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    plane = ControlPlane("127.0.0.1:0")
    async with plane.serving():
        plane.set(*BASE, routes("one"))
        async with proxies(f"127.0.0.1:{plane.port}", ["x.a"], metadata={"ISTIO_VERSION": "0.1.0"}) as (x,):
            await plane.connected()
            await x.until(ROUTE, "80", routes("one").version)
            await plane.settled()
            (entry,) = syncz.syncz(plane.discovery.connections, istiod="istiod-1")
            assert (entry["proxy"], entry["istiod"], entry["istio_version"]) == ("x.a", "istiod-1", "0.1.0")
            for kind in ("cluster", "listener", "endpoint", "route"):
                assert entry[f"{kind}_sent"] == entry[f"{kind}_acked"] != ""
            assert entry["extensionconfig_sent"] == ""
            assert entry["versions"]["route"] == {"80": routes("one").version}
            plane.set(*BASE, routes("one", header="2"))
            await x.until(ROUTE, "80", routes("one", header="2").version)
            await plane.settled()
            resources = plane.discovery.resources_of("x.a")
            assert resources is not None
            dumped = syncz.config_dump(resources)["configs"]
            assert {one["name"] for one in dumped if one["type_url"] == LISTENER} == {"out"}
            assert all("resource" in one for one in dumped)
            assert plane.discovery.resources_of("nobody.a") is None
    text = plane.metrics.text(proxies=1, problems=0, version="0.1.0")
    assert 'pilot_xds_pushes{type="rds"} 2' in text
    assert "pilot_proxy_convergence_time_count 1" in text
    assert sum("connected from" in one for one in caplog.messages) == 1
    assert ENDPOINT in resources
