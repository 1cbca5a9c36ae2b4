"""Addresses of what is gone, and pools and endpoints that differ, with a real API server."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from aiohttp.test_utils import make_mocked_request
from tests.processes.underlay import ipam_api as api
from tests.processes.underlay.ipam_node import Node, running

from weft.adapters import clock
from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import NODES, PODS, SPIDERENDPOINTS, SPIDERIPPOOLS, STATEFULSETS
from weft.processes.cni.metrics import Registry
from weft.processes.underlay.ipam_meters import Meters
from weft.processes.underlay.ipam_pools import Pools
from weft.processes.underlay_controller.collecting import Collector, Orders
from weft.underlay.ipam import annotations
from weft.underlay.ipam.collecting import Rules

WISH = {annotations.IPPOOL: '{"ipv4":["pool"]}'}
Json = dict[str, Any]
DELAY, DOUBT = timedelta(seconds=0), timedelta(seconds=0.1)


async def test_addresses_come_back_when_nobody_gives_them_back(tmp_path: Path) -> None:
    async with api.serving(tmp_path, "node-1", "node-2") as kube:
        await api.pool(kube, "pool", "10.6.0.2-10.6.0.99")
        config = tmp_path / "kubeconfig"
        registry = Registry()
        async with running(kube, config, "node-1") as node, running(kube, config, "node-2") as other:
            async with collecting(kube, registry) as collector:
                await _by_what_happens(kube, node, other)
                await _statefulsets(kube, node, collector)
                await _differences(kube, node, collector)
                await _by_request(kube, node, collector)
            text = registry.text()
            assert "spiderpool_ip_gc_counts 6" in text
            assert 'spiderpool_ippool_available_ip_counts{ippool="pool"}' in text


async def _by_what_happens(kube: Kube, node: Node, other: Node) -> None:
    """Pods that are gone without a word, have ended, do not end, or were on a node that is gone."""
    names = ("gone", "ended", "slow")
    pods = {name: await api.pod(kube, name, "node-1", WISH) for name in names}
    pods["far"] = await api.pod(kube, "far", "node-2", WISH)
    stays = await api.pod(kube, "stays", "node-1", WISH)
    await asyncio.gather(*(node.add(pods[name]) for name in names), other.add(pods["far"]), node.add(stays))
    assert len(await api.taken(kube, "pool")) == 5
    await api.gone(kube, pods["gone"])
    await kube.patch(PODS, "ended", {"status": {"phase": "Succeeded"}}, "shop", subresource="status")
    await kube.delete(PODS, "slow", "shop", grace=1)
    await kube.delete(NODES, "node-2")
    await _until(kube, {stays["metadata"]["uid"]})
    assert [each["metadata"]["name"] for each in await kube.list(SPIDERENDPOINTS)] == ["stays"]
    await api.end(kube, stays)
    await node.delete(stays)
    await api.gone(kube, stays)


async def _statefulsets(kube: Kube, node: Node, collector: Collector) -> None:
    """A pod of a StatefulSet may come again; one that is one too many does not."""
    template = {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 1, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "template": template}
    await kube.create(STATEFULSETS, {"metadata": {"name": "db", "namespace": "shop"}, "spec": spec})
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "controller": True, "uid": "1"}
    pods = [await api.pod(kube, f"db-{each}", "node-1", WISH, ownerReferences=[owner]) for each in range(2)]
    for pod in pods:
        await node.add(pod)
        await api.gone(kube, pod)
    kept = {pods[0]["metadata"]["uid"]}
    await _until(kube, kept)
    await collector.collect()
    await _until(kube, kept)
    await kube.delete(STATEFULSETS, "db", "shop")
    assert [each["pod"] for each in await _collected(collector, "freed")] == ["shop/db-0"]


async def _differences(kube: Kube, node: Node, collector: Collector) -> None:
    pod = await api.pod(kube, "a", "node-1", WISH)
    result = await node.add(pod)
    uid, address = pod["metadata"]["uid"], result["ips"][0]["address"].partition("/")[0]
    # somebody deletes the endpoint
    await kube.delete(SPIDERENDPOINTS, "a", "shop")
    await _collected(collector, "endpointsCorrected")
    assert (await api.endpoint(kube, "a"))[0]["ipv4"] == result["ips"][0]["address"]
    # somebody empties the pool
    await kube.patch(SPIDERIPPOOLS, "pool", {"status": {"allocatedIPs": None}}, subresource="status")
    await _collected(collector, "taken")
    assert await api.taken(kube, "pool") == {address: uid}
    await node.check(pod, result)


async def _by_request(kube: Kube, node: Node, collector: Collector) -> None:
    answer = await collector.answer(make_mocked_request("POST", "/v1/gc"))
    assert answer.text == '{"freed": []}'


async def _collected(collector: Collector, what: str) -> list[Json]:
    """What may be under way is acted on when it is seen again."""
    for _ in range(300):
        if found := (await collector.collect()).get(what):
            return list(found)
        await asyncio.sleep(0.1)
    raise AssertionError(f"nothing is {what}")


async def _until(kube: Kube, uids: set[str]) -> None:
    for _ in range(600):
        if set((await api.taken(kube, "pool")).values()) == uids:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"they have addresses: {await api.taken(kube, 'pool')}, not {uids}")


@contextlib.asynccontextmanager
async def collecting(kube: Kube, registry: Registry) -> AsyncIterator[Collector]:
    pools = Pools(kube, Meters(registry), now=clock.now, monotonic=time.monotonic, rest=timedelta(seconds=1))
    orders = Orders(Rules(delay=DELAY, doubt=DOUBT, patience=DOUBT))
    collector = Collector(kube, pools, orders, registry, now=clock.now, monotonic=time.monotonic)
    task = asyncio.create_task(collector.run())
    try:
        yield collector
    finally:
        task.cancel()
        await asyncio.wait([task])
