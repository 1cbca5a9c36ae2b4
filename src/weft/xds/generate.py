"""From a proxy's view to its resources."""

from collections.abc import Mapping
from dataclasses import dataclass

from weft.model.inbound import ServedPort
from weft.model.mesh_config import MeshConfig
from weft.model.patches import Context, Patch
from weft.model.peer_authentications import PeerMode
from weft.model.proxy_traits import ProxyTraits
from weft.model.routing import HostRoutes
from weft.model.services import Protocol, Service
from weft.model.unregistered import PORT
from weft.model.view import EgressView, HostView, ScopeView, ServiceView, View
from weft.xds import (
    clusters,
    endpoints,
    inbound,
    inbound_clusters,
    listener_settings,
    listeners,
    names,
    routes,
    streams,
    unlisted,
)
from weft.xds.clusters import OutboundCluster
from weft.xds.egress_listeners import egress_listener, ports_matter
from weft.xds.endpoints import Assignment
from weft.xds.gateway_generate import EdgeGenerator
from weft.xds.ground import Ground, Lookups, ground, lookups
from weft.xds.inbound import Inbound
from weft.xds.inbound_clusters import InboundCluster
from weft.xds.listener_settings import Settings
from weft.xds.listeners import OutboundListener
from weft.xds.local_cluster import LocalClusters
from weft.xds.memo import Memo
from weft.xds.name_table import NameTables
from weft.xds.patches import Patcher
from weft.xds.proxy_traits import Fitter
from weft.xds.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource, ResourceMap, Resources
from weft.xds.routes import VirtualHost
from weft.xds.service_clusters import ClientSide
from weft.xds.service_clusters import clusters as service_clusters
from weft.xds.service_listeners import (
    SharedPart,
    service_listeners,
    shared_listener,
    shared_parts,
    shares_requests,
)
from weft.xds.streams import Stream
from weft.xds.unlisted import Otherwise


@dataclass(frozen=True, slots=True)
class _Routed:
    """A port whose requests are routed, and the table that lists it.

    `shared`: with other hosts on that port; `with_port`: with other ports of its host too.
    """

    table: str
    shared: bool
    service: Service
    number: int
    routes: HostRoutes
    with_port: bool = False

    def virtual_host(self, namespace: str, domain: str) -> VirtualHost:
        """The port under the names that clients in `namespace` have for it."""
        known_as = routes.domains(self.service, namespace, domain) if self.shared else ("*",)
        if self.with_port:
            known_as = routes.with_port(known_as, self.number)
        return VirtualHost(self.service.hostname, self.number, known_as, self.routes)


@dataclass(frozen=True, slots=True)
class _Table:
    """A route table as clients of one namespace see it; no namespace where that makes no difference.

    Where hosts share it, `otherwise` says what becomes of others.
    """

    name: str
    ports: tuple[_Routed, ...]
    namespace: str
    domain: str
    otherwise: Otherwise


@dataclass(frozen=True, slots=True)
class _Listed:
    """A virtual host as a table lists it. `domains` are in lower case, each once."""

    host: VirtualHost
    domains: frozenset[str]
    encoded: bytes


@dataclass(frozen=True, slots=True)
class _ServicePart:
    """What one service adds to the resources of its clients."""

    resources: tuple[Resource, ...]
    routed: tuple[_Routed, ...]
    shared: tuple[SharedPart, ...]


@dataclass(frozen=True, slots=True)
class _Outbound:
    """What all clients get, whatever their namespace; and the ports of each route table."""

    resources: Resources
    tables: tuple[tuple[str, tuple[_Routed, ...]], ...]
    otherwise: Otherwise


@dataclass(frozen=True, slots=True)
class _Scope:
    """What the outbound resources of a client depend on besides the services."""

    namespace: str
    domain: str
    mesh: MeshConfig


def _unregistered(host: HostView, *, with_port: bool) -> _Routed:
    """The requests to a host without a service."""
    stranger = Service(host.hostname, host.hostname, "", (), ())
    return _Routed(str(PORT), shared=True, service=stranger, number=PORT, routes=host.routes, with_port=with_port)


