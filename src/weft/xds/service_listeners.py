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
    """What a service port adds to a listener: requests are told apart by host, streams by their match.

    `address` is empty for the listener of any address, `0.0.0.0_PORT`.
    """

    port: int
    requests: bool
    streams: tuple[Stream, ...]
    address: str = ""
    looks_up: bool = False


def shares_requests(service: Service, port: ServicePort, ground: Ground) -> bool:
    """Whether the port's requests come in on `0.0.0.0_PORT`, told apart by host."""
    if port.number in names.PROXY_PORTS:
        return False
    return port.protocol.is_http or (port.protocol is Protocol.AUTO and _has_no_address(service, port, ground))


def shared_parts(
    view: ServiceView, port: ServicePort, port_view: PortView, ground: Ground
) -> Iterable[SharedPart]:
    """What the port adds to the listeners that it shares."""
    service = view.service
    requests = shares_requests(service, port, ground)
    if port.protocol.is_http:
        if requests:
            looks_up = service.resolution is Resolution.DYNAMIC_DNS
            yield SharedPart(port.number, requests, (), looks_up=looks_up)
        return
    if port.number in names.PROXY_PORTS:
        return
    # nothing but the server's name tells such a service from others
    name = (service.hostname.lower(),) if _by_name(port.protocol) and service.hostname != "*" else ()
    blocks = tuple(address for address in service.addresses if _is_block(address))
    if blocks or _has_no_address(service, port, ground):
        routes = [
            replace(each, match=replace(each.match, destinations=each.match.destinations or blocks))
            for each in port_view.streams
        ]
        if name or not routes:
            # what a rule leaves of a wildcard is still known to the mesh
            routes.append(to_itself(view, port, StreamMatch(name, blocks)))
        yield SharedPart(port.number, requests, stream_parts(view, port, routes))
    if _shares_addresses(service, port):
        defaults = (to_itself(view, port, StreamMatch(name)), to_itself(view, port, EVERY))
        streams = stream_parts(view, port, (*port_view.streams, *defaults))
        for address in service.addresses:
            if not _is_block(address):
                yield SharedPart(port.number, requests, streams, address)


def shared_listener(address: str, port: int, parts: Sequence[SharedPart], ground: Ground) -> OutboundListener:
    """The listener of all that share a port at an address, any if empty; the first has what two match."""
    streams = without_repetition([each for part in parts for each in part.streams])
    requests = any(part.requests for part in parts)
    # where TLS joins requests, all clients speak first: the listener stays as it is, but for the new chain
    client_first = requests and all(each.route.match.server_names for each in streams)
    mesh = ground.mesh
    return OutboundListener(
        address=address or ANYWHERE,
        port=port,
        table=str(port) if requests else "",
        streams=streams,
        otherwise=ground.otherwise.connections,
        silence=mesh.http_silence if client_first else mesh.silence,
        bound=ground.bound,
        looks_up=ground.otherwise.looks_up or any(part.looks_up for part in parts),
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
    if shares_requests(service, port, ground) or _shares_addresses(service, port):
        return
    given = service.dialled(answered=ground.lookups.answered)
    addresses = tuple(address for address in given if not _is_block(address))
    if service.headless:
        addresses = tuple(sorted({endpoint.address for endpoint in port_view.endpoints}))
    if ground.address:
        addresses = (ground.address,)
    requests = port.protocol.is_http or port.protocol is Protocol.AUTO
    streams = stream_parts(view, port, port_view.streams or (to_itself(view, port, EVERY),))
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


def to_itself(view: ServiceView, port: ServicePort, match: StreamMatch) -> StreamRoute:
    """The route of a service without rules."""
    itself = Destination(view.service.hostname, port.number, "", 100)
    return StreamRoute(match, (itself,), tunnel=view.traffic.at(port.number).tunnel)


def _has_no_address(service: Service, port: ServicePort, ground: Ground) -> bool:
    """Whether its clients dial what they like: a host outside, by whatever DNS says.

    One that is known by name is so at an allocated address too, and for those who ask another DNS than the proxy.
    """
    known = service.addresses if _by_name(port.protocol) else service.dialled(answered=ground.lookups.answered)
    return not known and not service.headless and not service.external_name


def _by_name(protocol: Protocol) -> bool:
    """Whether clients say first, by SNI, whom they ask for."""
    return protocol in {Protocol.TLS, Protocol.HTTPS}


def _shares_addresses(service: Service, port: ServicePort) -> bool:
    """Whether other hosts may be at the same address: of an entry, a server's name tells them apart."""
    return not service.kubernetes and _by_name(port.protocol)


def _is_block(address: str) -> bool:
    return "/" in address
