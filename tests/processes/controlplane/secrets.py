"""Secrets, and a gateway that asks for them over a discovery service that has nothing else to give."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from tests.processes.controlplane.cluster import Cluster
from tests.processes.controlplane.meshes import ControlPlane
from tests.support.envoy import Identity
from tests.support.proto import discovery_pb2, secret_pb2

from weft.adapters.grpc_server import Peer
from weft.adapters.kube.access import Access
from weft.adapters.kube.client import Kube
from weft.pki.identity import SpiffeId
from weft.processes.controlplane.discovery import SERVICE
from weft.processes.controlplane.identities import Caller
from weft.processes.controlplane.keyring import Keyring
from weft.xds.resource import SECRET

ACCOUNT = SpiffeId("cluster.local", "edge", "gateway")
READER = ("system:serviceaccount:edge:gateway", "edge")


def secret(name: str, namespace: str = "edge", **data: str) -> dict[str, Any]:
    """A Secret; keys are written with `_` for what may be no Python name."""
    encoded = {key.replace("_", "."): base64.b64encode(value.encode()).decode() for key, value in data.items()}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded}


def tls(name: str, pair: Identity, **more: str) -> dict[str, Any]:
    return secret(name, tls_crt=pair.chain, tls_key=pair.key, **more)


class Plane(ControlPlane):
    """A control plane that knows its callers, and gives them the cluster's Secrets."""

    def __init__(self, address: str, keyring: Keyring, caller: SpiffeId | None) -> None:
        super().__init__(address)
        self.keyring, self.caller = keyring, caller
        self.discovery._secrets = keyring

    async def identify(self, peer: Peer) -> Caller | None:
        return Caller(self.caller) if self.caller else None


@contextlib.asynccontextmanager
async def plane(cluster: Cluster, address: str, caller: SpiffeId | None = ACCOUNT) -> AsyncIterator[Plane]:
    """One over the cluster, serving."""
    async with Kube(Access(cluster.url)) as kube:
        keyring = Keyring(kube, lambda: None)
        made = Plane(address, keyring, caller)
        async with made.serving():
            made.set()
            yield made


class Gateway:
    """A proxy that asks for secrets alone. `has` is what it was given, `lacks` what it was told there is not."""

    def __init__(self, call: Any, node: str) -> None:
        self._call, self._node = call, node
        self.has: dict[str, Any] = {}
        self.lacks: set[str] = set()
        self.got = asyncio.Condition()

    async def ask(self, *names: str) -> None:
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=SECRET, resource_names_subscribe=names)
        request.node.id = self._node
        request.node.metadata.update({"LABELS": {"istio": "edge"}})
        await self._call.write(request.SerializeToString())

    async def drop(self, *names: str) -> None:
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=SECRET, resource_names_unsubscribe=names)
        await self._call.write(request.SerializeToString())

    async def run(self) -> None:
        while (raw := await self._call.read()) is not grpc.aio.EOF:
            response = discovery_pb2.DeltaDiscoveryResponse.FromString(raw)
            for one in response.resources:
                self.has[one.name] = secret_pb2.Secret.FromString(one.resource.value)
                self.lacks.discard(one.name)
            self.lacks |= set(response.removed_resources)
            answer = discovery_pb2.DeltaDiscoveryRequest(type_url=SECRET, response_nonce=response.nonce)
            await self._call.write(answer.SerializeToString())
            async with self.got:
                self.got.notify_all()

    async def until(self, condition: Any, seconds: float = 5) -> None:
        async with asyncio.timeout(seconds), self.got:
            await self.got.wait_for(condition)

    def chain(self, name: str) -> str:
        """The certificate that it was given by that name; "" before."""
        return self.has[name].tls_certificate.certificate_chain.inline_bytes.decode() if name in self.has else ""


@contextlib.asynccontextmanager
async def gateway(port: int, kind: str = "router", pod: str = "gate.edge") -> AsyncIterator[Gateway]:
    """One that is connected."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method: Any = channel.stream_stream(f"/{SERVICE}/DeltaAggregatedResources")
        made = Gateway(method(), f"{kind}~10.0.0.1~{pod}~svc.cluster.local")
        running = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
