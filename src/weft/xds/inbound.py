"""What comes to the application from outside (LDS, inbound): 15006 and its filter chains.

Permissive: sidecars come by mutual TLS, told by their ALPN; others in plaintext, without an identity.
"""

from dataclasses import dataclass, replace
from typing import Any

from google.protobuf import wrappers_pb2

from weft.model.authorization import Authorization
from weft.model.inbound import ServedPort
from weft.model.mesh_config import MeshConfig
from weft.model.server_tls import ServerTls
from weft.model.services import Protocol
from weft.xds import authorization, encode, gateway_tls, listeners_http, names, tls
from weft.xds.endpoints import address
from weft.xds.listeners import PLAIN_HTTP, additional, wait_for_first_bytes
from weft.xds.listeners_http import NO_LIMITS, TcpLimits
from weft.xds.proto import address_pb2, base_pb2, listener_components_pb2, listener_pb2
from weft.xds.resource import LISTENER, Resource
from weft.xds.routes import inline_table

_ANY_MTLS = ("istio", "istio-peer-exchange", *tls.HTTP_ALPN)
_CHAIN: Any = listener_components_pb2


@dataclass(frozen=True, slots=True)
class Inbound:
    """The ports of the proxy's own workload, what the mesh says of connections to them, and who may call."""

    ports: tuple[ServedPort, ...]
    mesh: MeshConfig
    authorization: Authorization | None = None


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a group of chains leads. Port 0 stands for every port that no service points to.

    `matched` false: the listener is that port's own.
    """

    port: int
    cluster: str
    operation: str
    default_host: str
    mesh: MeshConfig
    grpc_web: bool = False
    limits: TcpLimits = NO_LIMITS
    matched: bool = True
    authorization: Authorization | None = None

    @property
    def table(self) -> Any:
        name = f"inbound|http|{self.port}"
        return inline_table(self.cluster, name, self.cluster, self.operation, self.mesh.inbound_retries)

    def match(self, transport: str = "", protocols: tuple[str, ...] = ()) -> Any:
        return _match(transport, protocols, self.port, matched=self.matched)


def virtual_inbound(config: Inbound) -> Resource:
    """15006: takes every connection that comes to the pod; where the mesh has another port, at both."""
    ports = tuple(dict.fromkeys((config.mesh.ports.inbound, names.INBOUND_PORT)))
    itself = [
        _CHAIN.FilterChain(
            name="virtualInbound-blackhole" + (f"-{each}" if index else ""),
            filter_chain_match=_match(port=each),
            filters=[listeners_http.tcp(names.BLACK_HOLE)],
        )
        for index, each in enumerate(ports)
    ]
    elsewhere = _Target(
        0, names.INBOUND_PASSTHROUGH, ":0/*", "localhost", config.mesh, authorization=config.authorization
    )
    chains = [*itself, *_detecting(elsewhere)]
    for each in first_of_each_port(config.ports):
        if not each.bound:
            chains.extend(_of_port(_target(each, config), each))
    listener = listener_pb2.Listener(
        name=names.VIRTUAL_INBOUND,
        address=address("0.0.0.0", ports[0]),
        additional_addresses=additional("0.0.0.0", ports[1:]),
        traffic_direction=base_pb2.INBOUND,
        listener_filters=[
            listeners_http.original_dst(),
            listeners_http.tls_inspector(),
            listeners_http.http_inspector(),
        ],
        filter_chains=chains,
    )
    wait_for_first_bytes(listener, config.mesh.silence)
    return encode.resource(LISTENER, listener.name, listener)


def bound_listener(served: ServedPort, config: Inbound) -> Resource:
    """`ADDRESS_PORT`: a port that clients reach without iptables; of `config` the ports do not matter."""
    target = replace(_target(served, config), matched=False)
    listener = listener_pb2.Listener(
        name=f"{served.address}_{target.port}",
        address=address(served.address, target.port),
        traffic_direction=base_pb2.INBOUND,
        listener_filters=[listeners_http.tls_inspector(), listeners_http.http_inspector()],
        filter_chains=_of_port(target, served),
    )
    wait_for_first_bytes(listener, config.mesh.silence)
    return encode.resource(LISTENER, listener.name, listener)


def _target(served: ServedPort, config: Inbound) -> _Target:
    port, pool = served.port, served.pool
    return _Target(
        port.number,
        names.inbound_cluster(port.number),
        f"{port.hostname}:{port.service_port}/*",
        port.hostname,
        config.mesh,
        port.protocol is Protocol.GRPC_WEB,
        TcpLimits(pool.tcp_idle_timeout, pool.max_connection_duration),
        authorization=config.authorization,
    )


def first_of_each_port(ports: tuple[ServedPort, ...]) -> tuple[ServedPort, ...]:
    """One entry for each number, the first: two services may point to the same port of a pod."""
    first: dict[int, ServedPort] = {}
    for each in ports:
        first.setdefault(each.port.number, each)
    return tuple(first.values())


def _of_port(target: _Target, served: ServedPort) -> list[Any]:
    protocol = served.port.protocol
    if served.tls is not None:
        return _with_own_tls(target, protocol, served.tls)
    if protocol is Protocol.AUTO:
        return _detecting(target)
    if protocol.is_http:
        return [
            _chain(target, target.match("tls", _ANY_MTLS), http=True, mutual=tls.SERVER_ALPN),
            _chain(target, target.match("raw_buffer"), http=True),
        ]
    return [
        _chain(target, target.match("tls", _ANY_MTLS), mutual=tls.TCP_ALPN),
        _chain(target, target.match("tls")),  # the application's own TLS
        _chain(target, target.match("raw_buffer")),
    ]


def _with_own_tls(target: _Target, protocol: Protocol, own: ServerTls) -> list[Any]:
    """A port where the proxy ends TLS with the application's certificate; sidecars may come by the mesh's too.

    Plaintext is not let in: who asked for a certificate of their own did not mean it to be optional.
    """
    http = protocol is Protocol.HTTPS
    alpn = tls.SERVER_ALPN if http else tls.TCP_ALPN
    outside = _chain(target, target.match("tls"), http=http)
    outside.name += "_own"
    settings = gateway_tls.TlsSettings.of(target.mesh)
    outside.transport_socket.CopyFrom(gateway_tls.downstream(own, settings, requests=http))
    return [_chain(target, target.match("tls", _ANY_MTLS), http=http, mutual=alpn), outside]


def _detecting(target: _Target) -> list[Any]:
    """The chains of a port that may speak anything, in the order of `istioctl`'s table."""
    return [
        _chain(target, target.match("tls", tls.HTTP_ALPN), http=True, mutual=tls.SERVER_ALPN),
        _chain(target, target.match("raw_buffer", PLAIN_HTTP), http=True),
        _chain(target, target.match("tls", tls.TCP_ALPN), mutual=tls.TCP_ALPN),
        _chain(target, target.match("raw_buffer")),
        _chain(target, target.match("tls")),  # the application's own TLS
    ]


