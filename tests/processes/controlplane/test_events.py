"""Problems as Events of their objects."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.processes.controlplane.cluster import Cluster
from tests.processes.controlplane.test_istiod import virtual_service

from weft.adapters import clock
from weft.adapters.kube.access import Access
from weft.adapters.kube.client import Kube
from weft.base.problem import At, Problem, Severity
from weft.processes.controlplane.events import Teller

PATIENCE = 0.05
PLACE = At(kind="VirtualService", namespace="shop", name="web", field="spec.hosts[0]")
LOST = Problem("IST0101", Severity.ERROR, PLACE, 'host not found "nobody".', "Create the Service.")


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    one = Cluster()
    one.put(virtual_service("5s"))
    async with one.serving():
        yield one


@contextlib.asynccontextmanager
async def telling(cluster: Cluster, path: Path, current: list[Problem]) -> AsyncIterator[Teller]:
    async with Kube(Access.from_kubeconfig(cluster.kubeconfig(path / "kubeconfig"))) as kube:
        teller = Teller(kube, lambda: current, clock.now, instance="istiod-1", patience=PATIENCE)
        running = asyncio.ensure_future(teller.run())
        try:
            yield teller
        finally:
            running.cancel()


def told(cluster: Cluster) -> list[dict[str, Any]]:
    return [obj for path, obj in cluster.objects.items() if "/events/" in path]


async def test_a_problem_that_lasts_is_told_once_at_its_object(cluster: Cluster, tmp_path: Path) -> None:
    current = [LOST]
    async with telling(cluster, tmp_path, current) as teller:
        teller.look()
        await cluster.until(lambda: told(cluster))
        current.append(replace(LOST, message="something else."))
        teller.look()
        await cluster.until(lambda: len(told(cluster)) == 2)
    first = told(cluster)[0]
    owner = cluster.objects["/apis/networking.istio.io/v1/namespaces/shop/virtualservices/web"]
    assert first["involvedObject"]["uid"] == owner["metadata"]["uid"]
    assert first["message"] == 'spec.hosts[0]: host not found "nobody". Create the Service.'
    assert (first["type"], first["reason"], first["count"]) == ("Warning", "IST0101", 1)


async def test_a_problem_that_is_gone_at_once_is_not_told(cluster: Cluster, tmp_path: Path) -> None:
    current = [LOST]
    async with telling(cluster, tmp_path, current) as teller:
        teller.look()
        await asyncio.sleep(PATIENCE / 5)
        current.clear()
        await asyncio.sleep(PATIENCE * 4)
    assert told(cluster) == []


async def test_a_problem_that_comes_while_others_are_told_is_told_too(cluster: Cluster, tmp_path: Path) -> None:
    current: list[Problem] = []
    async with telling(cluster, tmp_path, current) as teller:
        teller.look()
        await asyncio.sleep(PATIENCE / 5)
        current.append(LOST)
        await cluster.until(lambda: told(cluster))


async def test_a_restarted_istiod_counts_up_what_it_told_before(cluster: Cluster, tmp_path: Path) -> None:
    for count in (1, 2):
        async with telling(cluster, tmp_path, [LOST]) as teller:
            teller.look()
            await cluster.until(lambda count=count: [one["count"] for one in told(cluster)] == [count])


async def test_an_object_that_is_gone_or_no_rule_of_the_mesh_is_passed_over(
    cluster: Cluster, tmp_path: Path
) -> None:
    gone = replace(LOST, at=replace(PLACE, name="gone"))
    other = replace(LOST, at=replace(PLACE, kind="Service"))
    async with telling(cluster, tmp_path, [gone, other, LOST]) as teller:
        teller.look()
        await cluster.until(lambda: told(cluster))
        await asyncio.sleep(PATIENCE)
    assert [one["involvedObject"]["name"] for one in told(cluster)] == ["web"]
