"""Tokens of service accounts: how long, for whom, bound to what; and those that lie in Secrets."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.apiserver.servers import Home, Kubectl

from weft.adapters import clock
from weft.adapters.kube.access import Access
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import NODES, PODS, SECRETS, SERVICEACCOUNTS
from weft.cluster import controllers

HERE = "default"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@pytest.fixture(autouse=True)
async def accounts(kube: Kube) -> None:
    for name in ("default", "bot"):
        await kube.create(SERVICEACCOUNTS, {"metadata": {"name": name, "namespace": HERE}})


async def issue(kube: Kube, name: str = "bot", **spec: Any) -> Any:
    path = f"/api/v1/namespaces/{HERE}/serviceaccounts/{name}/token"
    return (await kube.post(path, {"spec": spec}))["status"]["token"]


async def review(kube: Kube, token: str) -> Any:
    return (await kube.post(REVIEWS, {"spec": {"token": token}}))["status"]


async def test_a_token_lives_ten_minutes_at_least(kubectl: Kubectl, kube: Kube) -> None:
    refused = await kubectl("create", "token", "bot", "--duration=1m", ok=False)
    assert (
        "spec.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes" in refused.err
    )
    with pytest.raises(ApiError, match="may not specify a duration larger than"):
        await issue(kube, expirationSeconds=(1 << 32) + 1)
    assert (await kubectl("create", "token", "bot", "--duration=10m")).out.count(".") == 2
    missing = await kubectl("create", "token", "nobody", ok=False)
    assert 'serviceaccounts "nobody" not found' in missing.err


@pytest.mark.parametrize("kind", ["Secret", "Node"])
async def test_a_token_goes_with_what_it_is_bound_to(kube: Kube, kind: str) -> None:
    what = {"Secret": SECRETS, "Node": NODES}[kind]
    where = HERE if what.namespaced else ""
    await kube.create(what, {"metadata": {"name": "held", **({"namespace": where} if where else {})}})
    token = await issue(kube, boundObjectRef={"kind": kind, "apiVersion": "v1", "name": "held"})
    assert (await review(kube, token))["authenticated"]
    await kube.delete(what, "held", where)
    assert "is gone" in (await review(kube, token))["error"]


async def test_a_token_goes_with_its_account_and_is_not_the_next_ones(kube: Kube) -> None:
    token = await issue(kube)
    await kube.delete(SERVICEACCOUNTS, "bot", HERE)
    await kube.create(SERVICEACCOUNTS, {"metadata": {"name": "bot", "namespace": HERE}})
    assert "is gone" in (await review(kube, token))["error"]


async def test_a_token_is_bound_only_to_what_fits(kube: Kube) -> None:
    spec = {"containers": [{"name": "c", "image": "x:1"}]}
    await kube.create(PODS, {"metadata": {"name": "p", "namespace": HERE}, "spec": spec})
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "p"}
    for reference, why in (
        (bound, "to pod running with different serviceaccount name"),
        ({**bound, "name": "q"}, 'pods "q" not found'),
        ({**bound, "uid": "other"}, "does not match the UID in record"),
        ({**bound, "kind": "Service"}, "cannot bind token to object of type v1, Kind=Service"),
    ):
        with pytest.raises(ApiError, match=why):
            await issue(kube, boundObjectRef=reference)


@pytest.fixture
async def controlled(kube: Kube, home: Home, tmp_path: Path, accounts: None) -> AsyncIterator[Kube]:
    run = controllers.run(kube, clock=clock.now, volumes=tmp_path / "volumes", signing=home.signing)
    running = asyncio.create_task(run)
    yield kube
    running.cancel()
    await asyncio.wait([running])


async def test_a_secret_holds_a_lasting_token_for_its_account(controlled: Kube, home: Home) -> None:
    marks = {"kubernetes.io/service-account.name": "bot"}
    secret = {
        "metadata": {"name": "bot", "namespace": HERE, "annotations": marks},
        "type": "kubernetes.io/service-account-token",
    }
    await controlled.create(SECRETS, secret)
    async with asyncio.timeout(20):
        while not (found := await controlled.get(SECRETS, "bot", HERE)).get("data"):
            await asyncio.sleep(0.02)
    data = {key: base64.b64decode(value).decode() for key, value in found["data"].items()}
    assert (data["namespace"], data["ca.crt"]) == (HERE, home.access.ca)
    async with Kube(Access(server=home.access.server, ca=data["ca.crt"], token=data["token"])) as bot:
        who = (await bot.post(WHO, {}))["status"]["userInfo"]
        assert who["username"] == "system:serviceaccount:default:bot"
    await controlled.delete(SERVICEACCOUNTS, "bot", HERE)
    async with asyncio.timeout(20):
        while [one for one in await controlled.list(SECRETS, HERE) if one["metadata"]["name"] == "bot"]:
            await asyncio.sleep(0.02)
    assert "is gone" in (await review(controlled, data["token"]))["error"]
