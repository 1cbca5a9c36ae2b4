"""The kubelet's side of a real API server."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.cluster.apiserver.servers import make_home
from tests.cluster.kubelet.support import Json

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import CONFIGMAPS, EVENTS, NAMESPACES, PODS, SERVICEACCOUNTS
from weft.cluster.apiserver.serving import serve
from weft.cluster.apiserver.world import World
from weft.cluster.kubelet.kube_cluster import KubeCluster
from weft.cluster.kubelet.objects import Reference
from weft.cluster.kubelet.recorder import Event, Recorder
from weft.cluster.kubelet.station import ClusterError
from weft.cluster.kubelet.volumes import Token

PAGES = Reference("ConfigMap", "demo", "pages")


@pytest.fixture
async def kube(tmp_path: Path) -> AsyncIterator[Kube]:
    home = make_home(tmp_path)
    world = World(lambda: datetime.now(UTC), random.SystemRandom())
    async with serve(home.settings, world), Kube(home.access) as client:
        try:
            await client.create(NAMESPACES, {"metadata": {"name": "demo"}})
        except ApiError as error:
            assert error.code == 409  # noqa: PT017, there already is as good
        yield client


async def a_pod(kube: Kube) -> Json:
    try:
        await kube.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": "demo"}})
    except ApiError as error:
        assert error.code == 409  # noqa: PT017, there already is as good
    spec = {"nodeName": "weft", "containers": [{"name": "main", "image": "nginx"}]}
    return await kube.create(PODS, {"metadata": {"name": "web", "namespace": "demo"}, "spec": spec})


async def test_a_status_is_merged_and_a_stranger_of_the_same_name_is_left_alone(kube: Kube) -> None:
    cluster = KubeCluster(kube, time.time)
    pod = await a_pod(kube)
    await cluster.patch_status(pod, {"phase": "Running", "podIP": "10.0.0.1"})
    await cluster.patch_status(pod, {"podIP": None})
    status = (await kube.get(PODS, "web", "demo"))["status"]
    assert status["phase"] == "Running"
    assert "podIP" not in status
    other = {**pod, "metadata": {**pod["metadata"], "uid": "another"}}
    await cluster.patch_status(other, {"phase": "Failed"})
    await cluster.remove(other)
    assert (await kube.get(PODS, "web", "demo"))["status"]["phase"] == "Running"
    await cluster.remove(pod)
    with pytest.raises(ApiError):
        await kube.get(PODS, "web", "demo")
    await cluster.patch_status(pod, {"phase": "Failed"})


async def test_an_object_is_followed_from_before_it_exists_until_nobody_cares(kube: Kube) -> None:
    cluster, changed = KubeCluster(kube, time.time), asyncio.Event()
    cluster.follow(PAGES, changed.set)
    assert (await cluster.objects(frozenset({PAGES}))).found == {}
    for text in ("one", "two"):
        changed.clear()
        obj = {"metadata": {"name": "pages", "namespace": "demo"}, "data": {"a": text}}
        if text == "one":
            await kube.create(CONFIGMAPS, obj)
        else:
            await kube.patch(CONFIGMAPS, "pages", {"data": {"a": text}}, "demo")
        async with asyncio.timeout(5):
            await changed.wait()
        found = (await cluster.objects(frozenset({PAGES}))).get(*PAGES)
        assert found is not None
        assert (found["kind"], found["data"]["a"]) == ("ConfigMap", text)
    cluster.unfollow(PAGES, changed.set)
    with pytest.raises(ClusterError):
        await cluster.objects(frozenset({PAGES}))


async def test_a_token_is_bound_to_its_pod_and_audience(kube: Kube) -> None:
    import jwt

    cluster = KubeCluster(kube, time.time)
    pod = await a_pod(kube)
    issued = await cluster.issue(pod, Token("istio-ca", 3600))
    claims = jwt.decode(issued.token, options={"verify_signature": False})
    assert claims["aud"] == ["istio-ca"]
    assert claims["kubernetes.io"]["pod"]["uid"] == pod["metadata"]["uid"]
    assert 3500 < issued.ends - issued.made < 3700


async def test_events_reach_the_api_once_and_are_counted_there(kube: Kube) -> None:
    cluster = KubeCluster(kube, time.time)
    recorder = Recorder("weft", time.time, cluster.write_event)
    pod = await a_pod(kube)
    for _ in range(3):
        recorder.tell(pod, Event("BackOff", "again", warning=True, container="main"))
    task = asyncio.create_task(recorder.run())
    events: list[Json] = []
    async with asyncio.timeout(5):
        while [each["count"] for each in events] != [3]:
            await asyncio.sleep(0.05)
            events = [each for each in await kube.list(EVENTS, "demo") if each["reason"] == "BackOff"]
    task.cancel()
    assert events[0]["involvedObject"]["fieldPath"] == "spec.containers{main}"
