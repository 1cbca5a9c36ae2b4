"""What comes to the application from outside (LDS, inbound): 15006 and its filter chains.

Permissive, the default: sidecars come by mutual TLS, told by their ALPN; others in plaintext, without an identity.
A PeerAuthentication may leave one of the two. What nobody may speak has no chain: such connections are closed.
"""

from dataclasses import dataclass, replace
from typing import Any

from google.protobuf import wrappers_pb2

from weft.model.authorization import Authorization
from weft.model.inbound import ServedPort
from weft.model.mesh_config import MeshConfig
from weft.model.peer_authentications import PERMISSIVE, PeerMode, PeerModes
from weft.model.request_authentication import TokenRule
from weft.model.server_tls import ServerTls
from weft.model.services import Protocol
from weft.xds import authorization, encode, external_authorization, gateway_tls, listeners_http, names, tls
from weft.xds.endpoints import address
from weft.xds.listeners import PLAIN_HTTP, additional, wait_for_first_bytes
from weft.xds.listeners_http import NO_LIMITS, TcpLimits
from weft.xds.proto import address_pb2, base_pb2, listener_components_pb2, listener_pb2, range_pb2
from weft.xds.resource import LISTENER, Resource
from weft.xds.routes import inline_table

_ANY_MTLS = ("istio", "istio-peer-exchange", *tls.HTTP_ALPN)
_CHAIN: Any = listener_components_pb2


@dataclass(frozen=True, slots=True)
class Inbound:
    """The ports of the proxy's own workload, what the mesh says of connections, who may call, and with what."""

    ports: tuple[ServedPort, ...]
    mesh: MeshConfig
    modes: PeerModes = PERMISSIVE
    authorization: Authorization | None = None
    tokens: tuple[TokenRule, ...] = ()


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a group of chains leads. Port 0 stands for every port that no service and no policy names.

    `matched` false: the listener is that port's own. `detected`: the first bytes tell requests from others.
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
    tokens: tuple[TokenRule, ...] = ()
    detected: bool = False

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
    modes, served = config.modes, first_of_each_port(config.ports)
    known = {each.port.number for each in served}
    chains = [*itself]
    for number, mode in ((0, modes.mode), *modes.ports):
        if number not in known:
            elsewhere = _Target(
                number,
                names.INBOUND_PASSTHROUGH,
                f":{number}/*",
                "localhost",
                config.mesh,
                authorization=config.authorization,
                tokens=config.tokens,
                detected=True,
            )
            chains.extend(_chains(elsewhere, _admitted(_DETECTED, mode)))
    led = tuple(each for each in served if not each.bound)
    for each in led:
        chains.extend(_of_port(_target(each, config), each, modes.at(each.port.number)))
    listener = listener_pb2.Listener(
        name=names.VIRTUAL_INBOUND,
        address=address("0.0.0.0", ports[0]),
        additional_addresses=additional("0.0.0.0", ports[1:]),
        traffic_direction=base_pb2.INBOUND,
        listener_filters=[listeners_http.original_dst(), *_inspectors(_unread(led, modes))],
        filter_chains=chains,
    )
    wait_for_first_bytes(listener, config.mesh.silence)
    return encode.resource(LISTENER, listener.name, listener)


def bound_listener(served: ServedPort, config: Inbound, mode: PeerMode) -> Resource:
    """`ADDRESS_PORT`: a port that clients reach without iptables; of `config` neither ports nor modes matter."""
    target = replace(_target(served, config), matched=False)
    listener = listener_pb2.Listener(
        name=f"{served.address}_{target.port}",
        address=address(served.address, target.port),
        traffic_direction=base_pb2.INBOUND,
        listener_filters=_inspectors(_unread((served,), PeerModes(mode))),
        filter_chains=_of_port(target, served, mode),
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
        tokens=config.tokens,
        detected=port.protocol is Protocol.AUTO,
    )


def first_of_each_port(ports: tuple[ServedPort, ...]) -> tuple[ServedPort, ...]:
    """One entry for each number, the first: two services may point to the same port of a pod."""
    first: dict[int, ServedPort] = {}
    for each in ports:
        first.setdefault(each.port.number, each)
    return tuple(first.values())


@dataclass(frozen=True, slots=True)
class _Way:
    """A way into a port. Without `transport`, any; `protocols` are the client's by which it is told, empty: any.

    `mutual` is what it agrees to speak inside the mesh's own TLS, empty: none.
    """

    transport: str = ""
    protocols: tuple[str, ...] = ()
    http: bool = False
    mutual: tuple[str, ...] = ()


# in the order of `istioctl`'s table
_DETECTED = (
    _Way("tls", tls.HTTP_ALPN, http=True, mutual=tls.SERVER_ALPN),
    _Way("raw_buffer", PLAIN_HTTP, http=True),
    _Way("tls", tls.TCP_ALPN, mutual=tls.TCP_ALPN),
    _Way("raw_buffer"),
    _Way("tls"),  # the application's own TLS
)
_REQUESTS = (_Way("tls", _ANY_MTLS, http=True, mutual=tls.SERVER_ALPN), _Way("raw_buffer", http=True))
_CONNECTIONS = (
    _Way("tls", _ANY_MTLS, mutual=tls.TCP_ALPN),
    _Way("tls"),  # the application's own TLS
    _Way("raw_buffer"),
)

