"""From the view of a gateway to its resources."""

from dataclasses import dataclass, replace

from weft.model.mesh_config import DEFAULT_MESH
from weft.model.router import Router, RouterListener, RouterTable
from weft.model.services import Protocol, ProxyKind, Resolution
from weft.model.view import ServiceView, View
from weft.xds import gateway_listeners, gateway_routes, inbound_clusters, names
from weft.xds.clusters import OutboundCluster
from weft.xds.endpoints import Assignment
from weft.xds.gateway_http import HttpSettings
from weft.xds.gateway_listeners import EdgeListener, EdgeSettings
from weft.xds.gateway_routes import EdgeHost
from weft.xds.gateway_tls import TlsSettings
from weft.xds.ground import lookups
from weft.xds.memo import Memo
from weft.xds.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource, Resources
from weft.xds.service_clusters import ClientSide
from weft.xds.service_clusters import clusters as service_clusters


@dataclass(frozen=True, slots=True)
class _Services:
    """The services that gateways of a namespace see. `by_name`: they go by server name too, as they come."""

    views: tuple[ServiceView, ...]
    client: ClientSide
    by_name: bool


@dataclass(frozen=True, slots=True)
class _Part:
    view: ServiceView
    client: ClientSide
    by_name: bool


class EdgeGenerator:
    """Builds gateways' resources; clusters and endpoints are remembered together with those of sidecars."""

    def __init__(
        self, built_clusters: Memo[OutboundCluster, Resource], assignments: Memo[Assignment, Resource]
    ) -> None:
        self._clusters = built_clusters
        self._assignments = assignments
        self._parts: Memo[_Part, tuple[Resource, ...]] = Memo(self._part, depth=4)
        self._of_services: Memo[_Services, Resources] = Memo(self._services, depth=16)
        self._listeners: Memo[EdgeListener, Resource] = Memo(gateway_listeners.edge_listener, depth=4)
        self._virtual_hosts: Memo[EdgeHost, bytes] = Memo(gateway_routes.virtual_host, depth=4)
        self._tables: Memo[RouterTable, Resource] = Memo(self._table, depth=4)
        self._routers: Memo[tuple[Router, Resources, EdgeSettings], Resources] = Memo(self._router, depth=64)
        self._fixed = tuple(
            each for each in inbound_clusters.fixed_clusters(DEFAULT_MESH) if each.name == names.BLACK_HOLE
        )

    def resources(self, view: View, router: Router) -> Resources:
        """All resources of `view`'s proxy, which is to do what `router` says."""
        mesh = view.mesh
        client = ClientSide(mesh, ProxyKind.ROUTER, lookups(view.proxy).ipv6)
        seen = (*view.services, *view.scope.reached)
        services = self._of_services(view.client, _Services(seen, client, router.automatic))
        looks_up = any(each.service.resolution is Resolution.DYNAMIC_DNS for each in view.services)
        http = HttpSettings(
            router.topology, looks_up=looks_up, authorization=view.authorization, tokens=view.tokens
        )
        settings = EdgeSettings(http, TlsSettings.of(mesh))
        return self._routers("", (router, services, settings))

    def _router(self, value: tuple[Router, Resources, EdgeSettings]) -> Resources:
        router, services, settings = value
        listeners = [self._listener(each, settings) for each in router.listeners]
        tables = [self._tables(each.name, each) for each in router.tables]
        return {
            **services,
            LISTENER: {each.name: each for each in listeners},
            ROUTE: {each.name: each for each in tables},
        }

    def _listener(self, listener: RouterListener, settings: EdgeSettings) -> Resource:
        return self._listeners((listener.bind, listener.port), EdgeListener(listener, settings))

    def _table(self, table: RouterTable) -> Resource:
        hosts = [self._virtual_hosts((table.name, each.host), EdgeHost(each, table.port)) for each in table.hosts]
        return gateway_routes.table(table, hosts)

    def _services(self, services: _Services) -> Resources:
        resources: dict[str, dict[str, Resource]] = {CLUSTER: {}, ENDPOINT: {}}
        for resource in self._fixed:
            resources[resource.type_url][resource.name] = resource
        for view in services.views:
            part = _Part(view, services.client, services.by_name)
            for resource in self._parts((view.service.hostname, view.near), part):
                resources[resource.type_url].setdefault(resource.name, resource)
        return resources

    def _part(self, part: _Part) -> tuple[Resource, ...]:
        found: list[Resource] = []
        view = part.view
        for port, port_view in zip(view.service.ports, view.ports, strict=True):
            if port.protocol is Protocol.UDP:
                continue
            for config, assignment in service_clusters(view, port, port_view, part.client):
                for each in (config, replace(config, passed_on=True)) if part.by_name else (config,):
                    name = each.cluster
                    found.append(self._clusters(name, each))
                    if assignment is not None:
                        found.append(self._assignments((name, view.near), replace(assignment, cluster=name)))
        return tuple(found)
