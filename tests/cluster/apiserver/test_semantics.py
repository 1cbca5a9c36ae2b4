"""Lists, watches, deletions and ownership, to the letter of what clients count on."""

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from tests.cluster.apiserver.servers import Kubectl

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import CONFIGMAPS, SERVICES
from weft.cluster.apiserver import store
from weft.cluster.apiserver.rest.server import Server

HERE = "default"
PATH = f"/api/v1/namespaces/{HERE}/configmaps"


async def config_map(kube: Kube, name: str, **meta: Any) -> dict[str, Any]:
    return await kube.create(CONFIGMAPS, {"metadata": {"name": name, "namespace": HERE, **meta}})


async def event(lines: AsyncIterator[bytes]) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(await anext(lines))
    return found


async def test_a_watch_can_begin_with_a_list_that_ends_in_a_bookmark(kube: Kube) -> None:
    await config_map(kube, "a")
    query = {
        "watch": "true",
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": "5",
    }
    lines = kube.lines(PATH, query)
    assert (await event(lines))["object"]["metadata"]["name"] == "a"
    mark = await event(lines)
    assert mark["type"] == "BOOKMARK"
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    made = await config_map(kube, "b")
    added = await event(lines)
    await lines.aclose()  # type: ignore[attr-defined]  # it is an async generator
    assert (added["type"], added["object"]["metadata"]["name"]) == ("ADDED", "b")
    assert int(mark["object"]["metadata"]["resourceVersion"]) < int(made["metadata"]["resourceVersion"])
    with pytest.raises(ApiError, match="sendInitialEvents requires setting resourceVersionMatch"):
        await anext(kube.lines(PATH, {"watch": "true", "sendInitialEvents": "true"}))


async def test_revisions_of_a_list_mean_what_they_say(kube: Kube) -> None:
    first = (await config_map(kube, "a"))["metadata"]["resourceVersion"]
    await config_map(kube, "b")

    async def names(**query: str) -> list[str]:
        found = await kube.call("GET", PATH, query=query)
        return [item["metadata"]["name"] for item in found["items"]]

    assert await names(resourceVersion="0") == ["a", "b"]
    assert await names(resourceVersion=first, resourceVersionMatch="NotOlderThan") == ["a", "b"]
    assert await names(resourceVersion=first, resourceVersionMatch="Exact") == ["a"]
    with pytest.raises(ApiError, match="Too large resource version") as ahead:
        await names(resourceVersion="99999999")
    assert ahead.value.code == 504
    for query in ({"resourceVersionMatch": "Exact"}, {"resourceVersion": "0", "resourceVersionMatch": "Exact"}):
        with pytest.raises(ApiError, match="resourceVersionMatch"):
            await names(**query)
    with pytest.raises(ApiError, match="resourceVersionMatch: Unsupported value"):
        await names(resourceVersion=first, resourceVersionMatch="Sometimes")


async def test_a_page_of_a_forgotten_revision_is_gone(kube: Kube, server: Server) -> None:
    for name in ("a", "b", "c"):
        await config_map(kube, name)
    page = await kube.call("GET", PATH, query={"limit": "1"})
    await config_map(kube, "d")
    kept = server.cluster.store
    await kept._in_thread(lambda: kept._history.compact(kept.revision))
    with pytest.raises(ApiError, match="The provided continue parameter is too old") as gone:
        await kube.call("GET", PATH, query={"limit": "1", "continue": page["metadata"]["continue"]})
    assert (gone.value.code, gone.value.reason) == (410, "Expired")


