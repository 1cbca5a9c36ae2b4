"""What the Gateways of a pod and the VirtualServices bound to them come to."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from weft.base.names import host_matches
from weft.model.clients import Client
from weft.model.gateway_merge import Placed, Shared, merged
from weft.model.gateways import Gateway
from weft.model.misdirected import ServerNames
from weft.model.resolution import Directory
from weft.model.router import Asked, Chain, Requests, RoutedHost, Router, RouterListener, RouterTable
from weft.model.routing import HostRoutes, HttpRoute, MatchKind, RequestMatch
from weft.model.routing_rule import RoutingRule
from weft.model.server_tls import ServerMode
from weft.model.stream_resolution import destinations, matches
from weft.model.streams import StreamMatch, StreamRoute, disjoint
from weft.model.topology import NOTHING_BEFORE, Topology
from weft.model.view import ServiceView


@dataclass(frozen=True, slots=True)
class Edge:
    """A class of gateway pods: as whom they ask, the Gateways that they are, the ports behind their Service's."""

    client: Client
    gateways: tuple[Gateway, ...]
    targets: tuple[tuple[int, int], ...] = ()
    topology: Topology = NOTHING_BEFORE

    @property
    def target(self) -> Callable[[int], int]:
        """The pod's port of a Service's; where no Service has it, it is the pod's own."""
        known = dict(self.targets)
        return lambda number: known.get(number, number)


RoutesOf = Callable[[RoutingRule, int, str], tuple[HttpRoute, ...]]
"""The routes that requests to a port of a gateway (`namespace/name`) can take by a rule."""


def router(edge: Edge, directory: Directory, services: tuple[ServiceView, ...], routes_of: RoutesOf) -> Router:
    """Resolve everything for a class of gateways; `services` are those that it sees."""
    shared, _ = merged(edge.gateways, edge.target)
    tables: dict[str, list[Placed]] = {}
    for each in shared:
        for placed in each.servers:
            if placed.server.routes_requests:
                tables.setdefault(placed.table, []).append(placed)
    listeners = [_listener(each, edge.client, directory, services) for each in shared]
    reached = {table: names for each in listeners for table, names in _reached(each)}
    return Router(
        listeners=tuple(each for each in listeners if each.chains),
        tables=tuple(
            _told_apart(_table(name, servers, edge.client, directory, routes_of), reached.get(name))
            for name, servers in tables.items()
        ),
        automatic=any(_is_automatic(placed) for each in shared for placed in each.servers),
        topology=edge.topology,
    )


def _is_automatic(placed: Placed) -> bool:
    tls = placed.server.tls
    return tls is not None and tls.mode is ServerMode.AUTO_PASSTHROUGH


def _table(
    name: str, servers: list[Placed], client: Client, directory: Directory, routes_of: RoutesOf
) -> RouterTable:
    hosts: dict[str, _Host] = {}
    for placed in servers:
        server = placed.server
        for rule in directory.virtual_services.bound(placed.gateway.path, client.namespace):
            for host in _common(placed, rule):
                routes = routes_of(rule, server.number, placed.gateway.path)
                if routes:
                    hosts.setdefault(host, _Host()).add(
                        HostRoutes(routes, rule.full_name), redirect=server.redirect
                    )
        if server.redirect:
            for each in server.hosts:
                hosts.setdefault(each.host, _Host()).redirect = True
    routed = (RoutedHost(host, in_order(found.routes), found.redirect) for host, found in sorted(hosts.items()))
    return RouterTable(name, servers[0].server.number, tuple(routed))


def _reached(listener: RouterListener) -> Iterator[tuple[str, ServerNames]]:
    """The tables of requests that came over TLS, and by which names."""
    told = [(chain, chain.match.server_names or ("*",)) for chain in listener.chains]
    for chain, own in told:
        if isinstance(chain.handler, Requests) and listener.by_name:
            others = (names for each, names in told if each is not chain and not isinstance(each.handler, Asked))
            yield chain.handler.table, ServerNames(own, tuple(name for names in others for name in names))


def _told_apart(table: RouterTable, names: ServerNames | None) -> RouterTable:
    """The table of a server, left with the hosts that clients reach it by; without names, all."""
    if names is None:
        return table
    hosts = tuple(each for each in table.hosts if names.serves(each.host))
    routed = {each.host for each in hosts}
    unrouted = tuple(each for each in names.own if each not in routed)
    return replace(table, hosts=hosts, elsewhere=names.elsewhere, unrouted=unrouted)


@dataclass(slots=True)
class _Host:
    routes: list[HostRoutes] = field(default_factory=list)
    redirect: bool = False

    def add(self, routes: HostRoutes, *, redirect: bool) -> None:
        if routes not in self.routes:
            self.routes.append(routes)
        self.redirect |= redirect


def _common(placed: Placed, rule: RoutingRule) -> Iterator[str]:
    """The hosts that a server and a rule both have."""
    for host in rule.hosts:
        yield from placed.server.common(host, rule.namespace)


