"""The rights that istiod is installed with, held against what it asks the API server for: those, and no others."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiohttp import web
from tests.processes.controlplane.clients import proxies
from tests.processes.controlplane.cluster import Cluster
from tests.processes.controlplane.test_istiod import (
    ROOT,
    create_certificate,
    namespace,
    rooted,
    running,
    tls,
    virtual_service,
    webhook_configuration,
)
from tests.support.proto import discovery_pb2

from weft.adapters.keys import new_key
from weft.adapters.kube.kinds import ISTIO
from weft.cluster.apiserver import paths, rules
from weft.cluster.apiserver.actions import Action
from weft.install import rights
from weft.model.auto_registration import ASKED
from weft.pki import request
from weft.xds.resource import CLUSTER, SECRET

Json = dict[str, Any]
SYSTEM = "istio-system"
VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete", "PUT": "update"}
ELSEWHERE = {
    "delete workloadentries": "a workload that is gone for good (test_registering.py)",
    "get pods": "the pod of a node proxy (test_issuing.py)",
    "patch secrets": "the authority's succession (test_authority.py)",
    "patch events": "an event that comes again (test_events.py)",
    "get events": "an event that comes again (test_events.py)",
    "patch workloadentries/status": "a workload's health (test_registering.py)",
    "get ingresses": "what is wrong with one (test_events.py)",
    "patch ingresses/status": "where one is served (tests/e2e/test_walkthrough_ingress.py)",
}
"""What takes more of a cluster than there is here, by verb and resource: where it is asked for under test."""


MESH = {kind.plural for kind in ISTIO.values()}


class Judging(Cluster):
    """Allows what istiod's rules do, and notes which parts of them were needed, and what was refused."""

    def __init__(self) -> None:
        super().__init__()
        made = rights.rights(SYSTEM, {}, untaint=True)
        roles = {one["kind"]: one["rules"] for one in made if one["kind"] in {"ClusterRole", "Role"}}
        self.everywhere, self.own = list(parts(roles["ClusterRole"])), list(parts(roles["Role"]))
        self.needed: list[Json] = []
        self.refused: list[Action] = []

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/version":  # it is told to everybody (ClusterRole system:public-info-viewer)
            return await super()._answer(request)
        action = asked(request)
        held = [*self.everywhere, *(self.own if action.namespace == SYSTEM else [])]
        fitting = [each for each in held if rules.permits(each, action)]
        if not fitting:
            self.refused.append(action)
            return web.json_response({"code": 403, "reason": "Forbidden"}, status=403)
        self.needed += fitting
        self.changed.set()  # whoever waits looks again
        self.changed = asyncio.Event()
        path = request.path.removesuffix("/status")
        if request.method == "PATCH" and path in self.objects and path != request.path:
            return web.json_response(self.objects[path])
        return await super()._answer(request)


def parts(held: list[Json]) -> Iterator[Json]:
    """Rules of one resource and one verb each."""
    for rule in held:
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                yield {**rule, "resources": [resource], "verbs": [verb]}


def asked(request: web.Request) -> Action:
    """What a request asks for, as the API server's authorizer sees it."""
    path = paths.parse(request.path)
    assert path is not None, request.path
    verb = VERBS.get(request.method, "get" if path.name else "watch" if request.query.get("watch") else "list")
    resource = f"{path.plural}/{path.subresource}" if path.subresource else path.plural
    only = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
    return Action(verb, path.group, resource, path.namespace, path.name or only)


def objects() -> Iterator[Json]:
    """Something of everything that istiod does something about."""
    yield from (namespace(name) for name in (SYSTEM, "shop"))
    yield webhook_configuration("MutatingWebhookConfiguration", "sidecar-injector")
    yield webhook_configuration("ValidatingWebhookConfiguration", "istiod")
    yield virtual_service("5s", host="nobody")
    spec = {"hosts": ["far.example"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]}
    meta = {"name": "far", "namespace": "shop"}
    kind = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry"}
    yield {**kind, "metadata": meta, "spec": {**spec, "resolution": "DNS", "location": "MESH_EXTERNAL"}}
    group = {"apiVersion": "networking.istio.io/v1", "kind": "WorkloadGroup"}
    template = {"template": {"serviceAccount": "web"}}
    yield from untainted_when_ready()
    yield {**group, "metadata": {"name": "vms", "namespace": "shop"}, "spec": template}


def untainted_when_ready() -> Iterator[Json]:
    """A node that waits for its node process, which is ready."""
    taint = {"key": "cni.istio.io/not-ready", "effect": "NoSchedule"}
    yield {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "one"}, "spec": {"taints": [taint]}}
    meta = {"name": "istio-cni-node-1", "namespace": SYSTEM, "labels": {"k8s-app": "istio-cni-node"}}
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    yield {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"nodeName": "one"}, "status": status}


def test_nodes_are_changed_only_by_an_istiod_that_opens_them() -> None:
    def roles(*, untaint: bool) -> set[str]:
        made = rights.rights(SYSTEM, {}, untaint=untaint)
        return {named(each) for one in made if "rules" in one for each in parts(one["rules"])}

    assert roles(untaint=True) - roles(untaint=False) == {"patch nodes"}


async def test_istiod_has_every_right_that_it_needs_and_none_that_it_does_not(tmp_path: Path) -> None:
    cluster = Judging()
    for one in objects():
        cluster.put(one)
    cluster.tokens["good"] = "system:serviceaccount:shop:web"
    cluster.readers.add(("system:serviceaccount:shop:web", "shop"))
    on = {"PILOT_ENABLE_NODE_UNTAINT_CONTROLLERS": "true"}
    async with (
        cluster.serving(),
        running(cluster.kubeconfig(tmp_path / "kubeconfig"), tmp_path, environment=on) as istiod,
    ):
        root = await rooted(cluster)
        cluster.put({**cluster.objects[ROOT], "apiVersion": "v1", "kind": "ConfigMap", "data": {}})
        await create_certificate(istiod, root, "good", request.sign(new_key()))
        address = f"127.0.0.1:{istiod.ports['secureGRPCAddr']}"
        metadata = {"NAMESPACE": "shop", ASKED: "vms"}
        connecting = proxies(address, ["vm.shop"], metadata=metadata, token="good", **tls(root))
        async with connecting as (proxy,):
            async with asyncio.timeout(30), proxy.got:
                await proxy.got.wait_for(lambda: CLUSTER in proxy.has)
            secret = discovery_pb2.DeltaDiscoveryRequest(
                type_url=SECRET, resource_names_subscribe=["kubernetes://web"]
            )
            await proxy.call.write(secret.SerializeToString())
            await cluster.until(
                lambda: "create subjectaccessreviews" in {named(each) for each in cluster.needed}, 30
            )

        def missing() -> set[str]:
            needed = cluster.needed
            return {named(each) for each in (*cluster.everywhere, *cluster.own) if each not in needed}

        def unexplained() -> set[str]:
            return {each for each in missing() - ELSEWHERE.keys() if not is_reading_again(each)}

        try:
            await cluster.until(lambda: not unexplained() and "get virtualservices" not in missing(), 30)
        except TimeoutError:
            assert unexplained() == set()
            raise
    assert cluster.refused == []


def is_reading_again(right: str) -> bool:
    """Whether it is that to read a rule again when something is wrong with it: one kind stands for all."""
    verb, _, resource = right.partition(" ")
    return verb == "get" and resource in MESH


def named(part: Json) -> str:
    return f"{part['verbs'][0]} {part['resources'][0]}"
