"""istiod as a process, against an API: its authority, its webhooks, its proxies."""

import asyncio
import base64
import contextlib
import json
import os
import ssl
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from tests.processes.controlplane.clients import proxies
from tests.processes.controlplane.cluster import Cluster
from tests.processes.controlplane.meshes import free_port

from weft.adapters.keys import new_key
from weft.cli import proxy_status
from weft.pki import identity, messages, pem, request
from weft.pki.identity import SpiffeId
from weft.xds.resource import CLUSTER, LISTENER, ROUTE

NAMESPACES = "/api/v1/namespaces"
ROOT = f"{NAMESPACES}/shop/configmaps/istio-ca-root-cert"


def namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "status": {"phase": "Active"}}


def pod(name: str, address: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": "web", "version": name}},
        "spec": {"serviceAccountName": "web", "containers": [{"name": "web"}]},
        "status": {"phase": "Running", "podIP": address},
    }


SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {
        "clusterIP": "10.96.1.1",
        "selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": 80}],
    },
}
SLICE = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
    "addressType": "IPv4",
    "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
    "endpoints": [
        {
            "addresses": [f"10.244.0.{number}"],
            "conditions": {"ready": True},
            "targetRef": {"kind": "Pod", "name": f"v{number}", "namespace": "shop"},
        }
        for number in (1, 2)
    ],
}


def virtual_service(timeout: str, host: str = "web") -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "hosts": ["web"],
            "http": [{"timeout": timeout, "route": [{"destination": {"host": host}}]}],
        },
    }


def webhook_configuration(kind: str, app: str) -> dict[str, Any]:
    service = {"name": "istiod", "namespace": "istio-system", "path": "/inject", "port": 443}
    other = {"name": "other", "namespace": "istio-system"}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": f"istio-{app}", "labels": {"app": app}},
        "webhooks": [
            {"name": "other.example.com", "clientConfig": {"service": other, "caBundle": "other"}},
            {"name": "ours.istio.io", "clientConfig": {"service": service}},
        ],
    }


