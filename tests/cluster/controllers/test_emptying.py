"""Namespaces that are deleted, against the real API server."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.cluster.apiserver.conftest import home, kube, server
from tests.cluster.apiserver.servers import Home

from weft.adapters import clock
from weft.adapters.kube.client import ApiError, Json, Kube
from weft.adapters.kube.kinds import CONFIGMAPS, CRDS, EVENTS, NAMESPACES, SECRETS, SERVICEACCOUNTS, Kind
from weft.cluster import controllers
from weft.cluster.controllers.emptying import Content
from weft.cluster.controllers.objects import condition, owner_reference

__all__ = ["home", "kube", "server"]  # fixtures
REMAINING = "NamespaceContentRemaining"


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


async def test_a_namespace_that_cannot_go_says_what_is_left_and_who_holds_it(controlled: Kube) -> None:
    await controlled.create(NAMESPACES, {"metadata": {"name": "stuck"}})
    held = {"name": "held", "namespace": "stuck", "finalizers": ["example.org/mine"]}
    await controlled.create(CONFIGMAPS, {"metadata": held})
    await controlled.delete(NAMESPACES, "stuck")
    remains = "Some resources are remaining: configmaps. has 1 resource instances"
    async with asyncio.timeout(20):
        while condition(found := await controlled.get(NAMESPACES, "stuck"), REMAINING).get("message") != remains:
            await asyncio.sleep(0.05)
    finalizers = condition(found, "NamespaceFinalizersRemaining")
    assert (finalizers["status"], finalizers["reason"]) == ("True", "SomeFinalizersRemain")
    assert finalizers["message"].endswith("finalizers remaining: example.org/mine in 1 resource instances")
    assert condition(found, "NamespaceDeletionContentFailure")["reason"] == "ContentDeleted"
    await controlled.patch(CONFIGMAPS, "held", {"metadata": {"finalizers": None}}, "stuck")
    await gone(controlled, "stuck")


async def test_what_a_custom_object_owns_goes_with_it(controlled: Kube) -> None:
    await controlled.create(CRDS, crd(7))
    things = Kind("example.org", "v1", "Thing7", "things7")
    async with asyncio.timeout(20):
        while True:
            try:
                owner = await controlled.create(things, {"metadata": {"name": "it", "namespace": "default"}})
                break
            except ApiError:
                await asyncio.sleep(0.05)
    child = {"name": "child", "namespace": "default", "ownerReferences": [owner_reference(things, owner)]}
    await controlled.create(CONFIGMAPS, {"metadata": child})
    await controlled.delete(things, "it", "default")
    async with asyncio.timeout(20):
        while "child" in [obj["metadata"]["name"] for obj in await controlled.list(CONFIGMAPS, "default")]:
            await asyncio.sleep(0.05)


async def test_an_owner_in_another_namespace_is_none_and_an_event_says_so(controlled: Kube) -> None:
    await controlled.create(NAMESPACES, {"metadata": {"name": "other"}})
    owner = await controlled.create(CONFIGMAPS, {"metadata": {"name": "owner", "namespace": "other"}})
    reference = owner_reference(CONFIGMAPS, owner)
    child = {"name": "child", "namespace": "default", "ownerReferences": [reference]}
    await controlled.create(CONFIGMAPS, {"metadata": child})
    named = f"[v1/ConfigMap, namespace: default, name: owner, uid: {owner['metadata']['uid']}]"
    async with asyncio.timeout(20):
        while not (events := await controlled.list(EVENTS, "default", fields="reason=OwnerRefInvalidNamespace")):
            await asyncio.sleep(0.05)
        while "child" in [obj["metadata"]["name"] for obj in await controlled.list(CONFIGMAPS, "default")]:
            await asyncio.sleep(0.05)
    assert events[0]["message"] == f'ownerRef {named} does not exist in namespace "default"'
    assert await controlled.get(CONFIGMAPS, "owner", "other")


async def test_a_secret_for_a_token_gets_one_that_works_and_goes_with_its_account(controlled: Kube) -> None:
    account = {"name": "robot", "namespace": "default"}
    await controlled.create(SERVICEACCOUNTS, {"metadata": account})
    marked = account | {"annotations": {"kubernetes.io/service-account.name": "robot"}}
    kind = "kubernetes.io/service-account-token"
    await controlled.create(SECRETS, {"metadata": marked, "type": kind})
    async with asyncio.timeout(20):
        while "token" not in (data := (await controlled.get(SECRETS, "robot", "default")).get("data") or {}):
            await asyncio.sleep(0.05)
    assert base64.b64decode(data["namespace"]) == b"default"
    assert b"BEGIN CERTIFICATE" in base64.b64decode(data["ca.crt"])
    review = {"spec": {"token": base64.b64decode(data["token"]).decode()}}
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    answer = await controlled.post(
        path, review | {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
    )
    assert answer["status"]["user"]["username"] == "system:serviceaccount:default:robot"
    await controlled.delete(SERVICEACCOUNTS, "robot", "default")
    async with asyncio.timeout(20):
        while "robot" in [obj["metadata"]["name"] for obj in await controlled.list(SECRETS, "default")]:
            await asyncio.sleep(0.05)


def test_groups_that_do_not_answer_are_named() -> None:
    content = Content(unknown={"metrics.k8s.io/v1beta1": "the server is currently unable to handle the request"})
    told = content.conditions()[0]
    assert (told["type"], told["status"], told["reason"]) == (
        "NamespaceDeletionDiscoveryFailure",
        "True",
        "DiscoveryFailed",
    )
    assert told["message"] == (
        "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: "
        "metrics.k8s.io/v1beta1: the server is currently unable to handle the request"
    )
