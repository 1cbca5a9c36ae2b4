"""A proxy on a virtual machine, as istiod sees it: connects by delta xDS, and reports its health as it is told to.

Usage: `python -m tests.support.workload ADDRESS NODE METADATA`, METADATA in JSON with `root` and `token` besides.
Each line of its input is sent as a report: empty for well, else what is wrong. It ends with its input.
"""

import json
import queue
import sys
import threading
from collections.abc import Iterator
from typing import Any

import grpc
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import json_format

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
HEALTH = "type.googleapis.com/istio.v1.HealthInformation"
_discovery: Any = discovery_pb2  # made at import
_grpc: Any = grpc  # what makes credentials has no types


def main() -> None:
    address, node, written = sys.argv[1:]
    metadata = json.loads(written)
    root, token = metadata.pop("root"), metadata.pop("token")
    sent: queue.Queue[Any] = queue.Queue()
    first = _discovery.DeltaDiscoveryRequest(type_url="type.googleapis.com/envoy.config.cluster.v3.Cluster")
    json_format.ParseDict({"id": node, "metadata": metadata}, first.node)
    sent.put(first)
    credentials = _grpc.ssl_channel_credentials(root_certificates=root.encode())
    options = (("grpc.ssl_target_name_override", "istiod.istio-system.svc"), ("grpc.enable_http_proxy", 0))
    with grpc.secure_channel(address, credentials, options=options) as channel:
        call = channel.stream_stream(
            METHOD,
            request_serializer=_discovery.DeltaDiscoveryRequest.SerializeToString,
            response_deserializer=_discovery.DeltaDiscoveryResponse.FromString,
        )
        answers = call(_requests(sent), metadata=(("authorization", f"Bearer {token}"),))
        threading.Thread(target=_read, args=(sent,), daemon=True).start()
        try:
            for answer in answers:
                print(f"got {len(answer.resources)}", flush=True)
                sent.put(_discovery.DeltaDiscoveryRequest(type_url=answer.type_url, response_nonce=answer.nonce))
        except _grpc.RpcError as error:
            print(f"ended {error.code().name}: {error.details()}", flush=True)


def _requests(sent: "queue.Queue[Any]") -> Iterator[Any]:
    while (request := sent.get()) is not None:
        yield request


def _read(sent: "queue.Queue[Any]") -> None:
    for line in sys.stdin:
        report = _discovery.DeltaDiscoveryRequest(type_url=HEALTH)
        if line.strip():
            report.error_detail.message = line.strip()
        sent.put(report)
    sent.put(None)


if __name__ == "__main__":
    main()