_UNREAD = (_Way(),)
"""All bytes are the application's, TLS or not, and the server may speak first: nothing is waited for."""


def _admitted(ways: tuple[_Way, ...], mode: PeerMode) -> tuple[_Way, ...]:
    """Those that callers may come by.

    Where all TLS is the mesh's own, a client with its certificate need not tell so by ALPN (Prometheus, say). The
    ways that sidecars come by stay as they are, so that their connections outlast a change.
    """
    match mode:
        case PeerMode.PERMISSIVE:
            return ways
        case PeerMode.DISABLE:
            return _UNREAD if ways is _CONNECTIONS else tuple(each for each in ways if not each.mutual)
        case PeerMode.STRICT:
            mutual = tuple(each for each in ways if each.mutual)
            return (*mutual, replace(mutual[-1], protocols=()))


def _ways(protocol: Protocol, mode: PeerMode) -> tuple[_Way, ...]:
    ways = _DETECTED if protocol is Protocol.AUTO else _REQUESTS if protocol.is_http else _CONNECTIONS
    return _admitted(ways, mode)


def _of_port(target: _Target, served: ServedPort, mode: PeerMode) -> list[Any]:
    protocol = served.port.protocol
    if served.tls is not None:
        return _with_own_tls(target, protocol, served.tls, mode)
    return _chains(target, _ways(protocol, mode))


def _unread(served: tuple[ServedPort, ...], modes: PeerModes) -> list[int]:
    """The ports of which no byte is looked at."""
    plain = (each.port for each in served if each.tls is None)
    return [port.number for port in plain if _ways(port.protocol, modes.at(port.number)) is _UNREAD]


def _inspectors(unread: list[int]) -> list[Any]:
    """What reads the first bytes of connections; those to ports that are left unread pass at once.

    When such a port comes or goes Envoy replaces the listener: so only a policy decides it (decision 0008).
    """
    inspectors = [listeners_http.tls_inspector(), listeners_http.http_inspector()]
    for each in inspectors if unread else ():
        each.filter_disabled.CopyFrom(_any_of(unread))
    return inspectors


def _any_of(ports: list[int]) -> Any:
    predicate = _CHAIN.ListenerFilterChainMatchPredicate
    rules = [predicate(destination_port_range=range_pb2.Int32Range(start=each, end=each + 1)) for each in ports]
    return rules[0] if len(rules) == 1 else predicate(or_match=predicate.MatchSet(rules=rules))


def _with_own_tls(target: _Target, protocol: Protocol, own: ServerTls, mode: PeerMode) -> list[Any]:
    """A port where the proxy ends TLS with the application's certificate; sidecars may come by the mesh's too.

    Plaintext is not let in: who asked for a certificate of their own did not mean it to be optional.
    """
    http = protocol is Protocol.HTTPS
    mesh = _Way("tls", _ANY_MTLS, http, tls.SERVER_ALPN if http else tls.TCP_ALPN)
    chains = [] if mode is PeerMode.DISABLE else _chains(target, _admitted((mesh,), mode))
    if mode is not PeerMode.STRICT:
        outside = _chain(target, _Way("tls", http=http))
        outside.name += "_own"
        settings = gateway_tls.TlsSettings.of(target.mesh)
        outside.transport_socket.CopyFrom(gateway_tls.downstream(own, settings, requests=http))
        chains.append(outside)
    return chains


def _chains(target: _Target, ways: tuple[_Way, ...]) -> list[Any]:
    return [_chain(target, way) for way in ways]


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


def _chain(target: _Target, way: _Way) -> Any:
    prefix = f"inbound_0.0.0.0_{target.port}" if target.port else names.INBOUND_PASSTHROUGH
    if way.http:
        handler = listeners_http.inbound_http(
            prefix,
            target.table,
            authenticated=bool(way.mutual),
            default_host=target.default_host,
            tokens=target.tokens,
            grpc_web=target.grpc_web,
            asking=external_authorization.request_filters(target.authorization),
            checks=authorization.request_filters(target.authorization),
        )
        filters = [handler]
    else:
        handler = listeners_http.tcp(target.cluster, prefix, target.limits)
        asking = external_authorization.connection_filters(target.authorization)
        if target.detected and any(each.required for each in target.tokens):
            # the client would choose by its first bytes whether it needs one
            asking = [authorization.closed("token required"), *asking]
        filters = [*asking, *authorization.connection_filters(target.authorization), handler]
    transport = "mtls" if way.mutual else way.transport
    untold = "any" if way.mutual and not way.protocols else ""
    kind = "_".join(filter(None, (transport, "http" if way.http else "tcp", untold)))
    match = target.match(way.transport, way.protocols)
    chain = _CHAIN.FilterChain(name=f"0.0.0.0_{target.port}_{kind}", filter_chain_match=match, filters=filters)
    if way.mutual:
        chain.transport_socket.CopyFrom(tls.mutual_downstream(target.mesh, way.mutual))
    return chain
