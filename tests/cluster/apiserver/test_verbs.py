"""Verbs over the wire: tokens, selectors, pages, deletion, bad input."""

import asyncio
import io
import ssl
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec
import pytest
from tests.cluster.apiserver.servers import Home

from weft.adapters.kube.access import Access
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import CONFIGMAPS, NAMESPACES, PODS, SERVICEACCOUNTS, SERVICES
from weft.cluster.apiserver.rest.server import Server

HERE = "default"


def config_map(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": HERE, "labels": labels}}


async def pod(kube: Kube, name: str) -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": "x:1"}]}
    return await kube.create(PODS, {"metadata": {"name": name, "namespace": HERE}, "spec": spec})


@pytest.fixture
async def account(kube: Kube) -> dict[str, Any]:
    return await kube.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": HERE}})


async def token(kube: Kube, **spec: Any) -> str:
    path = f"/api/v1/namespaces/{HERE}/serviceaccounts/default/token"
    return str((await kube.post(path, {"spec": spec}))["status"]["token"])


async def review(kube: Kube, given: str, *audiences: str) -> dict[str, Any]:
    body = {"spec": {"token": given, "audiences": list(audiences)}}
    status: dict[str, Any] = (await kube.post("/apis/authentication.k8s.io/v1/tokenreviews", body))["status"]
    return status


async def test_a_token_is_good_for_its_audience_and_as_long_as_its_pod(
    kube: Kube, account: dict[str, Any]
) -> None:
    created = await pod(kube, "p")
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": created["metadata"]["uid"]}
    given = await token(kube, audiences=["istio-ca"], boundObjectRef=bound)
    found = await review(kube, given, "istio-ca")
    assert found["authenticated"] is True
    assert found["user"]["username"] == "system:serviceaccount:default:default"
    assert found["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["p"]
    assert "authenticated" not in await review(kube, given, "somebody-else")
    await kube.delete(PODS, "p", HERE, grace=0)
    assert "is gone" in (await review(kube, given, "istio-ca"))["error"]


async def test_a_service_account_may_do_only_what_a_role_allows(
    kube: Kube, home: Home, account: dict[str, Any]
) -> None:
    access = Access(server=home.access.server, ca=home.access.ca, token=await token(kube))
    async with Kube(access) as other:
        with pytest.raises(ApiError, match='cannot list resource "pods" in API group ""') as refused:
            await other.list(PODS, HERE)
        assert refused.value.code == 403
    async with Kube(Access(server=home.access.server, ca=home.access.ca, token="x.y.z")) as nobody:
        with pytest.raises(ApiError) as unknown:
            await nobody.list(PODS, HERE)
        assert unknown.value.code == 401


async def test_selectors_choose_and_pages_continue_where_they_began(kube: Kube) -> None:
    for n in range(5):
        await kube.create(CONFIGMAPS, config_map(f"c{n}", parity="even" if n % 2 == 0 else "odd"))
    names = [item["metadata"]["name"] for item in await kube.list(CONFIGMAPS, HERE, labels="parity in (even)")]
    assert names == ["c0", "c2", "c4"]
    named = await kube.list(CONFIGMAPS, HERE, fields="metadata.name=c3")
    assert [item["metadata"]["name"] for item in named] == ["c3"]
    path = f"/api/v1/namespaces/{HERE}/configmaps"
    first = await kube.call("GET", path, query={"limit": "2"})
    await kube.delete(CONFIGMAPS, "c4", HERE)
    rest = await kube.call("GET", path, query={"limit": "9", "continue": first["metadata"]["continue"]})
    assert [item["metadata"]["name"] for item in rest["items"]] == ["c2", "c3", "c4"]  # as it was


async def test_a_watch_sees_objects_enter_and_leave_its_selector(kube: Kube) -> None:
    await kube.create(CONFIGMAPS, config_map("c", on="yes"))
    path = f"/api/v1/namespaces/{HERE}/configmaps"
    lines = kube.lines(path, {"watch": "true", "labelSelector": "on=yes", "timeoutSeconds": "5"})
    seen = [msgspec.json.decode(await anext(lines))["type"]]
    await kube.patch(CONFIGMAPS, "c", {"metadata": {"labels": {"on": "no"}}}, HERE)
    seen.append(msgspec.json.decode(await anext(lines))["type"])
    await kube.patch(CONFIGMAPS, "c", {"metadata": {"labels": {"on": "yes"}}}, HERE)
    seen.append(msgspec.json.decode(await anext(lines))["type"])
    await lines.aclose()  # type: ignore[attr-defined]  # it is an async generator
    assert seen == ["ADDED", "DELETED", "ADDED"]


async def test_an_update_without_a_change_keeps_the_revision(kube: Kube) -> None:
    before = await kube.create(CONFIGMAPS, config_map("c"))
    after = await kube.replace(CONFIGMAPS, before)
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    patched = await kube.patch(CONFIGMAPS, "c", {"data": {"a": "b"}}, HERE)
    assert patched["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]
    with pytest.raises(ApiError, match="the object has been modified"):
        await kube.replace(CONFIGMAPS, {**before, "data": {"x": "y"}})


async def test_a_pod_on_a_node_goes_when_its_kubelet_says_so(kube: Kube, account: dict[str, Any]) -> None:
    await pod(kube, "p")
    await kube.post(f"/api/v1/namespaces/{HERE}/pods/p/binding", {"target": {"kind": "Node", "name": "n"}})
    bound = await kube.get(PODS, "p", HERE)
    assert bound["spec"]["nodeName"] == "n"
    assert bound["metadata"]["generation"] == 1
    assert bound["status"]["conditions"][0]["type"] == "PodScheduled"
    await kube.delete(PODS, "p", HERE)
    going = await kube.get(PODS, "p", HERE)
    assert going["metadata"]["deletionGracePeriodSeconds"] == 30
    await kube.delete(PODS, "p", HERE, grace=0)
    with pytest.raises(ApiError, match='pods "p" not found'):
        await kube.get(PODS, "p", HERE)


async def test_a_namespace_waits_for_its_finalizer(kube: Kube) -> None:
    await kube.create(NAMESPACES, {"metadata": {"name": "n"}})
    await kube.delete(NAMESPACES, "n")
    going = await kube.get(NAMESPACES, "n")
    assert going["status"]["phase"] == "Terminating"
    with pytest.raises(ApiError, match="because it is being terminated"):
        await kube.create(CONFIGMAPS, {"metadata": {"name": "c", "namespace": "n"}})
    going["spec"]["finalizers"] = []
    await kube.call("PUT", "/api/v1/namespaces/n/finalize", body=going)
    with pytest.raises(ApiError, match='namespaces "n" not found'):
        await kube.get(NAMESPACES, "n")


async def test_service_addresses_are_given_kept_and_refused(kube: Kube) -> None:
    ports = [{"port": 80}]
    made = await kube.create(SERVICES, {"metadata": {"name": "a", "namespace": HERE}, "spec": {"ports": ports}})
    address = made["spec"]["clusterIP"]
    assert made["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    same = {"metadata": {"name": "b", "namespace": HERE}, "spec": {"ports": ports, "clusterIP": address}}
    with pytest.raises(ApiError, match="provided IP is already allocated"):
        await kube.create(SERVICES, same)
    await kube.delete(SERVICES, "a", HERE)
    assert (await kube.create(SERVICES, same))["spec"]["clusterIP"] == address


@pytest.mark.parametrize(
    ("body", "media", "code"),
    [
        (b"{", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"a: [", "application/yaml", 400),
        (b"k8s\0\xff\xff\xff", "application/vnd.kubernetes.protobuf", 400),
        (b"<x/>", "application/xml", 415),
        (b"x" * (4 << 20), "application/json", 413),
        (b'{"metadata": "no"}', "application/json", 400),
        (b"3", "application/json", 400),
    ],
)
async def test_bad_input_is_answered_and_the_server_goes_on(
    server: Server, home: Home, body: bytes, media: str, code: int
) -> None:
    url = f"{home.access.server}/api/v1/namespaces/{HERE}/configmaps"
    async with aiohttp.ClientSession() as session:
        headers = {"Content-Type": media}
        context = home.access.ssl_context()
        async with session.post(url, data=io.BytesIO(body), headers=headers, ssl=context) as answer:
            assert answer.status == code
            assert (await answer.json())["kind"] == "Status"
        async with session.get(f"{home.access.server}/healthz", ssl=context) as answer:
            assert await answer.text() == "ok"


async def test_who_shows_nothing_gets_health_and_version_only(server: Server, home: Home) -> None:
    context: ssl.SSLContext = ssl.create_default_context(cadata=home.access.ca)
    async with aiohttp.ClientSession() as session:
        for path, code in (("/healthz", 200), ("/version", 200), ("/api", 403), ("/api/v1/pods", 403)):
            async with session.get(home.access.server + path, ssl=context) as answer:
                assert answer.status == code


async def test_a_long_watch_does_not_delay_the_end(home: Home) -> None:
    import random

    from weft.cluster.apiserver.serving import serve
    from weft.cluster.apiserver.world import World

    loop = asyncio.get_running_loop()
    async with Kube(home.access) as kube:
        async with serve(home.settings, World(lambda: datetime.now(UTC), random.Random(1))):
            lines = kube.lines("/api/v1/namespaces", {"watch": "true"})
            await anext(lines)
            begun = loop.time()
        assert loop.time() - begun < 3
