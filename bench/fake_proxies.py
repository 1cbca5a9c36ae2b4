"""Proxies that confirm everything, in one process: `python -m bench.fake_proxies ADDRESS COUNT NAMESPACES`."""

import asyncio
import sys
from typing import Any

import grpc
from tests.support.proto import discovery_pb2

from weft.processes.controlplane.discovery import SERVICE
from weft.xds.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE


async def proxy(channel: Any, number: int, namespaces: int) -> None:
    """Subscribe to everything and confirm it, until the server goes away."""
    space = f"ns-{number % namespaces}"
    call = channel.stream_stream(f"/{SERVICE}/DeltaAggregatedResources")()
    for type_url in (CLUSTER, ENDPOINT, LISTENER, ROUTE):
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=type_url)
        request.node.id = (
            f"sidecar~10.9.{number // 250}.{number % 250}~proxy-{number}.{space}~{space}.svc.cluster.local"
        )
        await call.write(request.SerializeToString())
    while (raw := await call.read()) is not grpc.aio.EOF:
        type_url, nonce = head(raw)
        answer = discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, response_nonce=nonce)
        await call.write(answer.SerializeToString())


def head(raw: bytes) -> tuple[str, str]:
    """Type URL and nonce of a DeltaDiscoveryResponse (fields 4 and 5); the resources are skipped."""
    at, found = 0, {4: "", 5: ""}
    while at < len(raw):
        tag, at = varint(raw, at)
        size, at = varint(raw, at)
        if tag >> 3 in found:
            found[tag >> 3] = raw[at : at + size].decode()
        at += size
    return found[4], found[5]


def varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


async def main(address: str, count: int, namespaces: int) -> None:
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(8)]
    try:
        await asyncio.gather(*(proxy(channels[number % 8], number, namespaces) for number in range(count)))
    except grpc.aio.AioRpcError as error:
        print(f"the control plane is gone: {error.code().name}", file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