def _match(transport: str = "", protocols: tuple[str, ...] = (), port: int = 0, *, matched: bool = True) -> Any:
    match = _CHAIN.FilterChainMatch(transport_protocol=transport, application_protocols=protocols)
    if not matched:
        return match
    if port:
        match.destination_port.value = port
    else:
        everywhere = address_pb2.CidrRange(address_prefix="0.0.0.0", prefix_len=wrappers_pb2.UInt32Value(value=0))
        match.prefix_ranges.append(everywhere)
    return match


def _chain(target: _Target, match: Any, *, http: bool = False, mutual: tuple[str, ...] = ()) -> Any:
    """A chain; `mutual` is what it agrees to speak inside the mesh's own TLS, empty: none."""
    prefix = f"inbound_0.0.0.0_{target.port}" if target.port else names.INBOUND_PASSTHROUGH
    if http:
        handler = listeners_http.inbound_http(
            prefix,
            target.table,
            authenticated=bool(mutual),
            default_host=target.default_host,
            grpc_web=target.grpc_web,
            checks=authorization.request_filters(target.authorization),
        )
        filters = [handler]
    else:
        handler = listeners_http.tcp(target.cluster, prefix, target.limits)
        filters = [*authorization.connection_filters(target.authorization), handler]
    kind = f"{'mtls' if mutual else match.transport_protocol}_{'http' if http else 'tcp'}"
    chain = _CHAIN.FilterChain(name=f"0.0.0.0_{target.port}_{kind}", filter_chain_match=match, filters=filters)
    if mutual:
        chain.transport_socket.CopyFrom(tls.mutual_downstream(target.mesh, mutual))
    return chain
