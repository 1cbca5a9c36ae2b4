"""As many pods as addresses, on three nodes whose writes are overtaken, one of which dies again and again."""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import pytest
from tests.processes.underlay import ipam_api as api
from tests.processes.underlay.ipam_node import Node, Program, running

from weft.adapters import clock
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import NODES, SPIDERENDPOINTS, SPIDERIPPOOLS
from weft.processes.cni.calls import CallError
from weft.processes.cni.metrics import Registry
from weft.processes.underlay.ipam_meters import Meters
from weft.processes.underlay.ipam_pools import Pools
from weft.processes.underlay_controller.collecting import Collector, Orders
from weft.underlay.ipam import annotations
from weft.underlay.ipam.collecting import Rules

Json = dict[str, Any]

MANY: Final = int(os.environ.get("WEFT_ADDRESSES", "45"))
ROUNDS: Final = 3 if MANY > 45 else 2
REST: Final = ("--spiderpool-ip-rest-seconds", "1")
KEPT_WAITING: Final = 32
"""Sandboxes that a node makes at the same time."""


@pytest.mark.timeout(120 if MANY <= 45 else 900)
async def test_as_many_pods_as_addresses_come_and_go_and_no_address_is_lost_or_given_twice(tmp_path: Path) -> None:
    nodes = ("node-1", "node-2", "node-3")
    config, wish = tmp_path / "kubeconfig", {annotations.IPPOOL: '{"ipv4":["pool"]}'}
    async with contextlib.AsyncExitStack() as stack:
        kube = await stack.enter_async_context(api.serving(tmp_path, *nodes))
        last = str(ip_address("10.6.0.2") + MANY - 1)
        await api.pool(kube, "pool", f"10.6.0.2-{last}", gateway="10.6.255.1")
        first, second = [await stack.enter_async_context(running(kube, config, each, *REST)) for each in nodes[:2]]
        collector = await stack.enter_async_context(collecting(kube))
        overtaken = await stack.enter_async_context(overtaking(kube))
        third = Mortal(config, nodes[2])
        stack.push_async_callback(third.end)
        for number in range(ROUNDS):
            names = [f"pod-{number}-{each}" for each in range(MANY)]
            pods = await _at_once(
                {name: api.pod(kube, name, nodes[place % 3], wish) for place, name in enumerate(names)}
            )
            began = time.monotonic()
            given = await _at_once(
                {
                    name: (first, second, third)[place % 3].add(pods[name])
                    if place % 3 == 2
                    else _until_given((first, second)[place % 3], pods[name])
                    for place, name in enumerate(names)
                }
            )
            print(f"{MANY} pods have their addresses after {time.monotonic() - began:.2f} s")
            await _check(kube, pods, given)
            began = time.monotonic()
            await _at_once({name: api.end(kube, pod) for name, pod in pods.items()})
            if number == ROUNDS - 1:
                # the node is dead for good: who had addresses there is taken from the books by others
                await third.end()
                await kube.delete(NODES, nodes[2])
            live = {
                name: pod for place, (name, pod) in enumerate(pods.items()) if place % 3 < 2 or number < ROUNDS - 1
            }
            await _at_once(
                {name: (first, second, third)[names.index(name) % 3].delete(pod) for name, pod in live.items()}
            )
            left = await api.taken(kube, "pool")
            assert set(left.values()) == {pods[name]["metadata"]["uid"] for name in pods.keys() - live.keys()}
            if left:
                found = await collector.collect()
                assert {each["ip"] for each in found["freed"]} == left.keys()
                assert all(each["reason"] == "its node node-3 is gone" for each in found["freed"])
            print(f"{MANY} pods have given them back after {time.monotonic() - began:.2f} s")
            assert await api.taken(kube, "pool") == {}
            assert await kube.list(SPIDERENDPOINTS) == []
            await _at_once({name: api.gone(kube, pod) for name, pod in pods.items()})
        status = (await kube.get(SPIDERIPPOOLS, "pool"))["status"]
        assert (status["allocatedIPCount"], status["totalIPCount"]) == (0, MANY)
        assert third.deaths == ROUNDS
        assert overtaken.writes > ROUNDS
        for node in (first, second):
            lines = [line for line in node.registry.text().splitlines() if "conflict" in line or "_total" in line]
            print("\n".join(line for line in lines if not line.startswith("#")))


