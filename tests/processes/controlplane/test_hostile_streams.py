"""Clients of the discovery service that mean harm, or are broken: none of them disturbs another proxy."""

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from tests.processes.controlplane.clients import FakeProxy, proxies
from tests.processes.controlplane.meshes import ControlPlane, cluster, endpoints, listener, routes
from tests.support.proto import discovery_pb2

from weft.adapters.grpc_server import Peer
from weft.pki.identity import SpiffeId
from weft.processes.controlplane import connection
from weft.processes.controlplane.discovery import SERVICE
from weft.processes.controlplane.doorkeeper import Doorkeeper, Limits, Rate
from weft.processes.controlplane.identities import Caller
from weft.xds.resource import CLUSTER, ENDPOINT, ROUTE

BASE = (cluster("one"), endpoints("one", 1), listener(15001))
LIMITS = Limits(streams=20, messages=Rate(100, 50))


class Guarded(ControlPlane):
    """A discovery service with a doorkeeper; its callers are pods of shop, named by the token they bear."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        super().__init__("127.0.0.1:0")
        self.reviews = 0
        self.door = self.discovery._door = Doorkeeper(limits, time.monotonic)
        self.discovery._identify = self.door.guarded(self.identify)

    async def identify(self, peer: Peer) -> Caller | None:
        self.reviews += 1
        return Caller(SpiffeId("cluster.local", "shop", "web"), peer.bearer) if peer.bearer else None


@pytest.fixture
async def plane() -> AsyncIterator[Guarded]:
    made = Guarded()
    async with made.serving():
        made.set(*BASE, routes("one"))
        yield made


def address(plane: ControlPlane) -> str:
    return f"127.0.0.1:{plane.port}"


async def follows(plane: ControlPlane, proxy: FakeProxy, changes: int = 5) -> float:
    """The longest that a well-behaved proxy waits for a change, of some."""
    waits = []
    for number in range(changes):
        changed = routes("one", header=f"{number}-{time.monotonic()}")
        began = time.monotonic()
        plane.set(*BASE, changed)
        await proxy.until(ROUTE, "80", changed.version)
        waits.append(time.monotonic() - began)
    return max(waits)


async def storm(proxy: FakeProxy, words: str) -> None:
    """Reject every response, and ask for everything again at once, for ever."""
    await proxy.call.write(proxy.request(ROUTE))
    while (raw := await proxy.call.read()) is not grpc.aio.EOF:
        response = discovery_pb2.DeltaDiscoveryResponse.FromString(raw)
        answer = discovery_pb2.DeltaDiscoveryRequest(type_url=ROUTE, response_nonce=response.nonce)
        answer.error_detail.message = words
        await proxy.call.write(answer.SerializeToString())
        # what was rejected is not sent again by itself
        again = discovery_pb2.DeltaDiscoveryRequest(type_url=ROUTE, resource_names_subscribe=["80"])
        await proxy.call.write(again.SerializeToString())


async def test_a_storm_of_rejections_is_slowed_down_and_disturbs_nobody(
    plane: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    words = "no\nERROR weft.ads forged entry " + "x" * 100_000
    async with (
        proxies(address(plane), [f"bad-{number}.shop" for number in range(5)], run=False) as bad,
        proxies(address(plane), ["good.shop"]) as (good,),
    ):
        storms = [asyncio.create_task(storm(each, words)) for each in bad]
        await good.until(ROUTE, "80", routes("one").version)
        began = time.monotonic()
        await asyncio.sleep(2)
        assert await follows(plane, good) < 2.0
        seconds = time.monotonic() - began
        rejects = plane.metrics.rejects["rds"]
        # a burst of 5 each, then some 2 a second each
        assert 5 * 4 <= rejects < 5 * (6 + 2.5 * seconds)
        held = max(len(text) for one in plane.discovery.connections for text in errors(one))
        assert held <= 8 * 1024
        for task in storms:
            task.cancel()
        await asyncio.gather(*storms, return_exceptions=True)
    said = [line for line in caplog.messages if "rejects" in line]
    assert said
    assert max(map(len, said)) < 1000
    assert not any("\n" in line for line in said)


def errors(one: connection.Connection) -> list[str]:
    return [text for status in one.status().values() for text in status.held.values()] or [""]


async def test_who_opens_streams_and_reads_nothing_is_left_waiting_alone(plane: Guarded) -> None:
    big = [cluster(f"big-{number}-{'x' * 900}") for number in range(2000)]
    plane.set(*BASE, routes("one"), *big)
    async with proxies(address(plane), ["good.shop"]) as (good,):
        await good.until(ROUTE, "80", routes("one").version)
        async with grpc.aio.insecure_channel(address(plane)) as channel:
            method: Any = channel.stream_stream(f"/{SERVICE}/DeltaAggregatedResources")
            calls = [method() for _ in range(15)]
            for number, call in enumerate(calls):
                await call.write(FakeProxy(call, f"deaf-{number}.shop", {}).request(CLUSTER))
            await plane.connected(16)
            assert await follows(plane, good) < 2.0
            # one response of each waits, whatever else has changed meanwhile
            assert max(len(one._outbox) for one in plane.discovery.connections) <= 1
            for call in calls:
                call.cancel()


async def test_one_caller_has_so_many_streams_and_no_more_and_others_theirs(plane: Guarded) -> None:
    async with grpc.aio.insecure_channel(
        address(plane), options=[("grpc.max_concurrent_streams", 1000)]
    ) as channel:
        method: Any = channel.stream_stream(f"/{SERVICE}/DeltaAggregatedResources")
        greedy = [method(metadata=[("authorization", "Bearer greedy")]) for _ in range(100)]
        written = []
        for call in greedy:
            # it may be refused already: the client calls that an error of its own then (INTERNAL)
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await call.write(FakeProxy(call, "greedy.shop", {}).request(CLUSTER))
                written.append(call)
        await plane.connected(LIMITS.streams)
        refused_calls = [call for call in greedy if not await opened(call)]
        assert len(refused_calls) == 100 - LIMITS.streams
        codes = {await asyncio.wait_for(call.code(), 10) for call in refused_calls if call in written}
        assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert len(plane.discovery.connections) == LIMITS.streams
        async with proxies(address(plane), ["other.shop"], token="other") as (other,):
            await other.until(ROUTE, "80", routes("one").version)
        for call in greedy:
            call.cancel()
    await plane.connected(0)
    async with proxies(address(plane), ["greedy.shop"], token="greedy") as (again,):
        await again.until(ROUTE, "80", routes("one").version)


async def opened(call: Any) -> bool:
    """Whether the call is answered, and not ended."""
    try:
        return (await asyncio.wait_for(call.read(), 10)) is not grpc.aio.EOF
    except grpc.aio.AioRpcError:
        return False


async def test_who_calls_all_the_time_is_refused_before_anything_is_done_for_it() -> None:
    plane = Guarded(Limits(calls=Rate(10, 5), patience=0.2))
    async with plane.serving(), grpc.aio.insecure_channel(address(plane)) as channel:
        plane.set(*BASE, routes("one"))
        method: Any = channel.stream_stream(f"/{SERVICE}/DeltaAggregatedResources")
        calls = [method(metadata=[("authorization", "Bearer x")]) for _ in range(60)]
        codes = await asyncio.gather(*(refused(call) for call in calls))
        assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) >= 40
        assert plane.reviews <= 20
        for call in calls:
            call.cancel()


async def refused(call: Any) -> grpc.StatusCode | None:
    try:
        code: grpc.StatusCode = await asyncio.wait_for(call.code(), 1)
    except TimeoutError:
        return None
    return code


async def test_a_stream_that_says_nothing_is_ended() -> None:
    plane = Guarded(Limits(first=0.5))
    async with plane.serving(), proxies(address(plane), ["mute.shop"], run=False) as (mute,):
        assert await asyncio.wait_for(mute.call.code(), 10) is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_message_beyond_all_measure_ends_the_call(plane: Guarded) -> None:
    async with proxies(address(plane), ["big.shop"], run=False) as (big,):
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTER)
        request.node.id = "sidecar~10.0.0.1~big.shop~shop.svc.cluster.local"
        request.node.metadata.update({"LABELS": {"app": "x" * (5 << 20)}})
        await big.call.write(request.SerializeToString())
        assert await asyncio.wait_for(big.call.code(), 10) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert plane.discovery.connections == set()


@pytest.mark.parametrize(
    "requests",
    [
        [discovery_pb2.DeltaDiscoveryRequest(type_url=f"example.com/{number}") for number in range(40)],
        [discovery_pb2.DeltaDiscoveryRequest(type_url=ENDPOINT, resource_names_subscribe=["x" * 2000])],
        [
            discovery_pb2.DeltaDiscoveryRequest(
                type_url=ENDPOINT, resource_names_subscribe=[f"{each}-{number}" for number in range(20_000)]
            )
            for each in range(3)
        ],
    ],
    ids=["types", "long-names", "names"],
)
async def test_who_asks_for_more_than_the_memory_should_hold_is_disconnected(
    plane: Guarded, requests: list[Any]
) -> None:
    async with (
        proxies(address(plane), ["good.shop"]) as (good,),
        proxies(address(plane), ["greedy.shop"], run=False) as (greedy,),
    ):
        await good.until(ROUTE, "80", routes("one").version)
        await greedy.call.write(greedy.request(CLUSTER))
        await plane.connected(2)
        # it may be over before all are written
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            for request in requests:
                await greedy.call.write(request.SerializeToString())
        await plane.connected(1)
        assert await follows(plane, good, changes=1) < 2.0
    gc.collect()


async def test_thousands_of_names_are_served_where_they_are_asked_for_honestly(plane: Guarded) -> None:
    async with proxies(address(plane), ["big.shop"], run=False) as (big,):
        await big.call.write(big.request(CLUSTER))
        names = ["one", *(f"gone-{number}" for number in range(10_000))]
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=ENDPOINT, resource_names_subscribe=names)
        await big.call.write(request.SerializeToString())
        served = set[str]()
        async with asyncio.timeout(20):
            while len(served) < len(names):
                response = discovery_pb2.DeltaDiscoveryResponse.FromString(await big.call.read())
                if response.type_url == ENDPOINT:
                    served |= {one.name for one in response.resources}
        assert served == set(names)
