"""Proxies that only speak the protocol: a delta ADS client over real gRPC that confirms what it gets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from tests.support.proto import discovery_pb2

from weft.processes.controlplane.discovery import SERVICE
from weft.xds.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE


class FakeProxy:
    """Subscribes to everything of each type. `has` is what it was sent: type → name → version."""

    def __init__(self, call: Any, name: str, metadata: dict[str, Any]) -> None:
        self.call, self._name, self._metadata = call, name, metadata
        self.has: dict[str, dict[str, str]] = {}
        self.messages = 0
        self.got = asyncio.Condition()

    def request(self, type_url: str) -> bytes:
        """A stream's first request, with the node."""
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=type_url)
        pod, namespace = self._name.split(".")
        request.node.id = f"sidecar~10.0.0.1~{pod}.{namespace}~{namespace}.svc.cluster.local"
        request.node.metadata.update(self._metadata)
        return bytes(request.SerializeToString())

    async def run(self, types: Sequence[str] = (CLUSTER, ENDPOINT, LISTENER, ROUTE)) -> None:
        for type_url in types:
            await self.call.write(self.request(type_url))
        while (raw := await self.call.read()) is not grpc.aio.EOF:
            response = discovery_pb2.DeltaDiscoveryResponse.FromString(raw)
            has = self.has.setdefault(response.type_url, {})
            has.update({one.name: one.version for one in response.resources})
            for name in response.removed_resources:
                has.pop(name, None)
            answer = discovery_pb2.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
            await self.call.write(answer.SerializeToString())
            async with self.got:
                self.messages += 1
                self.got.notify_all()

    async def until(self, type_url: str, name: str, version: str, seconds: float = 10) -> None:
        """Wait until it has this version."""
        async with asyncio.timeout(seconds), self.got:
            await self.got.wait_for(lambda: self.has.get(type_url, {}).get(name) == version)


@contextlib.asynccontextmanager
async def proxies(
    address: str,
    names: Sequence[str],
    *,
    metadata: dict[str, Any] | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    options: Sequence[tuple[str, Any]] = (),
    token: str = "",
    run: bool = True,
) -> AsyncIterator[list[FakeProxy]]:
    """Connected proxies, one stream each; they say nothing by themselves unless they `run`."""
    channel = (
        grpc.aio.secure_channel(address, credentials, options=list(options))
        if credentials
        else grpc.aio.insecure_channel(address, options=list(options))
    )
    async with channel:
        method: Any = channel.stream_stream(f"/{SERVICE}/DeltaAggregatedResources")
        headers = [("authorization", f"Bearer {token}")] if token else None
        them = [FakeProxy(method(metadata=headers), name, metadata or {}) for name in names]
        tasks = [asyncio.create_task(one.run()) for one in them if run]
        try:
            yield them
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
