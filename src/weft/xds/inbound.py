"""What comes to the application from outside (LDS, inbound): 15006 and its filter chains.

Permissive: sidecars come by mutual TLS, told by their ALPN; others in plaintext, without an identity.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from google.protobuf import wrappers_pb2

from weft.model.services import InboundPort, Protocol
from weft.xds import encode, listeners_http, names, tls
from weft.xds.endpoints import address
from weft.xds.listeners import DETECTION_TIMEOUT, PLAIN_HTTP, wait_for_first_bytes
from weft.xds.proto import address_pb2, base_pb2, listener_components_pb2, listener_pb2
from weft.xds.resource import LISTENER, Resource
from weft.xds.routes import inline_table

_ANY_MTLS = ("istio", "istio-peer-exchange", *tls.HTTP_ALPN)
_CHAIN: Any = listener_components_pb2


@dataclass(frozen=True, slots=True)
class Inbound:
    """The ports of the proxy's own workload and the trust domain whose members it believes.

    `silence` is how long a client may say nothing before it is taken for one that waits for the server.
    """

    ports: tuple[InboundPort, ...]
    trust_domain: str
    silence: timedelta = DETECTION_TIMEOUT


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a group of chains leads. Port 0 stands for every port that no service points to."""

    port: int
    cluster: str
    operation: str
    default_host: str
    grpc_web: bool = False

    @property
    def table(self) -> Any:
        return inline_table(self.cluster, f"inbound|http|{self.port}", self.cluster, self.operation)


def virtual_inbound(config: Inbound) -> Resource:
    """15006: takes every connection that comes to the pod."""
    itself = _CHAIN.FilterChain(
        name="virtualInbound-blackhole",
        filter_chain_match=_match(port=names.INBOUND_PORT),
        filters=[listeners_http.tcp(names.BLACK_HOLE)],
    )
    elsewhere = _Target(0, names.INBOUND_PASSTHROUGH, ":0/*", "localhost")
    chains = [itself, *_detecting(elsewhere, config.trust_domain)]
    for port in first_of_each_port(config.ports):
        target = _Target(
            port.number,
            names.inbound_cluster(port.number),
            f"{port.hostname}:{port.service_port}/*",
            port.hostname,
            port.protocol is Protocol.GRPC_WEB,
        )
        chains.extend(_of_port(target, port.protocol, config.trust_domain))
    listener = listener_pb2.Listener(
        name=names.VIRTUAL_INBOUND,
        address=address("0.0.0.0", names.INBOUND_PORT),
        traffic_direction=base_pb2.INBOUND,
        listener_filters=[
            listeners_http.original_dst(),
            listeners_http.tls_inspector(),
            listeners_http.http_inspector(),
        ],
        filter_chains=chains,
    )
    wait_for_first_bytes(listener, config.silence)
    return encode.resource(LISTENER, listener.name, listener)


def first_of_each_port(ports: tuple[InboundPort, ...]) -> tuple[InboundPort, ...]:
    """One entry for each number, the first: two services may point to the same port of a pod."""
    first: dict[int, InboundPort] = {}
    for port in ports:
        first.setdefault(port.number, port)
    return tuple(first.values())


def _of_port(target: _Target, protocol: Protocol, trust_domain: str) -> list[Any]:
    if protocol is Protocol.AUTO:
        return _detecting(target, trust_domain)
    if protocol.is_http:
        return [
            _chain(
                target, _match("tls", _ANY_MTLS, target.port), http=True, mutual=(trust_domain, tls.SERVER_ALPN)
            ),
            _chain(target, _match("raw_buffer", (), target.port), http=True),
        ]
    return [
        _chain(target, _match("tls", _ANY_MTLS, target.port), mutual=(trust_domain, tls.TCP_ALPN)),
        _chain(target, _match("tls", (), target.port)),  # the application's own TLS
        _chain(target, _match("raw_buffer", (), target.port)),
    ]


def _detecting(target: _Target, trust_domain: str) -> list[Any]:
    """The chains of a port that may speak anything, in the order of `istioctl`'s table."""
    return [
        _chain(
            target, _match("tls", tls.HTTP_ALPN, target.port), http=True, mutual=(trust_domain, tls.SERVER_ALPN)
        ),
        _chain(target, _match("raw_buffer", PLAIN_HTTP, target.port), http=True),
        _chain(target, _match("tls", tls.TCP_ALPN, target.port), mutual=(trust_domain, tls.TCP_ALPN)),
        _chain(target, _match("raw_buffer", (), target.port)),
        _chain(target, _match("tls", (), target.port)),  # the application's own TLS
    ]


def _match(transport: str = "", protocols: tuple[str, ...] = (), port: int = 0) -> Any:
    match = _CHAIN.FilterChainMatch(transport_protocol=transport, application_protocols=protocols)
    if port:
        match.destination_port.value = port
    else:
        everywhere = address_pb2.CidrRange(address_prefix="0.0.0.0", prefix_len=wrappers_pb2.UInt32Value(value=0))
        match.prefix_ranges.append(everywhere)
    return match


def _chain(
    target: _Target, match: Any, *, http: bool = False, mutual: tuple[str, tuple[str, ...]] | None = None
) -> Any:
    prefix = f"inbound_0.0.0.0_{target.port}" if target.port else names.INBOUND_PASSTHROUGH
    if http:
        handler = listeners_http.inbound_http(
            prefix,
            target.table,
            authenticated=mutual is not None,
            default_host=target.default_host,
            grpc_web=target.grpc_web,
        )
    else:
        handler = listeners_http.tcp(target.cluster, prefix)
    kind = f"{'mtls' if mutual else match.transport_protocol}_{'http' if http else 'tcp'}"
    chain = _CHAIN.FilterChain(name=f"0.0.0.0_{target.port}_{kind}", filter_chain_match=match, filters=[handler])
    if mutual:
        chain.transport_socket.CopyFrom(tls.mutual_downstream(*mutual))
    return chain