async def test_a_watch_that_falls_behind_ends_after_what_it_still_had_and_goes_on_anew(
    kube: Kube, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "QUEUE", 3)
    lines = kube.lines(PATH, {"watch": "true", "timeoutSeconds": "20"})
    await config_map(kube, "first")
    assert (await event(lines))["type"] == "ADDED"
    slow = next(iter(server.cluster.store._subscriptions["/configmaps"]))
    (row,) = server.cluster.store.rows("/configmaps", HERE)
    for _ in range(5):
        slow.put(store.Change(row, row, deleted=False))
    rest = [msgspec.json.decode(line) async for line in lines]
    assert [one["type"] for one in rest] == ["MODIFIED"] * 3
    version = rest[-1]["object"]["metadata"]["resourceVersion"]
    await config_map(kube, "second")
    again = kube.lines(PATH, {"watch": "true", "timeoutSeconds": "20", "resourceVersion": version})
    assert (await event(again))["object"]["metadata"]["name"] == "second"


async def test_a_collection_is_deleted_by_its_selector(kube: Kube) -> None:
    for name, color in (("a", "red"), ("b", "red"), ("c", "blue")):
        await config_map(kube, name, labels={"color": color})
    await kube.call("DELETE", PATH, query={"labelSelector": "color=red", "dryRun": "All"})
    assert len(await kube.list(CONFIGMAPS, HERE)) == 3
    await kube.call("DELETE", PATH, query={"labelSelector": "color=red"})
    assert [item["metadata"]["name"] for item in await kube.list(CONFIGMAPS, HERE)] == ["c"]


@pytest.mark.parametrize(("policy", "finalizer"), [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")])
async def test_a_deletion_that_cares_for_dependents_waits_by_a_finalizer(
    kube: Kube, policy: str, finalizer: str
) -> None:
    await config_map(kube, "c")
    await kube.call("DELETE", f"{PATH}/c", query={"propagationPolicy": policy})
    going = (await kube.get(CONFIGMAPS, "c", HERE))["metadata"]
    assert going["finalizers"] == [finalizer]
    assert going["deletionTimestamp"]
    await kube.patch(CONFIGMAPS, "c", {"metadata": {"finalizers": None}}, HERE)
    with pytest.raises(ApiError, match="not found"):
        await kube.get(CONFIGMAPS, "c", HERE)


def ports(*given: tuple[str, int]) -> dict[str, Any]:
    listed = [{"name": name, "port": port} for name, port in given]
    return {"metadata": {"name": "s", "namespace": HERE}, "spec": {"ports": listed}}


async def test_appliers_share_a_list_by_its_keys_and_give_up_what_they_leave_out(kube: Kube) -> None:
    await kube.apply(SERVICES, ports(("a", 80)), manager="one")
    both = await kube.apply(SERVICES, ports(("b", 81)), manager="two")
    assert sorted(port["name"] for port in both["spec"]["ports"]) == ["a", "b"]
    with pytest.raises(ApiError, match='conflict with "one"') as conflict:
        await kube.call(
            "PATCH",
            f"/api/v1/namespaces/{HERE}/services/s",
            body={**ports(("other", 80)), "apiVersion": "v1", "kind": "Service"},
            query={"fieldManager": "two"},
            content_type="application/apply-patch+yaml",
        )
    assert conflict.value.code == 409
    # what both own stays when one lets go
    await kube.apply(SERVICES, ports(("a", 80), ("b", 81)), manager="two")
    await kube.apply(SERVICES, ports(("a", 80)), manager="two")
    assert [port["name"] for port in (await kube.get(SERVICES, "s", HERE))["spec"]["ports"]] == ["a"]


async def test_kubectl_moves_from_client_side_to_server_side_apply(kubectl: Kubectl) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1", "b": "1"}}
    await kubectl("apply", "-f", "-", stdin=json.dumps(body))
    body["data"] = {"a": "2"}
    await kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(body))
    found = json.loads((await kubectl("get", "cm", "c", "-o", "json", "--show-managed-fields")).out)
    assert found["data"] == {"a": "2"}
    # the second holds the annotation, so that kubectl can go back to applying from the client
    assert {(entry["manager"], entry["operation"]) for entry in found["metadata"]["managedFields"]} == {
        ("kubectl", "Apply"),
        ("kubectl-last-applied", "Apply"),
    }