_Tables = dict[str, list[_Routed]]
_Shared = dict[tuple[str, int], list[SharedPart]]
_Services = tuple[tuple[ServiceView, ...], tuple[HostView, ...], ScopeView, MeshConfig, Lookups]
_Own = tuple[Resources, Inbound, tuple[Patch, ...], ProxyTraits]


class Generator:
    """Builds resources and remembers them by what they were built from, so that a change costs what it touches.

    Proxies of one namespace with the same ports get one mapping; others share every outbound Resource.
    """

    def __init__(self) -> None:
        # what rules say of a service can differ by the client's namespace and labels: room for several answers
        self._clusters: Memo[OutboundCluster, Resource] = Memo(clusters.outbound_cluster, depth=8)
        self._assignments: Memo[Assignment, Resource] = Memo(endpoints.assignment)
        self._listeners: Memo[OutboundListener, Resource] = Memo(self._listener, depth=8)
        self._chains: Memo[tuple[Stream, str], bytes] = Memo(lambda value: listeners.stream_chain(*value), depth=8)
        self._virtual_inbound: Memo[Inbound, Resource] = Memo(inbound.virtual_inbound)
        self._inbound_clusters: Memo[InboundCluster, Resource] = Memo(inbound_clusters.inbound_cluster)
        self._virtual_hosts: Memo[VirtualHost, bytes] = Memo(routes.virtual_host, depth=8)
        self._listed: Memo[tuple[_Routed, str, str], _Listed] = Memo(self._host, depth=8)
        self._tables: Memo[_Table, Resource] = Memo(self._table)
        self._parts: Memo[tuple[ServiceView, Ground], _ServicePart] = Memo(self._part, depth=16)
        self._unregistered: Memo[tuple[HostView, bool], _Routed] = Memo(
            lambda one: _unregistered(one[0], with_port=one[1]), depth=8
        )
        self._outbound: Memo[_Services, _Outbound] = Memo(self._of_services, depth=64, capacity=4096)
        self._scopes: Memo[tuple[_Outbound, _Scope], Resources] = Memo(self._of_scope, capacity=4096)
        self._proxies: Memo[_Own, Resources] = Memo(self._of_proxy, capacity=4096)
        self._fitted = Fitter()
        self._patched = Patcher()
        self._name_tables = NameTables()
        self._local_clusters = LocalClusters()
        self._fixed: Memo[MeshConfig, tuple[Resource, ...]] = Memo(inbound_clusters.fixed_clusters)
        self._bound: Memo[tuple[ServedPort, Inbound, PeerMode], Resource] = Memo(
            lambda one: inbound.bound_listener(*one)
        )
        self._virtual_outbound: Memo[tuple[str, int], Resource] = Memo(
            lambda value: listeners.virtual_outbound(*value)
        )
        self._unlisted: Memo[Otherwise, bytes] = Memo(unlisted.virtual_host)
        self._finished: Memo[tuple[Resource, Settings], Resource] = Memo(listener_settings.applied, depth=8)
        self._edges: Memo[tuple[Resources, MeshConfig], Resources] = Memo(self._at_edge, depth=16)
        self._edge = EdgeGenerator(self._clusters, self._assignments)

    def resources(self, view: View) -> Resources:
        """All resources of `view`'s proxy."""
        if view.router is not None:
            at_edge = self._edge.resources(view, view.router)
            at_edge = self._edges(view.proxy.namespace, (at_edge, view.mesh))
            at_edge = self._fitted(view.proxy.namespace, at_edge, view.proxy.traits)
            at_edge = self._patched(view.proxy.namespace, at_edge, view.patches, Context.GATEWAY)
            return self._name_tables.beside(at_edge, view)
        scope = _Scope(view.proxy.namespace, view.domain, view.mesh)
        place = (view.client, view.scope.rule, view.proxy.namespace if view.scope.rule else "")
        around = lookups(view.proxy)
        outbound = self._outbound(place, (view.services, view.hosts, view.scope, view.mesh, around))
        shared = self._scopes((scope, view.client), (outbound, scope))
        shared = self._fitted((scope, view.client), shared, view.proxy.traits)
        shared = self._patched((scope, view.client), shared, view.patches, Context.SIDECAR_OUTBOUND)
        served = tuple(map(ServedPort, view.proxy.inbound)) if view.served is None else view.served
        own = Inbound(served, view.mesh, view.peer_modes, view.authorization, view.tokens)
        found = self._proxies((scope, view.client, own), (shared, own, view.patches, view.proxy.traits))
        return self._name_tables.beside(self._local_clusters.beside(found, view), view)

    def _of_proxy(self, value: _Own) -> Resources:
        shared, own, patches, traits = value
        ports = inbound.first_of_each_port(own.ports)
        pattern = own.mesh.stat_names.inbound
        to_application = [
            self._inbound_clusters((each.port.number, each.port.hostname), InboundCluster(each, pattern))
            for each in ports
        ]
        everywhere = Inbound((), own.mesh, authorization=own.authorization, tokens=own.tokens)
        bound = [
            self._bound((each.address, each.port.number), (each, everywhere, own.modes.at(each.port.number)))
            for each in ports
            if each.bound
        ]
        entrances = [self._virtual_inbound(own, own), *bound]
        inwards: Resources = {
            CLUSTER: {each.name: each for each in to_application},
            LISTENER: self._finish({each.name: each for each in entrances}, own.mesh),
        }
        inwards = self._fitted(own, inwards, traits)
        inwards = self._patched(own, inwards, patches, Context.SIDECAR_INBOUND)
        return {**shared, **{url: ResourceMap({**shared[url], **found}) for url, found in inwards.items()}}

    def _of_scope(self, value: tuple[_Outbound, _Scope]) -> Resources:
        outbound, scope = value
        tables = {}
        for name, ports in outbound.tables:
            here = (scope.namespace, scope.domain) if any(port.shared for port in ports) else ("", "")
            tables[name] = self._tables((name, *here), _Table(name, ports, *here, outbound.otherwise))
        return {**outbound.resources, ROUTE: ResourceMap(tables)}

    def _of_services(self, value: _Services) -> _Outbound:
        services, hosts, scope, mesh, around = value
        base = ground(scope, mesh, around)
        resources: dict[str, dict[str, Resource]] = {CLUSTER: {}, ENDPOINT: {}, LISTENER: {}}
        tables: _Tables = {}
        shared: _Shared = {}
        unclaimed = base.otherwise.connections
        for resource in (
            *self._fixed("", mesh),
            self._virtual_outbound(unclaimed, (unclaimed, mesh.ports.outbound)),
        ):
            resources[resource.type_url][resource.name] = resource
        for each in scope.egress:
            self._egress(each, base, resources, tables)
        taken = frozenset(tables)
        self._add_unregistered(() if str(PORT) in taken else hosts, base, tables, shared)
        for view in services:
            part = self._parts((view.service.hostname, view.near), (view, base))
            for resource in part.resources:
                resources[resource.type_url].setdefault(resource.name, resource)
            for routed in part.routed:
                if routed.table not in taken:
                    tables.setdefault(routed.table, []).append(routed)
            for one in part.shared:
                place = (base.address or one.address, one.port)
                shared.setdefault(place, []).append(one)
        for (address, port), parts in shared.items():
            config = shared_listener(address, port, parts, base)
            listener = self._listeners((config.address, port), config)
            resources[LISTENER].setdefault(listener.name, listener)
        for view in scope.reached:
            self._reach(view, base, resources)
        resources[LISTENER] = self._finish(resources[LISTENER], mesh)
        maps = {url: ResourceMap(found) for url, found in resources.items()}
        listed = tuple((name, tuple(ports)) for name, ports in tables.items())
        return _Outbound(maps, listed, base.otherwise)

    def _egress(
        self, view: EgressView, base: Ground, resources: dict[str, dict[str, Resource]], tables: _Tables
    ) -> None:
        """Add a listener that a Sidecar names, and what it leads to."""
        config = egress_listener(view, base)
        listener = self._listeners((config.address, config.port), config)
        resources[LISTENER].setdefault(listener.name, listener)
        found = tables.setdefault(config.table, []) if config.table else []
        with_port = ports_matter(view.listening)
        found.extend(self._unregistered(each.hostname, (each, with_port)) for each in view.hosts)
        for each in view.services:
            self._reach(each, base, resources)
            found.extend(
                _Routed(
                    table=config.table,
                    shared=True,
                    service=each.service,
                    number=port.number,
                    routes=port_view.routes,
                    with_port=with_port,
                )
                for port, port_view in zip(each.service.ports, each.ports, strict=True)
                if port.protocol.is_http or port.protocol is Protocol.AUTO
            )

    def _add_unregistered(
        self, hosts: tuple[HostView, ...], base: Ground, tables: _Tables, shared: _Shared
    ) -> None:
        """Add hosts without a service, before all others: their names are written out, others may be short."""
        if hosts:
            tables[str(PORT)] = [self._unregistered(each.hostname, (each, False)) for each in hosts]
            shared[base.address, PORT] = [SharedPart(PORT, requests=True, streams=())]

    def _reach(self, view: ServiceView, base: Ground, resources: dict[str, dict[str, Resource]]) -> None:
        """Add the clusters of a service, without its listeners."""
        for resource in self._parts((view.service.hostname, view.near), (view, base)).resources:
            if resource.type_url != LISTENER:
                resources[resource.type_url].setdefault(resource.name, resource)

    def _finish(self, found: Mapping[str, Resource], mesh: MeshConfig) -> dict[str, Resource]:
        """Listeners with what the mesh's settings add to all of them."""
        more = listener_settings.settings(mesh)
        if more is None:
            return dict(found)
        return {name: self._finished(name, (one, more)) for name, one in found.items()}

    def _at_edge(self, value: tuple[Resources, MeshConfig]) -> Resources:
        found, mesh = value
        return {**found, LISTENER: ResourceMap(self._finish(found[LISTENER], mesh))}

    def _listener(self, config: OutboundListener) -> Resource:
        return listeners.outbound_listener(
            config,
            lambda stream, transport: self._chains(
                (streams.chain_name(stream.route), transport), (stream, transport)
            ),
        )

    def _table(self, table: _Table) -> Resource:
        listed = []
        for port in table.ports:
            # a namespace has short names for its own services only
            here = table.namespace if port.service.namespace == table.namespace else ""
            label = (port.service.hostname, port.number, here)
            listed.append(self._listed(label, (port, here, table.domain)))
        encoded = [each.encoded for each in listed]
        if sum(len(each.host.domains) for each in listed) > len(
            frozenset().union(*(each.domains for each in listed))
        ):
            hosts = routes.distinct(each.host for each in listed)
            encoded = [self._encoded(host) for host in hosts]
        if not table.ports or any(port.shared for port in table.ports):
            encoded.append(self._unlisted((), table.otherwise))
        return routes.table(table.name, encoded, ports_matter=any(port.with_port for port in table.ports))

    def _host(self, value: tuple[_Routed, str, str]) -> _Listed:
        port, namespace, domain = value
        host = port.virtual_host(namespace, domain)
        return _Listed(host, frozenset(name.lower() for name in host.domains), self._encoded(host))

    def _encoded(self, host: VirtualHost) -> bytes:
        return self._virtual_hosts((host.hostname, host.port, host.domains), host)

    def _part(self, value: tuple[ServiceView, Ground]) -> _ServicePart:
        view, base = value
        resources: list[Resource] = []
        routed: list[_Routed] = []
        parts: list[SharedPart] = []
        for port, port_view in zip(view.service.ports, view.ports, strict=True):
            if port.protocol is Protocol.UDP:
                continue
            client = ClientSide(base.mesh, ipv6=base.lookups.ipv6)
            for cluster, assignment in service_clusters(view, port, port_view, client):
                name = names.outbound_cluster(cluster.hostname, cluster.port, cluster.subset)
                resources.append(self._clusters(name, cluster))
                if assignment is not None:
                    resources.append(self._assignments((name, view.near), assignment))
            configs = service_listeners(view, port, port_view, base)
            resources.extend(self._listeners((config.address, config.port), config) for config in configs)
            parts.extend(shared_parts(view, port, port_view, base))
            if port.protocol is Protocol.AUTO or port.protocol.is_http:
                shared = shares_requests(view.service, port, base)
                table = str(port.number) if shared else f"{view.service.hostname}:{port.number}"
                routed.append(_Routed(table, shared, view.service, port.number, port_view.routes))
        return _ServicePart(tuple(resources), tuple(routed), tuple(parts))


def generate(view: View) -> Resources:
    """All resources of one proxy, without memory of earlier ones."""
    return Generator().resources(view)