def in_order(rules: Iterable[HostRoutes]) -> tuple[HostRoutes, ...]:
    """The routes of several rules for one host, the older rule first, but what takes every request last.

    Otherwise the routes of the younger rules could never be reached; Istio does the same.
    """
    listed = tuple(rules)
    if len(listed) < 2:
        return listed
    first, last = [], []
    for each in listed:
        split = [_split(route) for route in each.routes]
        specific = tuple(route for route, _ in split if route is not None)
        every = tuple(route for _, route in split if route is not None)
        first += [HostRoutes(specific, each.rule)] if specific else []
        last += [HostRoutes(every, each.rule)] if every else []
    return (*first, *last)


def _split(route: HttpRoute) -> tuple[HttpRoute | None, HttpRoute | None]:
    """A route's matches that ask for something, and those that take every request."""
    if not route.matches:
        return None, route
    every = tuple(each for each in route.matches if _takes_all(each))
    specific = tuple(each for each in route.matches if each not in every)
    return (
        replace(route, matches=specific) if specific else None,
        replace(route, matches=every) if every else None,
    )


def _takes_all(match: RequestMatch) -> bool:
    anywhere = match.uri is None or (match.uri.kind is MatchKind.PREFIX and match.uri.value == "/")
    return anywhere and match == RequestMatch(match.name, match.stat_prefix, uri=match.uri)


def _listener(
    shared: Shared, client: Client, directory: Directory, services: tuple[ServiceView, ...]
) -> RouterListener:
    first = shared.servers[0]
    chains: tuple[Chain, ...]
    if first.server.routes_requests and not shared.over_tls:
        grpc_web = any(each.server.protocol == "GRPC-WEB" for each in shared.servers)
        name = next((each.server.name for each in shared.servers if each.server.name), "")
        chains = (Chain(Requests(first.table, grpc_web), name=name),)
    else:
        made = (each for placed in shared.servers for each in _chains(placed, client, directory, services))
        chains = tuple(distinct(made))
    return RouterListener(shared.bind, shared.port, chains, shared.over_tls)


def _chains(
    placed: Placed, client: Client, directory: Directory, services: tuple[ServiceView, ...]
) -> Iterator[Chain]:
    server, tls = placed.server, placed.server.tls
    if tls is not None and tls.mode is ServerMode.AUTO_PASSTHROUGH:
        yield from _asked(placed, services)
    elif server.routes_requests:
        yield Chain(Requests(placed.table), StreamMatch(server.server_names), tls, server.name)
    else:
        ended = None if tls is None or tls.mode.passes else tls
        for route in _connections(placed, client, directory, passed_on=tls is not None and ended is None):
            yield Chain(route, route.match, ended, server.name)


def _connections(
    placed: Placed, client: Client, directory: Directory, *, passed_on: bool
) -> Iterator[StreamRoute]:
    """The routes of connections by the rules bound to a server: `tls` where TLS is passed on, else `tcp`."""
    server = placed.server
    for rule in directory.virtual_services.bound(placed.gateway.path, client.namespace):
        if not any(_common(placed, rule)):
            continue
        for each in rule.streams.tls if passed_on else rule.streams.tcp:
            found = destinations(each, server.number, client, directory)
            for match in matches(each, client, server.number, placed.gateway.path):
                names = () if server.tls is None else server.server_names
                if passed_on:
                    names = tuple(
                        name for asked in match.server_names for name in server.common(asked, rule.namespace)
                    )
                    if not names:
                        continue
                # clients dial the gateway, whatever address the rule thinks of
                narrowed = StreamMatch(() if "*" in names else tuple(dict.fromkeys(names)), (), match.sources)
                yield StreamRoute(narrowed, found, rule.full_name)


def _asked(placed: Placed, services: tuple[ServiceView, ...]) -> Iterator[Chain]:
    """A chain for each cluster of the services that the server's hosts mean."""
    for view in services:
        service = view.service
        if not any(each.host == "*" or host_matches(each.host, service.hostname) for each in placed.server.hosts):
            continue
        if service.external_name:
            continue
        for port in service.ports:
            for subset in ("", *(each.name for each in view.traffic.subsets)):
                yield Chain(Asked(service.hostname, port.number, subset), name=placed.server.name)


def distinct(chains: Iterable[Chain]) -> Iterator[Chain]:
    """The chains, each left with what no earlier one matches."""
    listed = list(chains)
    yield from (chain for chain in listed if isinstance(chain.handler, Asked))
    matched = [chain for chain in listed if not isinstance(chain.handler, Asked)]
    for index, match in disjoint([chain.match for chain in matched]):
        chain, handler = matched[index], matched[index].handler
        if isinstance(handler, StreamRoute):
            handler = replace(handler, match=match)
        yield replace(chain, match=match, handler=handler)
