"""Roles that are the sum of others follow every change of their parts."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.apiserver.conftest import home, kube, server
from tests.cluster.apiserver.servers import Home

from weft.adapters import clock
from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import CLUSTERROLES
from weft.cluster import controllers

__all__ = ["home", "kube", "server"]  # fixtures
RULE = {"apiGroups": ["stable.example.com"], "resources": ["crontabs"], "verbs": ["get", "list"]}


@pytest.fixture
async def controlled(kube: Kube, home: Home, tmp_path: Path) -> AsyncIterator[Kube]:
    run = controllers.run(kube, clock=clock.now, volumes=tmp_path / "volumes", signing=home.signing)
    running = asyncio.create_task(run)
    yield kube
    running.cancel()
    await asyncio.wait([running])


async def rules(kube: Kube, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await kube.get(CLUSTERROLES, name)).get("rules") or []
    return found


async def test_a_part_of_view_reaches_admin_and_leaves_it_again(controlled: Kube) -> None:
    labels = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    await controlled.create(CLUSTERROLES, {"metadata": {"name": "crontabs", "labels": labels}, "rules": [RULE]})
    async with asyncio.timeout(20):
        for name in ("view", "edit", "admin"):
            while RULE not in await rules(controlled, name):
                await asyncio.sleep(0.02)
    await controlled.delete(CLUSTERROLES, "crontabs")
    async with asyncio.timeout(20):
        for name in ("view", "edit", "admin"):
            while RULE in await rules(controlled, name):
                await asyncio.sleep(0.02)
    assert await rules(controlled, "view")


async def test_a_sum_that_somebody_edits_is_put_right(controlled: Kube) -> None:
    before = await rules(controlled, "view")
    await controlled.patch(CLUSTERROLES, "view", {"rules": [RULE]})
    async with asyncio.timeout(20):
        while await rules(controlled, "view") != before:
            await asyncio.sleep(0.02)
