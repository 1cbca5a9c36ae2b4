"""Where the application's own connections come in, by the address that it dialled (LDS, outbound)."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from google.protobuf import wrappers_pb2

from weft.model.services import Protocol
from weft.xds import encode, listeners_http, names
from weft.xds.endpoints import address
from weft.xds.listeners_http import NO_LIMITS, TcpLimits
from weft.xds.proto import base_pb2, listener_components_pb2, listener_pb2
from weft.xds.resource import LISTENER, Resource

DETECTION_TIMEOUT = timedelta(seconds=5)
"""How long a connection may stay silent before it is taken for one in which the server speaks first."""
HTTP_DETECTION_TIMEOUT = timedelta(minutes=1)
"""The same on ports of HTTP services, where a silent client more likely connects ahead of its requests."""

_PLAIN_HTTP = ("http/1.1", "h2c")
_CHAIN: Any = listener_components_pb2


@dataclass(frozen=True, slots=True)
class ServiceListener:
    """The listener of one address and port of a service. HTTP ports have one only where they cannot share."""

    address: str
    port: int
    hostname: str
    protocol: Protocol
    limits: TcpLimits = NO_LIMITS


def virtual_outbound() -> Resource:
    """15001: takes every connection that leaves the pod, and hands it to the listener of the dialled address."""
    itself = _CHAIN.FilterChain(
        name="virtualOutbound-blackhole",
        filter_chain_match=_CHAIN.FilterChainMatch(
            destination_port=wrappers_pb2.UInt32Value(value=names.OUTBOUND_PORT)
        ),
        filters=[listeners_http.tcp(names.BLACK_HOLE)],
    )
    others = _CHAIN.FilterChain(
        name="virtualOutbound-catchall-tcp", filters=[listeners_http.tcp(names.PASSTHROUGH)]
    )
    listener = listener_pb2.Listener(
        name=names.VIRTUAL_OUTBOUND,
        address=address("0.0.0.0", names.OUTBOUND_PORT),
        use_original_dst=wrappers_pb2.BoolValue(value=True),
        traffic_direction=base_pb2.OUTBOUND,
        filter_chains=[itself, others],
    )
    return encode.resource(LISTENER, listener.name, listener)


def shared_http(port: int) -> Resource:
    """`0.0.0.0_PORT`: requests to any HTTP service on this port; the table `PORT` tells them apart by host."""
    name = f"0.0.0.0_{port}"
    listener = _listener(name, "0.0.0.0", port)
    _sniff(listener, HTTP_DETECTION_TIMEOUT)
    listener.filter_chains.append(_requests(f"outbound_{name}", str(port)))
    listener.default_filter_chain.CopyFrom(
        _CHAIN.FilterChain(name="PassthroughFilterChain", filters=[listeners_http.tcp(names.PASSTHROUGH)])
    )
    return encode.resource(LISTENER, name, listener)


def service_listener(config: ServiceListener) -> Resource:
    """`ADDRESS_PORT`: bytes to the service's cluster; where they may be HTTP, requests to its own table."""
    name = f"{config.address}_{config.port}"
    listener = _listener(name, config.address, config.port)
    if config.protocol is Protocol.AUTO or config.protocol.is_http:
        _sniff(listener, DETECTION_TIMEOUT)
        listener.filter_chains.append(_requests(f"outbound_{name}", f"{config.hostname}:{config.port}"))
    cluster = names.outbound_cluster(config.hostname, config.port)
    listener.default_filter_chain.CopyFrom(
        _CHAIN.FilterChain(name=cluster, filters=[listeners_http.tcp(cluster, limits=config.limits)])
    )
    return encode.resource(LISTENER, name, listener)


def _listener(name: str, host: str, port: int) -> Any:
    return listener_pb2.Listener(
        name=name,
        address=address(host, port),
        bind_to_port=wrappers_pb2.BoolValue(value=False),  # 15001 hands connections over
        traffic_direction=base_pb2.OUTBOUND,
    )


def _sniff(listener: Any, timeout: timedelta) -> None:
    listener.listener_filters.extend((listeners_http.tls_inspector(), listeners_http.http_inspector()))
    wait_for_first_bytes(listener, timeout)


def wait_for_first_bytes(listener: Any, timeout: timedelta) -> None:
    """Let the inspectors wait for the client, but not for ever: some protocols let the server speak first."""
    listener.listener_filters_timeout.CopyFrom(encode.duration(timeout))
    listener.continue_on_listener_filters_timeout = True


def _requests(stat_prefix: str, route_name: str) -> Any:
    match = _CHAIN.FilterChainMatch(transport_protocol="raw_buffer", application_protocols=_PLAIN_HTTP)
    return _CHAIN.FilterChain(
        name=stat_prefix, filter_chain_match=match, filters=[listeners_http.outbound_http(stat_prefix, route_name)]
    )
