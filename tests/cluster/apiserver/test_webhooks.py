"""Webhooks beyond the first call: called again, in other versions, for deletions and connections, on dry runs."""

import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from tests.cluster.apiserver.servers import Home, Kubectl
from tests.cluster.apiserver.test_kubectl import CRD

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import CONFIGMAPS, PODS, SERVICEACCOUNTS

HERE = "default"
_GROUP = "/apis/admissionregistration.k8s.io/v1"
Answer = Callable[[dict[str, Any]], list[dict[str, Any]] | str | None]
"""From a request to a patch, a refusal, or neither."""


@dataclass
class Hooks:
    """A server of webhooks; each path answers by a function, and every review is kept."""

    kube: Kube
    origin: str
    authority: str
    answers: dict[str, Answer] = field(default_factory=dict)
    reviews: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        review = json.loads(await request.read())
        self.reviews.append((request.path, review))
        asked = review["request"]
        response: dict[str, Any] = {"uid": asked["uid"], "allowed": True}
        match self.answers[request.path](asked):
            case str() as refusal:
                response |= {"allowed": False, "status": {"message": refusal}}
            case list() as patch:
                packed = base64.b64encode(json.dumps(patch).encode()).decode()
                response |= {"patch": packed, "patchType": "JSONPatch"}
            case _:
                pass
        return web.json_response({**review, "request": None, "response": response})

    async def add(
        self, name: str, answer: Answer, rule: dict[str, Any], sort: str = "mutating", **more: Any
    ) -> dict[str, Any]:
        self.answers[f"/{name}"] = answer
        rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], **rule}]
        webhook = {
            "name": f"{name}.example.com",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "rules": rules,
            "clientConfig": {"url": f"{self.origin}/{name}", "caBundle": self.authority},
            **more,
        }
        body = {"metadata": {"name": name}, "webhooks": [webhook]}
        found: dict[str, Any] = await self.kube.call("POST", f"{_GROUP}/{sort}webhookconfigurations", body=body)
        return found

    def seen(self, name: str) -> list[dict[str, Any]]:
        return [review["request"] for path, review in self.reviews if path == f"/{name}"]


