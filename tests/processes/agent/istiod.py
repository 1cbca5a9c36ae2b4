"""A control plane of a few lines, over real gRPC with TLS: it issues certificates and hands out one listener."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc

# imported for their descriptors, which the JSON below names
from envoy.config.bootstrap.v3 import bootstrap_pb2 as _bootstrap_pb2  # noqa: F401 -- see above
from envoy.config.listener.v3 import listener_pb2 as _listener_pb2  # noqa: F401 -- same
from envoy.extensions.filters.http.router.v3 import router_pb2 as _router_pb2  # noqa: F401 -- same
from envoy.extensions.filters.network.http_connection_manager.v3 import (  # noqa: F401 -- same
    http_connection_manager_pb2 as _hcm_pb2,
)
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2 as _tls_pb2  # noqa: F401 -- same
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2, json_format

from weft.adapters import keys
from weft.adapters.grpc_server import KeyPair, Peer, RefusedError, Server, Write
from weft.model.name_table import Named
from weft.pki import authority, messages, pem
from weft.pki.identity import SpiffeId
from weft.pki.succession import Trusted
from weft.xds.name_messages import encoded
from weft.xds.resource import BOOTSTRAP, CLUSTER, LISTENER, NAME_TABLE, PROXY_CONFIG

WORKLOAD = SpiffeId("cluster.local", "sidecar", "default")
TOKEN = "the-pod's-token"
_XDS: Any = discovery_pb2


def new_authority() -> authority.Authority:
    now = datetime.now(UTC)
    return authority.self_signed(
        keys.new_key(),
        organization="cluster.local",
        now=now,
        serial=keys.new_serial(),
        lifetime=timedelta(days=1),
    )


class Istiod:
    """`text` is what the listener on `port` answers; `issued` and `asked` are what the agent made it do.

    `life` is how long certificates are good, if not as long as is asked for; `clock` is how far ours is ahead;
    `refusal` is what is answered in place of certificates.
    `names` go to an agent that asks for them; `known` is what it said that it had already.
    `bootstrap_changes` are told to agents that ask for them.
    `sds` is the way in which Envoy is to ask for its secrets: GRPC (state of the world) or DELTA_GRPC.
    """

    def __init__(self, signer: authority.Authority, port: int, text: str, *, sds: str = "GRPC") -> None:
        self.signer = signer
        self.life: timedelta | None = None
        self.clock = timedelta()
        self.refusal: grpc.StatusCode | None = None
        self.names: tuple[Named, ...] = ()
        self.known: list[dict[str, str]] = []
        self.trust: asyncio.Queue[Trusted] = asyncio.Queue()
        """What an agent that asks is told to trust."""
        self.trusting: list[str] = []
        """Its answers to that: empty, or why it refuses."""
        self.revoked = ""
        self.own, self.trusted, self.direction = "default", "ROOTCA", "INBOUND"
        """What the listener shows and verifies with, and in which direction Envoy takes it to lead."""
        self.issued: list[str] = []
        self.wishes: list[timedelta] = []
        self.asked: list[Peer] = []
        self.nacks: list[str] = []
        self.address = ""
        self.bootstrap_changes: list[dict[str, Any]] = []
        self._port = port
        self._text = text
        self._sds = sds
        self._server = Server()

    async def start(self, port: int = 0) -> None:
        key = keys.new_key()
        own = authority.issue_server(
            self.signer,
            key.public_key(),
            names=[],
            addresses=["127.0.0.1"],
            now=datetime.now(UTC),
            serial=keys.new_serial(),
            lifetime=timedelta(hours=1),
        )
        self._server.unary(messages.SERVICE, messages.METHOD, self._issue)
        discovery = "envoy.service.discovery.v3.AggregatedDiscoveryService"
        self._server.stream(discovery, "DeltaAggregatedResources", self._discover)
        pair = KeyPair(pem.key(key), pem.certificates((own, *self.signer.chain)))
        self.address = f"127.0.0.1:{self._server.listen(f'127.0.0.1:{port}', pair)}"
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop()

    async def _issue(self, request: bytes, peer: Peer) -> bytes:
        self.asked.append(peer)
        if peer.bearer != TOKEN:
            raise RefusedError(grpc.StatusCode.UNAUTHENTICATED, "no such token")
        if self.refusal is not None:
            raise RefusedError(self.refusal, "not now")
        asked = messages.decode_request(request)
        self.wishes.append(asked.lifetime)
        now = datetime.now(UTC) + self.clock
        if self.life is not None:
            # authorities issue for a minute at least
            now -= timedelta(minutes=1) - self.life
        chain = authority.issue_workload(
            self.signer,
            asked.csr_pem,
            spiffe_id=WORKLOAD,
            lifetime=timedelta(minutes=1) if self.life is not None else asked.lifetime,
            now=now,
            serial=keys.new_serial(),
        )
        self.issued.append(pem.certificate(chain[0]))
        *answer, root = map(pem.certificate, chain)
        return messages.encode_response(messages.CertificateAnswer(tuple(answer), Trusted(root, self.revoked)))

    def _listener(self, name: str) -> any_pb2.Any:
        chosen = {"own": self.own, "trusted": self.trusted, "direction": self.direction}
        return _listener(name, self._port, self._text, self._sds, **chosen)

    async def _discover(self, requests: AsyncIterator[bytes], write: Write, peer: Peer) -> None:
        assert peer.bearer == TOKEN
        seen: set[str] = set()
        telling = asyncio.ensure_future(self._tell(write))
        try:
            await self._answer(requests, write, seen)
        finally:
            telling.cancel()

    async def _tell(self, write: Write) -> None:
        while True:
            trusted = await self.trust.get()
            response = _XDS.DeltaDiscoveryResponse(type_url=PROXY_CONFIG, nonce=f"trust-{len(self.trusting)}")
            bundle = any_pb2.Any(type_url=PROXY_CONFIG, value=messages.encode_trust(trusted))
            response.resources.add(name="default", version=str(len(self.trusting) + 1), resource=bundle)
            await write(response.SerializeToString())

    async def _answer(self, requests: AsyncIterator[bytes], write: Write, seen: set[str]) -> None:
        async for message in requests:
            request = _XDS.DeltaDiscoveryRequest.FromString(message)
            if request.type_url == PROXY_CONFIG:
                if request.response_nonce:
                    self.trusting.append(request.error_detail.message)
                continue
            if request.error_detail.message:
                self.nacks.append(request.error_detail.message)
            if request.type_url in seen:
                continue
            seen.add(request.type_url)
            response = _XDS.DeltaDiscoveryResponse(type_url=request.type_url, nonce=str(len(seen)))
            if request.type_url == LISTENER:
                name = f"127.0.0.1_{self._port}"
                response.resources.add(name=name, version="1", resource=self._listener(name))
            if request.type_url == NAME_TABLE:
                self.known.append(dict(request.initial_resource_versions))
                table = any_pb2.Any(type_url=NAME_TABLE, value=encoded(self.names))
                response.resources.add(name="all", version="1", resource=table)
            if request.type_url == BOOTSTRAP:
                for index, each in enumerate(self.bootstrap_changes):
                    packed = json_format.ParseDict({"@type": BOOTSTRAP, **each}, any_pb2.Any())
                    response.resources.add(name=f"{index:04}", version="1", resource=packed)
            assert request.type_url in {LISTENER, CLUSTER, NAME_TABLE, BOOTSTRAP}
            await write(response.SerializeToString())


def _listener(name: str, port: int, text: str, sds: str, *, own: str, trusted: str, direction: str) -> any_pb2.Any:
    """A listener that wants mutual TLS, with the secrets that the agent serves, and answers `text`."""
    source = {
        "api_config_source": {
            "api_type": sds,
            "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
        },
        "resource_api_version": "V3",
        "initial_fetch_timeout": "0s",
    }
    tls = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [{"name": own, "sds_config": source}],
            "validation_context_sds_secret_config": {"name": trusted, "sds_config": source},
        },
    }
    answer = {"status": 200, "body": {"inline_string": text}}
    route = {"match": {"prefix": "/"}, "direct_response": answer}
    http_ = "envoy.extensions.filters"
    manager = {
        "@type": f"type.googleapis.com/{http_}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "inbound",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"type.googleapis.com/{http_}.http.router.v3.Router"}}
        ],
    }
    listener = {
        "@type": LISTENER,
        "name": name,
        "traffic_direction": direction,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {
                "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
                "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
            }
        ],
    }
    return json_format.ParseDict(listener, any_pb2.Any())


async def eventually(check: Any, seconds: float = 30.0) -> Any:
    """The first true answer of `check`, which may be a coroutine function; AssertionError after `seconds`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        answer = check()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return answer
        assert loop.time() < deadline, f"{check} stayed false"
        await asyncio.sleep(0.02)
