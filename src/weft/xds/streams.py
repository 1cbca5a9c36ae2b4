"""Connections passed on byte by byte: which ones a filter chain takes, and the clusters that share them."""

from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any

from google.protobuf import struct_pb2, wrappers_pb2

from weft.model.routing import Destination, Unresolved
from weft.model.streams import StreamMatch, StreamRoute
from weft.xds import listeners_http, names
from weft.xds.listeners_http import NO_LIMITS, TcpLimits
from weft.xds.proto import address_pb2, base_pb2, listener_components_pb2, tcp_proxy_pb2

_CHAIN: Any = listener_components_pb2
_PROXY: Any = tcp_proxy_pb2.TcpProxy


@dataclass(frozen=True, slots=True)
class Stream:
    """A route of connections, and how long they may last. `sniffed`: only for what turns out not to be HTTP.

    `looked_up`: the name that the client asks for is looked up and dialled at this port.
    """

    route: StreamRoute
    limits: TcpLimits = NO_LIMITS
    sniffed: bool = False
    looked_up: int = 0


def chain(stream: Stream, transport: str = "") -> Any:
    """The filter chain of a route; `transport` is what the inspectors must have found, if that matters."""
    route = stream.route
    found = _CHAIN.FilterChain(name=chain_name(route), filters=[*_look_up(stream), proxy(stream)])
    if transport:
        found.name += f"-{transport}"
    match = chain_match(route.match)
    match.transport_protocol = transport
    found.filter_chain_match.CopyFrom(match)
    if route.rule:
        istio = struct_pb2.Struct()
        istio["config"] = names.config_path(route.rule, "virtual-service")
        found.metadata.CopyFrom(base_pb2.Metadata(filter_metadata={"istio": istio}))
    return found


def _look_up(stream: Stream) -> list[Any]:
    return [listeners_http.look_up_server_name(stream.looked_up)] if stream.looked_up else []


def chain_match(match: StreamMatch) -> Any:
    """The conditions of a chain."""
    return _CHAIN.FilterChainMatch(
        server_names=match.server_names,
        prefix_ranges=map(block, match.destinations),
        source_prefix_ranges=map(block, match.sources),
    )


def chain_name(route: StreamRoute) -> str:
    """What it matches and where that leads, for logs and for eyes."""
    where = (cluster(each) for each in route.destinations[:1])
    parts = (route.rule, *route.match.server_names, *route.match.destinations, *route.match.sources, *where)
    return "-".join(part for part in parts if part)


def proxy(stream: Stream, stat_prefix: str = "") -> Any:
    """The filter that joins a connection to one of its route's destinations, each getting its share."""
    weighted = [each for each in stream.route.destinations if each.weight]
    match weighted:
        case []:
            return listeners_http.tcp(names.BLACK_HOLE, stat_prefix)
        case [only]:
            limits = replace(stream.limits, tunnel=stream.route.tunnel)
            return listeners_http.tcp(cluster(only), stat_prefix, limits)
        case _:
            shares = _PROXY.WeightedCluster(
                clusters=[_PROXY.WeightedCluster.ClusterWeight(name=cluster(e), weight=e.weight) for e in weighted]
            )
            # as Istio counts them: by the rule that splits them
            message = _PROXY(stat_prefix=stat_prefix or stream.route.rule, weighted_clusters=shares)
            return listeners_http.tcp_filter(message, stream.limits)


def cluster(target: Destination | Unresolved) -> str:
    """The cluster of a destination; of one that leads nowhere, the one that closes every connection."""
    match target:
        case Destination():
            return names.outbound_cluster(target.hostname, target.port, target.subset)
        case Unresolved():
            return names.BLACK_HOLE


def block(text: str) -> Any:
    """A block of addresses: `10.1.0.0/16`."""
    network = ip_network(text)
    return address_pb2.CidrRange(
        address_prefix=str(network.network_address), prefix_len=wrappers_pb2.UInt32Value(value=network.prefixlen)
    )
