"""Where connections come into a gateway (LDS): a listener for each port and address, a chain for each server."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from weft.model.router import Asked, Chain, Requests, RouterListener
from weft.model.streams import StreamRoute
from weft.xds import encode, external_authorization, gateway_http, gateway_tls, listeners_http, names, streams
from weft.xds.authorization import connection_filters
from weft.xds.endpoints import address
from weft.xds.gateway_http import HttpSettings
from weft.xds.gateway_tls import TlsSettings
from weft.xds.proto import base_pb2, listener_components_pb2, listener_pb2
from weft.xds.resource import LISTENER, Resource
from weft.xds.streams import Stream
from weft.xds.tls import HTTP_ALPN, TCP_ALPN

_CHAIN: Any = listener_components_pb2
_ANYWHERE = "0.0.0.0"
_OF_THE_MESH = ("istio", *TCP_ALPN[:1], *HTTP_ALPN)


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """What holds for all listeners of a gateway: the mesh's settings, and what stands before it."""

    http: HttpSettings
    tls: TlsSettings


HANDSHAKE_TIMEOUT: Final = timedelta(seconds=15)
"""Time for a client to agree on TLS, as long as Envoy waits for its first bytes; it would wait for ever."""


@dataclass(frozen=True, slots=True)
class EdgeListener:
    """A listener and its settings."""

    listener: RouterListener
    settings: EdgeSettings


def edge_listener(config: EdgeListener) -> Resource:
    """`0.0.0.0_8080`, or with another address where a server binds to one."""
    bind = config.listener.bind or _ANYWHERE
    name = f"{bind}_{config.listener.port}"
    listener = listener_pb2.Listener(
        name=name,
        address=address(bind, config.listener.port),
        traffic_direction=base_pb2.OUTBOUND,
        filter_chains=[_chain(each, name, config.settings) for each in config.listener.chains],
    )
    if config.settings.http.topology.proxy_protocol:
        listener.listener_filters.append(listeners_http.proxy_protocol())
    if config.listener.by_name:
        listener.listener_filters.append(listeners_http.tls_inspector())
    return encode.resource(LISTENER, name, listener)


def _chain(config: Chain, listener: str, settings: EdgeSettings) -> Any:
    match config.handler:
        case Requests(table, grpc_web):
            prefix = config.name or f"outbound_{listener}"
            handler = gateway_http.requests(prefix, table, settings.http, grpc_web=grpc_web)
            chain = _CHAIN.FilterChain(name=table, filters=[handler])
            chain.filter_chain_match.CopyFrom(streams.chain_match(config.match))
        case StreamRoute() as route:
            chain = streams.chain(Stream(route))
            _guard(chain, settings)
        case Asked(hostname, port, subset):
            asked = names.sni(hostname, port, subset)
            chain = _CHAIN.FilterChain(name=asked, filters=[listeners_http.tcp(asked, config.name)])
            _guard(chain, settings)
            chain.filter_chain_match.server_names.append(asked)
            chain.filter_chain_match.application_protocols.extend(_OF_THE_MESH)
    if config.tls is not None:
        requests = isinstance(config.handler, Requests)
        chain.transport_socket.CopyFrom(gateway_tls.downstream(config.tls, settings.tls, requests=requests))
        chain.transport_socket_connect_timeout.CopyFrom(encode.duration(HANDSHAKE_TIMEOUT))
    return chain


def _guard(chain: Any, settings: EdgeSettings) -> None:
    """Put before all filters of a chain for bytes those that decide who may connect."""
    policies = settings.http.authorization
    checks = [*external_authorization.connection_filters(policies), *connection_filters(policies)]
    if checks:
        filters = [*checks, *chain.filters]
        del chain.filters[:]
        chain.filters.extend(filters)
