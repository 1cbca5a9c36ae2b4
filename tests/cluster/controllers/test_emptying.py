"""Namespaces that are deleted, against the real API server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.cluster.apiserver.conftest import home, kube, server
from tests.cluster.apiserver.servers import Home

from weft.adapters import clock
from weft.adapters.kube.client import Json, Kube
from weft.adapters.kube.kinds import CONFIGMAPS, CRDS, NAMESPACES
from weft.cluster import controllers

__all__ = ["home", "kube", "server"]  # fixtures


def crd(number: int) -> Json:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": f"Thing{number}", "plural": f"things{number}", "singular": f"thing{number}"}
    spec = {"group": "example.org", "names": names, "scope": "Namespaced", "versions": [version]}
    return {"metadata": {"name": f"things{number}.example.org"}, "spec": spec}


@pytest.fixture
async def controlled(kube: Kube, home: Home, tmp_path: Path) -> AsyncIterator[Kube]:
    run = controllers.run(kube, clock=clock.now, volumes=tmp_path / "volumes", signing=home.signing)
    running = asyncio.create_task(run)
    yield kube
    running.cancel()
    await asyncio.wait([running])


async def gone(kube: Kube, name: str) -> None:
    async with asyncio.timeout(20):
        while name in [obj["metadata"]["name"] for obj in await kube.list(NAMESPACES)]:
            await asyncio.sleep(0.05)


async def test_a_namespace_goes_with_all_that_is_in_it(controlled: Kube) -> None:
    await controlled.create(NAMESPACES, {"metadata": {"name": "full"}})
    for number in range(5):
        await controlled.create(CONFIGMAPS, {"metadata": {"name": f"c{number}", "namespace": "full"}})
    await controlled.delete(NAMESPACES, "full")
    await gone(controlled, "full")


async def test_kinds_that_come_and_go_meanwhile_do_not_hold_a_namespace_up(controlled: Kube) -> None:
    names = [f"n{number}" for number in range(6)]
    for name in names:
        await controlled.create(NAMESPACES, {"metadata": {"name": name}})
    for number, name in enumerate(names):
        await controlled.create(CRDS, crd(number))
        await controlled.delete(NAMESPACES, name)
        await controlled.delete(CRDS, f"things{number}.example.org")
    for name in names:
        await gone(controlled, name)
