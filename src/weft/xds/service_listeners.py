"""The listeners of one service port: those of its addresses, or what it adds to a shared one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from weft.model.routing import Destination
from weft.model.services import Protocol, Resolution, Service, ServicePort
from weft.model.streams import EVERY, StreamMatch, StreamRoute, disjoint
from weft.model.traffic import BySource
from weft.model.view import PortView, ServiceView
from weft.xds import names
from weft.xds.ground import Ground
from weft.xds.listeners import ANYWHERE, OutboundListener
from weft.xds.listeners_http import TcpLimits
from weft.xds.streams import Stream


@dataclass(frozen=True, slots=True)
class SharedPart:
    """What a service port adds to `0.0.0.0_PORT`: requests are told apart by host, streams by their match."""

    port: int
    requests: bool
    streams: tuple[Stream, ...]
    looks_up: bool = False


def shares_requests(service: Service, port: ServicePort) -> bool:
    """Whether the port's requests come in on `0.0.0.0_PORT`, told apart by host."""
    if port.number in names.PROXY_PORTS:
        return False
    return port.protocol.is_http or (port.protocol is Protocol.AUTO and _has_no_address(service))


def shared_part(view: ServiceView, port: ServicePort, port_view: PortView) -> SharedPart | None:
    """What the port adds to the listener that it shares; None where it shares none."""
    service = view.service
    requests = shares_requests(service, port)
    if port.protocol.is_http:
        looks_up = service.resolution is Resolution.DYNAMIC_DNS
        return SharedPart(port.number, requests, (), looks_up) if requests else None
    blocks = tuple(address for address in service.addresses if _is_block(address))
    if port.number in names.PROXY_PORTS or not (blocks or _has_no_address(service)):
        return None
    # nothing but the server's name tells such a service from others
    named = port.protocol in {Protocol.TLS, Protocol.HTTPS} and service.hostname != "*"
    default = StreamMatch((service.hostname.lower(),) if named else (), blocks)
    routes = [
        replace(each, match=replace(each.match, destinations=each.match.destinations or blocks))
        for each in port_view.streams
    ]
    if named or not routes:
        # what a rule leaves of a wildcard is still known to the mesh
        routes.append(to_itself(service, port, default))
    return SharedPart(port.number, requests, stream_parts(view, port, routes))


def shared_listener(port: int, parts: Sequence[SharedPart], ground: Ground) -> OutboundListener:
    """`0.0.0.0_PORT` for all that share it. Of two streams with one match, the first has it."""
    streams = without_repetition([each for part in parts for each in part.streams])
    requests = any(part.requests for part in parts)
    # where TLS joins requests, all clients speak first: the listener stays as it is, but for the new chain
    client_first = requests and all(each.route.match.server_names for each in streams)
    mesh = ground.mesh
    return OutboundListener(
        address=ground.address or ANYWHERE,
        port=port,
        table=str(port) if requests else "",
        streams=streams,
        otherwise=ground.otherwise.connections,
        silence=mesh.http_silence if client_first else mesh.silence,
        bound=ground.bound,
        looks_up=any(part.looks_up for part in parts),
    )


def without_repetition(given: Sequence[Stream]) -> tuple[Stream, ...]:
    """The streams as Envoy can take them: of two with one match, the first has it."""
    return tuple(
        each if match is each.route.match else replace(each, route=replace(each.route, match=match))
        for each, match in (
            (given[index], match) for index, match in disjoint([each.route.match for each in given])
        )
    )


def service_listeners(
    view: ServiceView, port: ServicePort, port_view: PortView, ground: Ground
) -> Iterable[OutboundListener]:
    """One listener for each address of its own. HTTP ports have one only where they cannot share."""
    service = view.service
    if shares_requests(service, port):
        return
    addresses = tuple(address for address in service.addresses if not _is_block(address))
    if service.headless:
        addresses = tuple(sorted({endpoint.address for endpoint in port_view.endpoints}))
    if ground.address:
        addresses = (ground.address,)
    requests = port.protocol.is_http or port.protocol is Protocol.AUTO
    streams = stream_parts(view, port, port_view.streams or (to_itself(service, port, EVERY),))
    for address in addresses:
        yield OutboundListener(
            address=address,
            port=port.number,
            table=f"{service.hostname}:{port.number}" if requests else "",
            streams=streams,
            otherwise=ground.otherwise.connections,
            silence=ground.mesh.silence,
            bound=ground.bound,
            looks_up=service.resolution is Resolution.DYNAMIC_DNS,
        )


def stream_parts(view: ServiceView, port: ServicePort, routes: Iterable[StreamRoute]) -> tuple[Stream, ...]:
    """Routes of connections to a service, with its limits."""
    policy = view.traffic.at(port.number)
    by_source = policy.hash is not None and isinstance(policy.hash.key, BySource)
    limits = TcpLimits(policy.pool.tcp_idle_timeout, policy.pool.max_connection_duration, by_source)
    dynamic = view.service.resolution is Resolution.DYNAMIC_DNS
    return tuple(
        Stream(
            route,
            limits,
            sniffed=port.protocol is Protocol.AUTO,
            looked_up=(port.target or port.number) if dynamic and _is_own(route, view.service) else 0,
        )
        for route in routes
    )


def _is_own(route: StreamRoute, service: Service) -> bool:
    targets = (each for each in route.destinations if isinstance(each, Destination))
    return any(each.hostname == service.hostname for each in targets)


def to_itself(service: Service, port: ServicePort, match: StreamMatch) -> StreamRoute:
    """The route of a service without rules."""
    return StreamRoute(match, (Destination(service.hostname, port.number, "", 100),))


def _has_no_address(service: Service) -> bool:
    """Whether its clients dial what they like: a host outside, by whatever DNS says."""
    return not service.addresses and not service.headless and not service.external_name


def _is_block(address: str) -> bool:
    return "/" in address
