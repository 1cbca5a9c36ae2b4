"""A client of istiod that says what it likes: questions over real TLS, and what came of them as JSON.

Runs as `python -m tests.e2e.xds_client ADDRESS`, with a list of questions as JSON on stdin: `root` (PEM), `token`,
`node`, `metadata`, `type`, `names`. Prints for each `given` and `lacks` (names), `code` and `details`.
"""

import asyncio
import json
import sys
from typing import Any

import grpc
from tests.support.proto import discovery_pb2

from weft.processes.controlplane.discovery import SERVICE

_PATIENCE = 15.0


async def ask(address: str, question: dict[str, Any]) -> dict[str, Any]:
    credentials = grpc.ssl_channel_credentials(question["root"].encode())
    options = [("grpc.ssl_target_name_override", "istiod.istio-system.svc")]
    request = discovery_pb2.DeltaDiscoveryRequest(
        type_url=question["type"], resource_names_subscribe=question["names"]
    )
    request.node.id = question["node"]
    request.node.metadata.update(question.get("metadata") or {})
    found: dict[str, Any] = {"given": [], "lacks": [], "code": "", "details": ""}
    async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
        method: Any = channel.stream_stream(f"/{SERVICE}/DeltaAggregatedResources")
        headers = [("authorization", f"Bearer {question['token']}")]
        call = method(metadata=headers, timeout=_PATIENCE)
        await call.write(request.SerializeToString())
        while len(found["given"]) + len(found["lacks"]) < len(question["names"]):
            try:
                raw = await call.read()
            except grpc.aio.AioRpcError as error:
                return found | {"code": error.code().name, "details": error.details()}
            if raw is grpc.aio.EOF:
                return found | {"code": "OK"}
            response = discovery_pb2.DeltaDiscoveryResponse.FromString(raw)
            found["given"] += [one.name for one in response.resources if one.resource.value]
            found["lacks"] += response.removed_resources
            answer = discovery_pb2.DeltaDiscoveryRequest(type_url=question["type"], response_nonce=response.nonce)
            await call.write(answer.SerializeToString())
    return found


async def main(address: str, questions: list[dict[str, Any]]) -> None:
    answers = await asyncio.gather(*(ask(address, each) for each in questions))
    print(json.dumps(answers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.load(sys.stdin)))
