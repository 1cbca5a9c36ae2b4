"""istiod against the one-machine cluster's API server: tokens, webhooks, rules, and a restart of the server."""

import asyncio
import base64
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from tests.processes.controlplane.clients import FakeProxy, proxies
from tests.processes.controlplane.meshes import free_port
from tests.processes.controlplane.test_istiod import SERVICE, create_certificate, running, tls, virtual_service

from weft.adapters.keys import new_key
from weft.adapters.kube import kinds
from weft.adapters.kube.access import Access
from weft.adapters.kube.client import ApiError, Kube
from weft.cluster.machine import certificates
from weft.cluster.machine.layout import Layout
from weft.install.crds import crds
from weft.install.manifests import Settings, manifests
from weft.pki import identity, pem, request
from weft.pki.identity import SpiffeId
from weft.xds.resource import ROUTE

TOKENS = "/api/v1/namespaces/shop/serviceaccounts/web/token"


class ApiServer:
    """The API server as a process; it can be stopped and started again."""

    def __init__(self, home: Path) -> None:
        self.layout = Layout(home, api_port=free_port())
        certificates.ensure(self.layout)
        self.kubeconfig = self.layout.kubeconfig

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        bind = f"127.0.0.1:{self.layout.api_port}"
        arguments = ("-m", "weft", "apiserver", "--home", str(self.layout.home), "--bind", bind)
        with (self.layout.home / "api.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()


async def reachable(kube: Kube) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            await kube.list(kinds.NAMESPACES)
        except (ApiError, aiohttp.ClientError, OSError):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        else:
            return


async def found(what: Any, seconds: float = 10) -> Any:
    """Ask until there is an answer that holds something."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(ApiError):
            if answer := await what():
                return answer
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def token(kube: Kube, audience: str) -> str:
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [audience], "expirationSeconds": 3600},
    }
    return str((await kube.post(TOKENS, body))["status"]["token"])


async def follow(kube: Kube, proxy: FakeProxy, rule: str) -> None:
    """Give the rule this timeout, and wait until the proxy has other routes."""
    before = dict(proxy.has[ROUTE])
    await kube.patch(kinds.VIRTUALSERVICES, "web", {"spec": virtual_service(rule)["spec"]}, "shop")
    async with asyncio.timeout(10), proxy.got:
        await proxy.got.wait_for(partial(_has_other, proxy, before))


def _has_other(proxy: FakeProxy, routes: dict[str, str]) -> bool:
    return proxy.has[ROUTE] != routes


async def bundles(kube: Kube) -> set[str]:
    configurations = [*await kube.list(kinds.MUTATINGWEBHOOKS), *await kube.list(kinds.VALIDATINGWEBHOOKS)]
    return {one["clientConfig"].get("caBundle", "") for each in configurations for one in each["webhooks"]}


async def test_istiod_and_the_api_server_of_one_machine(tmp_path: Path) -> None:
    server = ApiServer(tmp_path / "home")
    async with Kube(Access.from_kubeconfig(server.kubeconfig)) as kube, contextlib.AsyncExitStack() as stack:
        async with server.serving():
            await reachable(kube)
            for obj in (*crds(), *manifests(Settings(replicas=0))):
                await kube.create(kinds.kind_of(obj), obj)
            istiod = await stack.enter_async_context(running(server.kubeconfig, tmp_path))
            await kube.create(kinds.NAMESPACES, {"metadata": {"name": "shop"}})
            await kube.create(kinds.SERVICEACCOUNTS, {"metadata": {"name": "web", "namespace": "shop"}})
            spec = {key: value for key, value in SERVICE["spec"].items() if key != "clusterIP"}  # type: ignore[attr-defined]  # a JSON object
            await kube.create(kinds.SERVICES, {"metadata": SERVICE["metadata"], "spec": spec})
            await kube.create(kinds.VIRTUALSERVICES, virtual_service("5s"))

            config_map = await found(lambda: kube.get(kinds.CONFIGMAPS, "istio-ca-root-cert", "shop"))
            root = config_map["data"]["root-cert.pem"]
            expected = {base64.b64encode(root.encode()).decode()}

            async def all_are_ours() -> bool:
                return await bundles(kube) == expected

            await found(all_are_ours)

            good = await token(kube, "istio-ca")
            chain = await create_certificate(istiod, root, good, request.sign(new_key()))
            assert identity.of_certificate(pem.load_certificate(chain[0])) == SpiffeId(
                "cluster.local", "shop", "web"
            )
            other = await token(kube, "other")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await create_certificate(istiod, root, other, request.sign(new_key()))
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED

            address = f"127.0.0.1:{istiod.ports['secureGRPCAddr']}"
            metadata = {"NAMESPACE": "shop", "SERVICE_ACCOUNT": "web"}
            connecting = proxies(address, ["v1.shop"], metadata=metadata, token=good, **tls(root))
            (proxy,) = await stack.enter_async_context(connecting)
            async with asyncio.timeout(10), proxy.got:
                await proxy.got.wait_for(lambda: ROUTE in proxy.has)
            await follow(kube, proxy, "6s")
            await asyncio.sleep(0.3)  # what is still on its way arrives
            messages = proxy.messages
        # without an API server, proxies keep what they have, and are told of changes once it is back
        async with server.serving():
            await reachable(kube)
            assert proxy.messages == messages
            await follow(kube, proxy, "7s")
            await stack.aclose()
