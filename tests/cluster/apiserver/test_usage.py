"""metrics.k8s.io, made of kubelets' answers: what `kubectl top` shows."""

import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from tests.cluster.apiserver.servers import Home, Kubectl

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import NODES, PODS, SERVICEACCOUNTS

USE = {
    "at": 1795233138.6,
    "window": 15.25,
    "cores": 0.5,
    "memory": 2 << 30,
    "pods": [
        {
            "namespace": "default",
            "name": "web",
            "containers": [
                {"name": "one", "cores": 0.25, "memory": 64 << 20},
                {"name": "two", "cores": 0.0125, "memory": 1 << 20},
            ],
        }
    ],
}


@pytest.fixture
async def kubelet(home: Home) -> AsyncIterator[int]:
    """A kubelet's HTTPS server that answers what is used; its port."""
    home.authority.issue("kubelet", "system:node:n1", ("system:nodes",), ("127.0.0.1",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(home.path / "pki" / "kubelet.crt", home.path / "pki" / "kubelet.key")

    async def use(_request: web.Request) -> web.Response:
        return web.json_response(USE)

    app = web.Application()
    app.router.add_get("/resourceUse", use)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield int(runner.addresses[0][1])
    await runner.cleanup()


async def node(kube: Kube, name: str, port: int) -> None:
    await kube.create(NODES, {"metadata": {"name": name, "labels": {"disk": name}}})
    status: dict[str, Any] = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "allocatable": {"cpu": "2", "memory": "4Gi"},
        "capacity": {"cpu": "2", "memory": "4Gi"},
    }
    await kube.patch(NODES, name, {"status": status}, subresource="status")


async def pod(kube: Kube, name: str) -> None:
    spec = {"nodeName": "n1", "containers": [{"name": "one", "image": "x"}, {"name": "two", "image": "x"}]}
    await kube.create(PODS, {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}, "default")


async def test_kubectl_top_shows_nodes_and_pods_at_the_first_try(
    kube: Kube, kubectl: Kubectl, old_kubectl: Kubectl, kubelet: int
) -> None:
    await kube.create(SERVICEACCOUNTS, {"metadata": {"name": "default"}}, "default")
    await node(kube, "n1", kubelet)
    await pod(kube, "web")
    await pod(kube, "not-begun")
    for top in (kubectl, old_kubectl):
        assert (await top("top", "node", "--no-headers")).out.split() == ["n1", "500m", "25%", "2048Mi", "50%"]
        assert (await top("top", "pod", "--no-headers")).out.split() == ["web", "263m", "65Mi"]
    apart = (await kubectl("top", "pod", "web", "--containers", "--no-headers")).out.split("\n")
    assert [line.split() for line in apart if line] == [
        ["web", "one", "250m", "64Mi"],
        ["web", "two", "13m", "1Mi"],
    ]
    assert "No resources found" in (await kubectl("top", "pod", "-l", "app=other")).err
    missing = await kubectl("top", "pod", "not-begun", ok=False)
    assert 'podmetrics.metrics.k8s.io "default/not-begun" not found' in missing.err
    assert (await kubectl("get", "pods.metrics.k8s.io", "--no-headers")).out.split() == [
        "web",
        "262500u",
        "65Mi",
        "15.250s",
    ]


async def test_a_node_whose_kubelet_is_silent_is_left_out(kube: Kube, kubectl: Kubectl, kubelet: int) -> None:
    await node(kube, "n1", kubelet)
    await node(kube, "n2", 1)
    listed = json.loads(await kube.fetch("/apis/metrics.k8s.io/v1beta1/nodes"))["items"]
    (one,) = listed
    assert one["metadata"]["labels"] == {"disk": "n1"}
    assert (one["usage"], one["window"]) == ({"cpu": "500000000n", "memory": "2097152Ki"}, "15.250s")
    refused = await kubectl("top", "node", "n2", ok=False)
    assert 'nodemetrics.metrics.k8s.io "n2" not found' in refused.err
    with pytest.raises(ApiError):
        await kube.post("/apis/metrics.k8s.io/v1beta1/nodes", {})