@pytest.fixture
async def hooks(home: Home, kube: Kube) -> AsyncIterator[Hooks]:
    home.authority.issue("hook", "hook", sans=("127.0.0.1",))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(home.path / "pki/hook.crt", home.path / "pki/hook.key")
    bundle = base64.b64encode((home.path / "pki/ca.crt").read_bytes()).decode()
    found = Hooks(kube, "", bundle)
    app = web.Application()
    app.router.add_post("/{path:.*}", found.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    found.origin = f"https://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


def config_map(name: str = "c", **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": HERE}, "data": {"a": "a", **data}}


def count(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Write down how many keys there are."""
    size = str(len([key for key in request["object"]["data"] if key != "size"]))
    return [{"op": "add", "path": "/data/size", "value": size}]


def add_key(_: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"op": "add", "path": "/data/b", "value": "b"}]


@pytest.mark.parametrize(("policy", "size", "calls"), [("IfNeeded", "2", 2), ("Never", "1", 1)])
async def test_a_webhook_that_wants_to_sees_what_later_ones_changed(
    hooks: Hooks, kube: Kube, policy: str, size: str, calls: int
) -> None:
    rule = {"resources": ["configmaps"]}
    await hooks.add("a-counts", count, rule, reinvocationPolicy=policy)
    await hooks.add("b-adds", add_key, rule)
    made = await kube.create(CONFIGMAPS, config_map())
    assert made["data"] == {"a": "a", "b": "b", "size": size}
    assert (len(hooks.seen("a-counts")), len(hooks.seen("b-adds"))) == (calls, 1)


@pytest.mark.parametrize(("policy", "calls"), [("Equivalent", 1), ("Exact", 0)])
async def test_a_webhook_for_one_version_sees_the_writes_of_another(
    hooks: Hooks, kube: Kube, kubectl: Kubectl, policy: str, calls: int
) -> None:
    await kubectl("apply", "-f", "-", stdin=CRD)
    rule = {"apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["widgets"]}
    paint = [{"op": "replace", "path": "/spec/size", "value": 7}]
    await hooks.add("paint", lambda _: paint, rule, matchPolicy=policy)
    path = f"/apis/example.com/v1beta1/namespaces/{HERE}/widgets"
    made = await kube.call("POST", path, body={"metadata": {"name": "w"}, "spec": {"size": 3}})
    assert made["apiVersion"] == "example.com/v1beta1"
    assert made["spec"]["size"] == (7 if calls else 3)
    for request in hooks.seen("paint"):
        assert request["object"]["apiVersion"] == "example.com/v1"
        assert (request["kind"]["version"], request["requestKind"]["version"]) == ("v1", "v1beta1")
    assert len(hooks.seen("paint")) == calls


async def test_deletions_pass_mutating_webhooks_that_cannot_change_them(hooks: Hooks, kube: Kube) -> None:
    await hooks.add("guard", lambda _: "stays", {"operations": ["DELETE"], "resources": ["configmaps"]})
    await kube.create(CONFIGMAPS, config_map())
    with pytest.raises(ApiError, match=r'"guard\.example\.com" denied the request: stays'):
        await kube.delete(CONFIGMAPS, "c", HERE)
    hooks.answers["/guard"] = add_key
    with pytest.raises(ApiError, match="attempted to modify the object, which is not supported"):
        await kube.delete(CONFIGMAPS, "c", HERE)
    hooks.answers["/guard"] = lambda _: None
    await kube.delete(CONFIGMAPS, "c", HERE)
    request = hooks.seen("guard")[-1]
    assert (request["object"], request["oldObject"]["data"]) == (None, {"a": "a"})


async def test_a_webhook_that_knows_only_the_older_review_gets_it(hooks: Hooks, kube: Kube) -> None:
    await hooks.add("old", add_key, {"resources": ["configmaps"]}, admissionReviewVersions=["v1alpha7", "v1beta1"])
    assert (await kube.create(CONFIGMAPS, config_map()))["data"]["b"] == "b"
    assert hooks.reviews[0][1]["apiVersion"] == "admission.k8s.io/v1beta1"


async def test_a_dry_run_is_told_and_refused_where_the_webhook_has_side_effects(hooks: Hooks, kube: Kube) -> None:
    path = f"/api/v1/namespaces/{HERE}/configmaps"
    await hooks.add("calm", lambda _: None, {"resources": ["configmaps"]}, sideEffects="NoneOnDryRun")
    await kube.call("POST", path, body=config_map(), query={"dryRun": "All"})
    assert hooks.seen("calm")[0]["dryRun"] is True
    with pytest.raises(ApiError, match=r"sideEffects: Unsupported value: .*None.*NoneOnDryRun"):
        await hooks.add("wild", lambda _: None, {"resources": ["configmaps"]}, sideEffects="Some")
    with pytest.raises(ApiError, match="admissionReviewVersions"):
        await hooks.add("odd", lambda _: None, {"resources": ["configmaps"]}, admissionReviewVersions=["v7"])


async def test_connections_to_pods_are_asked_about_with_their_options(
    hooks: Hooks, kube: Kube, kubectl: Kubectl
) -> None:
    await kube.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": HERE}})
    spec = {"containers": [{"name": "c", "image": "x"}], "nodeName": "n"}
    await kube.create(PODS, {"metadata": {"name": "p", "namespace": HERE}, "spec": spec})
    rule = {"operations": ["CONNECT"], "resources": ["pods/exec", "pods/portforward"]}
    await hooks.add("door", lambda _: "no entry", rule, sort="validating")
    refused = await kubectl("exec", "-i", "p", "-c", "c", "--", "ls", "-l", ok=False)
    assert 'admission webhook "door.example.com" denied the request: no entry' in refused.err
    request = hooks.seen("door")[0]
    assert request["kind"] == {"group": "", "version": "v1", "kind": "PodExecOptions"}
    assert (request["operation"], request["name"], request["subResource"]) == ("CONNECT", "p", "exec")
    assert request["object"]["command"] == ["ls", "-l"]
    assert request["object"]["stdin"] is True