@dataclass
class Istiod:
    """A running istiod: its ports by name, its log."""

    process: asyncio.subprocess.Process
    ports: dict[str, int]
    log: Path

    def url(self, port: str, path: str) -> str:
        return f"http://127.0.0.1:{self.ports[port]}{path}"

    async def get(self, path: str) -> Any:
        async with aiohttp.ClientSession() as session, session.get(self.url("monitoringAddr", path)) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def is_ready(self) -> bool:
        async with aiohttp.ClientSession() as session:
            try:
                async with session.get(self.url("httpAddr", "/ready")) as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False

    def memory(self) -> int:
        """Resident memory in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) // 1024


@contextlib.asynccontextmanager
async def running(
    config: Path, folder: Path, *, plaintext: str = "", environment: Mapping[str, str] | None = None
) -> AsyncIterator[Istiod]:
    """istiod on free ports, ready; `plaintext` is another address for plaintext xDS."""
    names = ("grpcAddr", "secureGRPCAddr", "httpsAddr", "monitoringAddr", "httpAddr")
    ports = {name: free_port() for name in names}
    arguments = [f"--{name}=127.0.0.1:{port}" for name, port in ports.items()]
    arguments += [f"--grpcAddr={plaintext}"] if plaintext else []
    log = folder / "istiod.log"
    with log.open("ab") as output:
        command = (sys.executable, "-m", "weft", "controlplane", "discovery", f"--kubeconfig={config}", *arguments)
        process = await asyncio.create_subprocess_exec(
            *command, stdout=output, stderr=output, env={**os.environ, **(environment or {})}
        )
    them = Istiod(process, ports, log)
    try:
        deadline = time.monotonic() + 60
        while not await them.is_ready():
            assert time.monotonic() < deadline, log.read_text()
            assert process.returncode is None, log.read_text()
            await asyncio.sleep(0.05)
        yield them
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    one = Cluster()
    for name in ("istio-system", "shop"):
        one.put(namespace(name))
    for number in (1, 2):
        one.put(pod(f"v{number}", f"10.244.0.{number}"))
    one.put(SERVICE)
    one.put(SLICE)
    one.put(virtual_service("5s"))
    one.put(webhook_configuration("MutatingWebhookConfiguration", "sidecar-injector"))
    one.put(webhook_configuration("ValidatingWebhookConfiguration", "istiod"))
    one.tokens["good"] = "system:serviceaccount:shop:web"
    one.objects["/version"] = {"major": "1", "minor": "29"}
    async with one.serving():
        yield one


@pytest.fixture
async def istiod(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Istiod]:
    async with running(cluster.kubeconfig(tmp_path / "kubeconfig"), tmp_path) as them:
        yield them


def root_of(cluster: Cluster) -> str:
    return str(cluster.objects[ROOT]["data"]["root-cert.pem"])


async def rooted(cluster: Cluster) -> str:
    await cluster.until(lambda: ROOT in cluster.objects)
    return root_of(cluster)


def tls(root: str) -> dict[str, Any]:
    """Arguments for a channel that trusts only the mesh's root, and expects istiod's name."""
    return {
        "credentials": grpc.ssl_channel_credentials(root.encode()),
        "options": [("grpc.ssl_target_name_override", "istiod.istio-system.svc")],
    }


async def test_the_root_is_published_in_every_namespace_and_kept_true(cluster: Cluster, istiod: Istiod) -> None:
    root = await rooted(cluster)
    secret = cluster.objects[f"{NAMESPACES}/istio-system/secrets/istio-ca-secret"]
    assert base64.b64decode(secret["data"]["root-cert.pem"]).decode() == root
    cluster.put(namespace("late"))
    late = f"{NAMESPACES}/late/configmaps/istio-ca-root-cert"
    await cluster.until(lambda: late in cluster.objects)
    cluster.put(
        {**cluster.objects[ROOT], "apiVersion": "v1", "kind": "ConfigMap", "data": {"root-cert.pem": "forged"}}
    )
    await cluster.until(lambda: root_of(cluster) == root)
    cluster.remove(late)
    await cluster.until(lambda: late in cluster.objects)
    assert cluster.objects[late]["data"] == {"root-cert.pem": root}


async def test_our_webhooks_and_no_others_get_the_root(cluster: Cluster, istiod: Istiod) -> None:
    expected = base64.b64encode((await rooted(cluster)).encode()).decode()
    base = "/apis/admissionregistration.k8s.io/v1"
    for path in (
        f"{base}/mutatingwebhookconfigurations/istio-sidecar-injector",
        f"{base}/validatingwebhookconfigurations/istio-istiod",
    ):

        def bundles(path: str = path) -> list[str | None]:
            return [one["clientConfig"].get("caBundle") for one in cluster.objects[path]["webhooks"]]

        await cluster.until(lambda bundles=bundles: bundles() == ["other", expected])
        # an installer applies its manifest again
        cluster.put(webhook_configuration(cluster_kind(path), path.rpartition("istio-")[2]))
        await cluster.until(lambda bundles=bundles: bundles() == ["other", expected])


def cluster_kind(path: str) -> str:
    return "MutatingWebhookConfiguration" if "/mutating" in path else "ValidatingWebhookConfiguration"


async def create_certificate(istiod: Istiod, root: str, token: str, csr: str) -> tuple[str, ...]:
    arguments = tls(root)
    address = f"127.0.0.1:{istiod.ports['secureGRPCAddr']}"
    async with grpc.aio.secure_channel(address, arguments["credentials"], options=arguments["options"]) as channel:
        method: Any = channel.unary_unary(f"/{messages.SERVICE}/{messages.METHOD}")
        body = messages.encode_request(messages.CertificateRequest(csr, timedelta(hours=24)))
        answer = await method(body, metadata=[("authorization", f"Bearer {token}")])
        decoded = messages.decode_response(answer)
        return (*decoded.chain, decoded.trusted.roots)


async def test_a_workload_gets_a_certificate_for_who_its_token_says(cluster: Cluster, istiod: Istiod) -> None:
    root = await rooted(cluster)
    chain = await create_certificate(istiod, root, "good", request.sign(new_key()))
    leaf = pem.load_certificate(chain[0])
    assert identity.of_certificate(leaf) == SpiffeId("cluster.local", "shop", "web")
    assert chain[-1] == root
    assert timedelta(hours=23) < leaf.not_valid_after_utc - datetime.now(UTC) <= timedelta(hours=24)
    leaf.verify_directly_issued_by(pem.load_certificate(root))


@pytest.mark.parametrize(
    ("token", "csr", "code"),
    [
        ("bad", "", grpc.StatusCode.UNAUTHENTICATED),
        ("good", "no request", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_nobody_else_gets_a_certificate(
    cluster: Cluster, istiod: Istiod, token: str, csr: str, code: grpc.StatusCode
) -> None:
    root = await rooted(cluster)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await create_certificate(istiod, root, token, csr)
    assert error.value.code() is code


async def test_a_proxy_with_a_good_token_is_served_over_tls_and_follows_a_rule(
    cluster: Cluster, istiod: Istiod
) -> None:
    arguments = tls(await rooted(cluster))
    address = f"127.0.0.1:{istiod.ports['secureGRPCAddr']}"
    metadata = {
        "NAMESPACE": "shop",
        "SERVICE_ACCOUNT": "web",
        "CLUSTER_ID": "Kubernetes",
        "ISTIO_VERSION": "0.1.0",
    }
    async with proxies(address, ["v1.shop"], metadata=metadata, token="good", **arguments) as (proxy,):
        async with asyncio.timeout(10), proxy.got:
            await proxy.got.wait_for(lambda: ROUTE in proxy.has)
        assert "outbound|80||web.shop.svc.cluster.local" in proxy.has[CLUSTER]
        assert "virtualInbound" in proxy.has[LISTENER]
        times = []
        for number in range(6, 16):
            before = dict(proxy.has[ROUTE])
            began = time.perf_counter()
            cluster.put(virtual_service(f"{number}s"))
            async with asyncio.timeout(10), proxy.got:
                await proxy.got.wait_for(partial(_differs, proxy.has[ROUTE], before))
            times.append(time.perf_counter() - began)
            await asyncio.sleep(0.02)
        assert sorted(times)[2] < 0.02, [f"{one * 1000:.1f} ms" for one in times]
        rows = proxy_status.rows(await istiod.get("/debug/syncz"))
        (row,) = rows
        assert (row.name, row.cds, row.lds, row.eds, row.rds, row.ecds) == (
            "v1.shop",
            *["SYNCED"] * 4,
            "NOT SENT",
        )
        dump = await istiod.get("/debug/config_dump?proxyID=v1.shop")
        assert any(one["name"] == "virtualInbound" and "resource" in one for one in dump["configs"])
        assert istiod.memory() < 110


def _differs(now: dict[str, str], before: dict[str, str]) -> bool:
    return now != before


async def test_a_proxy_of_no_known_pod_is_served_as_it_introduced_itself(cluster: Cluster, istiod: Istiod) -> None:
    metadata = {"NAMESPACE": "shop", "LABELS": {"app": "web"}}
    async with proxies(f"127.0.0.1:{istiod.ports['grpcAddr']}", ["vm.shop"], metadata=metadata) as (proxy,):
        async with asyncio.timeout(10), proxy.got:
            await proxy.got.wait_for(lambda: ROUTE in proxy.has)
        assert "inbound|80||" in proxy.has[CLUSTER] or "virtualInbound" in proxy.has[LISTENER]


async def test_a_port_that_is_taken_ends_istiod_with_a_sentence(cluster: Cluster, istiod: Istiod) -> None:
    config = cluster.kubeconfig(istiod.log.parent / "second")
    taken = f"127.0.0.1:{istiod.ports['grpcAddr']}"
    arguments = ("-m", "weft", "controlplane", "discovery", f"--kubeconfig={config}", f"--grpcAddr={taken}")
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stderr=asyncio.subprocess.PIPE)
    _, said = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    assert f"weft controlplane: cannot listen on {taken}" in said.decode()
    assert "Traceback" not in said.decode()


@pytest.mark.parametrize("token", ["", "bad"])
async def test_a_proxy_without_a_good_token_is_not_served(cluster: Cluster, istiod: Istiod, token: str) -> None:
    arguments = tls(await rooted(cluster))
    address = f"127.0.0.1:{istiod.ports['secureGRPCAddr']}"
    async with proxies(address, ["v1.shop"], token=token, run=False, **arguments) as (proxy,):
        assert await asyncio.wait_for(proxy.call.code(), 5) is grpc.StatusCode.UNAUTHENTICATED


async def test_the_webhooks_answer_over_tls_with_a_certificate_of_the_root(
    cluster: Cluster, istiod: Istiod
) -> None:
    context = ssl.create_default_context(cadata=await rooted(cluster))
    async with aiohttp.ClientSession() as session:

        async def review(path: str, obj: dict[str, Any], kind: str) -> dict[str, Any]:
            body = {
                "apiVersion": "admission.k8s.io/v1",
                "kind": "AdmissionReview",
                "request": {
                    "uid": "u",
                    "namespace": "shop",
                    "operation": "CREATE",
                    "kind": {"group": "networking.istio.io", "version": "v1", "kind": kind},
                    "object": obj,
                },
            }
            async with session.post(
                f"https://127.0.0.1:{istiod.ports['httpsAddr']}{path}",
                json=body,
                ssl=context,
                server_hostname="istiod.istio-system.svc",
            ) as answer:
                assert answer.status == 200, await answer.text()
                result: dict[str, Any] = (await answer.json())["response"]
                return result

        injected = await review("/inject", pod("new", "10.244.0.9"), "Pod")
        assert injected["allowed"]
        patch = {each["path"]: each["value"] for each in json.loads(base64.b64decode(injected["patch"]))}
        # such a cluster has native sidecars
        assert [one["name"] for one in patch["/spec/initContainers"]] == ["istio-init", "istio-proxy"]
        again = await review("/inject/cluster/Kubernetes/net/n1", pod("new", "10.244.0.9"), "Pod")
        assert again["allowed"]
        assert (await review("/validate", virtual_service("5s"), "VirtualService"))["allowed"]
        refused = await review("/validate", virtual_service("nonsense"), "VirtualService")
        assert not refused["allowed"]
        assert "timeout" in refused["status"]["message"]


async def test_a_problem_is_logged_once_when_it_appears_and_when_it_is_gone(
    cluster: Cluster, istiod: Istiod
) -> None:
    async def problems(present: bool) -> list[dict[str, Any]]:  # noqa: FBT001, said at each call
        deadline = time.monotonic() + 5
        while True:
            found: list[dict[str, Any]] = await istiod.get("/debug/problems")
            if any(one["code"] == "IST0101" for one in found) == present:
                return found
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.02)

    cluster.put(virtual_service("5s", host="nobody"))
    found = await problems(present=True)
    assert any("nobody" in one["text"] for one in found)
    cluster.put(virtual_service("7s", host="nobody"))
    cluster.put(virtual_service("5s"))
    await problems(present=False)
    log = istiod.log.read_text()
    assert log.count("WARNING weft.problems Error [IST0101]") == 1
    assert log.count("no longer: Error [IST0101]") == 1


async def test_a_restarted_istiod_keeps_its_authority(cluster: Cluster, tmp_path: Path) -> None:
    async with running(cluster.kubeconfig(tmp_path / "kubeconfig"), tmp_path):
        before = await rooted(cluster)
    cluster.remove(ROOT)
    async with running(cluster.kubeconfig(tmp_path / "kubeconfig"), tmp_path) as again:
        assert await rooted(cluster) == before
        text = await text_of(again.url("monitoringAddr", "/metrics"))
        assert "pilot_xds{" in text
        assert (await again.get("/version"))["version"]
    assert "the authority is that of Secret istio-system/istio-ca-secret" in again.log.read_text()


async def text_of(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.text()