class Mortal:
    """A node whose process is killed in the middle of each round, while others wait for it, and started again."""

    def __init__(self, kubeconfig: Path, name: str) -> None:
        self._kubeconfig, self._name = kubeconfig, name
        self._program: Program | None = None
        self._lock, self._given, self.deaths = asyncio.Lock(), 0, 0
        self._turn = asyncio.Semaphore(KEPT_WAITING)

    async def add(self, pod: Json) -> Json:
        for _ in range(60):
            async with self._turn:
                answer = await (await self._running()).add(pod)
            if answer is not None and "error" not in answer:
                self._given += 1
                if self._given % (MANY // 3) == MANY // 9:
                    self.deaths += 1
                    await self.end()
                return answer
            await asyncio.sleep(0.1)
        raise AssertionError(f"no address: {answer}")

    async def delete(self, pod: Json) -> Json:
        for _ in range(60):
            answer = await (await self._running()).delete(pod)
            if answer is not None:
                return answer
        raise AssertionError("it dies over and over")

    async def end(self) -> None:
        program, self._program = self._program, None
        if program is not None:
            await program.kill()

    async def _running(self) -> Program:
        async with self._lock:
            if self._program is None:
                self._program = await Program.start(self._kubeconfig, self._name, *REST)
            return self._program


class Overtaker:
    """Somebody else who writes the pool."""

    writes = 0


@contextlib.asynccontextmanager
async def overtaking(kube: Kube) -> AsyncIterator[Overtaker]:
    other = Overtaker()

    async def write() -> None:
        while True:
            other.writes += 1
            with contextlib.suppress(ApiError):
                note = {"metadata": {"annotations": {"writes": str(other.writes)}}}
                await kube.patch(SPIDERIPPOOLS, "pool", note)
            await asyncio.sleep(random.uniform(0, 0.03))

    task = asyncio.create_task(write())
    try:
        yield other
    finally:
        task.cancel()
        await asyncio.wait([task])


@contextlib.asynccontextmanager
async def collecting(kube: Kube) -> AsyncIterator[Collector]:
    """A collector that acts when it is asked."""
    registry = Registry()
    pools = Pools(kube, Meters(registry), now=clock.now, monotonic=time.monotonic, rest=timedelta(seconds=1))
    orders = Orders(Rules(), enabled=False)
    collector = Collector(kube, pools, orders, registry, now=clock.now, monotonic=time.monotonic)
    task = asyncio.create_task(collector.run())
    try:
        yield collector
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _until_given(node: Node, pod: Json) -> Json:
    """As a kubelet does: again, as long as it fails."""
    for _ in range(60):
        try:
            return await node.add(pod)
        except CallError as error:
            failure = error
        await asyncio.sleep(0.2)
    raise failure


async def _at_once(work: Mapping[str, Any]) -> dict[str, Any]:
    return dict(zip(work, await asyncio.gather(*work.values()), strict=True))


async def _check(kube: Kube, pods: Mapping[str, Json], given: Mapping[str, Json]) -> None:
    """No address is anybody else's, and answers, pool and endpoints say the same."""
    told = {name: result["ips"][0]["address"].partition("/")[0] for name, result in given.items()}
    assert len(set(told.values())) == len(pods)
    taken = await api.taken(kube, "pool")
    assert taken == {address: pods[name]["metadata"]["uid"] for name, address in told.items()}
    noted = {
        each["metadata"]["name"]: each["status"]["current"]["ips"][0]["ipv4"].partition("/")[0]
        for each in await kube.list(SPIDERENDPOINTS)
    }
    assert noted == told
