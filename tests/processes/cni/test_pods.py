"""The node's pods as CNI calls ask for them, against a real API server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.processes.cni.api import NODE, create, serving

from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import PODS
from weft.adapters.kube.reflector import Applied, Change, Deleted, Replaced
from weft.processes.cni.pods import Pods

Json = dict[str, Any]
ENOUGH = 30.0


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kube(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kube]:
    async with serving(tmp_path_factory.mktemp("api")) as kube:
        yield kube


@contextlib.asynccontextmanager
async def following(kube: Kube) -> AsyncIterator[Pods]:
    """Pods that ask for nothing by themselves: what they know the watch has told them."""
    pods = Pods(kube, NODE, behind=ENOUGH)
    task = asyncio.create_task(pods.run())
    try:
        async with asyncio.timeout(ENOUGH):
            await pods.synced.wait()
        yield pods
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_pod_is_found_by_its_uid_and_one_of_another_uid_or_node_is_not(kube: Kube) -> None:
    here = await create(kube, "here")
    await create(kube, "there", node="other")
    async with following(kube) as pods:
        found = await pods.find("shop", "here", here["metadata"]["uid"], 0.0)
        assert found is not None
        assert found["spec"]["nodeName"] == NODE
        assert "managedFields" not in found["metadata"]
        assert await pods.find("shop", "here", "", 0.0) == found
        assert await pods.find("shop", "here", "another", 0.1) is None
        assert await pods.find("shop", "there", "", 0.1) is None
        assert found in pods.all()
        assert {pod["spec"]["nodeName"] for pod in pods.all()} == {NODE}


async def test_a_pod_that_comes_later_is_waited_for(kube: Kube) -> None:
    async with following(kube) as pods:
        changes: list[Change[Json]] = []
        pods.follow(changes.append)
        waiting = asyncio.create_task(pods.find("shop", "late", "", ENOUGH))
        await asyncio.sleep(0)
        late = await create(kube, "late")
        found = await waiting
        assert found is not None
        assert found["metadata"]["uid"] == late["metadata"]["uid"]
        again = asyncio.create_task(pods.find("shop", "gone", "", ENOUGH))
        await kube.delete(PODS, "late", "shop", grace=0)
        await create(kube, "gone")
        assert await again is not None
        assert await pods.find("shop", "late", "", 0.0) is None
        assert [type(change) for change in changes] == [Applied, Deleted, Applied]


async def test_a_static_pod_is_found_by_the_uid_that_the_kubelet_calls_it_by(kube: Kube) -> None:
    await create(kube, "static", {"kubernetes.io/config.hash": "af01", "kubernetes.io/config.mirror": "af01"})
    async with following(kube) as pods:
        found = await pods.find("shop", "static", "af01", 0.0)
        assert found is not None
        assert found["metadata"]["name"] == "static"


async def test_a_watch_that_is_behind_does_not_keep_a_pod_from_starting(kube: Kube) -> None:
    made = await create(kube, "unheard-of")
    pods = Pods(kube, NODE, behind=0.01)
    uid = made["metadata"]["uid"]
    found = await pods.find("shop", "unheard-of", uid, ENOUGH)
    assert found is not None
    assert found["metadata"]["uid"] == uid
    assert await pods.find("shop", "unheard-of", "another", 0.3) is None
    assert pods.all() == ()


async def test_after_the_watch_has_begun_anew_only_what_is_listed_is_known(kube: Kube) -> None:
    await create(kube, "one")
    async with following(kube) as pods:
        known = pods.all()
        pods._take(Replaced(()))
        assert await pods.find("shop", "one", "", 0.0) is None
        pods._take(Replaced(known))
        assert pods.all() == known
