"""Pods on their way in: what the server adds, what webhooks change, and webhooks that are down."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from tests.cluster.apiserver.servers import Home, Kubectl, free_port

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import ENDPOINTSLICES, MUTATINGWEBHOOKS, NAMESPACES, PODS, SERVICEACCOUNTS, SERVICES

POD: dict[str, Any] = {
    "metadata": {"generateName": "p-", "namespace": "in", "labels": {"app": "x"}},
    "spec": {"containers": [{"name": "c", "image": "nginx:1.25.3"}]},
}
MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


@pytest.fixture
async def namespace(kube: Kube) -> str:
    await kube.create(NAMESPACES, {"metadata": {"name": "in", "labels": {"inject": "yes"}}})
    await kube.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": "in"}})
    return "in"


class Injector:
    """A webhook that adds an init container, or refuses, or hangs."""

    def __init__(self) -> None:
        self.reviews: list[dict[str, Any]] = []
        self.mood = "inject"

    async def handle(self, request: web.Request) -> web.Response:
        review = json.loads(await request.read())
        self.reviews.append(review)
        if self.mood == "hang":
            await asyncio.sleep(20)
        response: dict[str, Any] = {"uid": review["request"]["uid"], "allowed": self.mood != "refuse"}
        if self.mood == "refuse":
            response["status"] = {"message": "not today", "code": 403}
        elif self.mood == "inject":
            patch = [{"op": "add", "path": "/spec/initContainers", "value": [{"name": "i", "image": "x:1"}]}]
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
            response["warnings"] = ["injected, be warned"]
        return web.json_response(
            {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
        )


@pytest.fixture
async def injector(home: Home, kube: Kube, namespace: str) -> AsyncIterator[Injector]:
    injector, port = Injector(), free_port()
    home.authority.issue("hook", "hook", sans=("hook.in.svc",))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(home.path / "pki/hook.crt", home.path / "pki/hook.key")
    app = web.Application()
    app.router.add_post("/inject", injector.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    await kube.create(
        SERVICES,
        {"metadata": {"name": "hook", "namespace": "in"}, "spec": {"ports": [{"name": "h", "port": 443}]}},
    )
    await kube.create(
        ENDPOINTSLICES,
        {
            "metadata": {"name": "hook", "namespace": "in", "labels": {"kubernetes.io/service-name": "hook"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
            "ports": [{"name": "h", "port": port}],
        },
    )
    await kube.create(MUTATINGWEBHOOKS, configuration(home))
    yield injector
    await runner.cleanup()


def configuration(home: Home) -> dict[str, Any]:
    return {
        "metadata": {"name": "injector"},
        "webhooks": [
            {
                "name": "inject.example.com",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "timeoutSeconds": 1,
                "namespaceSelector": {"matchLabels": {"inject": "yes"}},
                "rules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                ],
                "clientConfig": {
                    "caBundle": base64.b64encode((home.path / "pki/ca.crt").read_bytes()).decode(),
                    "service": {"name": "hook", "namespace": "in", "path": "/inject"},
                },
            }
        ],
    }


async def test_a_pod_gets_its_account_token_and_defaults(kube: Kube, namespace: str) -> None:
    pod = await kube.create(PODS, POD)
    spec = pod["spec"]
    assert spec["serviceAccountName"] == "default"
    mount = spec["containers"][0]["volumeMounts"][0]
    assert mount["mountPath"] == MOUNT
    assert mount["name"].startswith("kube-api-access-")
    assert [volume["name"] for volume in spec["volumes"]] == [mount["name"]]
    assert {toleration["key"] for toleration in spec["tolerations"]} == {
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    }
    assert (spec["priority"], spec["enableServiceLinks"], spec["dnsPolicy"]) == (0, True, "ClusterFirst")
    assert pod["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert len(pod["metadata"]["name"]) == len("p-") + 5


async def test_a_webhook_adds_a_container_that_gets_the_token_too(
    kube: Kube, injector: Injector, kubectl: Kubectl
) -> None:
    pod = await kube.create(PODS, POD)
    assert pod["spec"]["initContainers"][0]["volumeMounts"][0]["mountPath"] == MOUNT
    assert pod["spec"]["initContainers"][0]["imagePullPolicy"] == "IfNotPresent"
    request = injector.reviews[0]["request"]
    assert (request["operation"], request["namespace"], request["userInfo"]["username"]) == (
        "CREATE",
        "in",
        "kubernetes-admin",
    )
    warned = await kubectl("run", "-n", "in", "w", "--image=nginx:1")
    assert "Warning: injected, be warned" in warned.err


async def test_a_webhooks_refusal_is_the_users_error(injector: Injector, kubectl: Kubectl) -> None:
    injector.mood = "refuse"
    refused = await kubectl("run", "-n", "in", "w", "--image=nginx:1", ok=False)
    assert 'admission webhook "inject.example.com" denied the request: not today' in refused.err


async def test_a_webhook_that_hangs_fails_only_what_it_guards(kube: Kube, injector: Injector) -> None:
    injector.mood = "hang"
    waiting = asyncio.create_task(kube.create(PODS, POD))
    await asyncio.sleep(0.1)
    assert (await kube.get(NAMESPACES, "in"))["status"]["phase"] == "Active"
    with pytest.raises(ApiError, match=r'failed calling webhook "inject\.example\.com"'):
        await waiting
    hooks = await kube.get(MUTATINGWEBHOOKS, "injector")
    hooks["webhooks"][0]["failurePolicy"] = "Ignore"
    await kube.replace(MUTATINGWEBHOOKS, hooks)
    assert "initContainers" not in (await kube.create(PODS, POD))["spec"]
