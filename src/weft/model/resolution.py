"""What a rule means for one host and one client: destinations looked up, shares given, gaps named.

Total: what is missing becomes `Unresolved` in the route and `Missing` for the analysis, by the same code.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from weft.api import codes
from weft.api.virtual_service_checks import MESH
from weft.base.names import nearest
from weft.model.authorization import Authorizations
from weft.model.clients import Client
from weft.model.destination_rules import DestinationRules, TrafficRule, traffic
from weft.model.envoy_filters import EnvoyFilters
from weft.model.gateways import Gateways
from weft.model.http_rules import RouteRule, Target
from weft.model.mesh_config import DEFAULT_MESH, MeshConfig
from weft.model.mesh_defaults import inherited
from weft.model.peer_authentications import PeerAuthentications
from weft.model.proxy_configs import ProxyConfigs
from weft.model.registry import Registered
from weft.model.request_authentication import KeySource, RequestAuthentications
from weft.model.routing import Destination, HostRoutes, HttpRoute, Mirror, Retries, Unresolved
from weft.model.routing_rule import RoutingRule
from weft.model.services import Protocol, Service, ServicePort
from weft.model.sidecars import Sidecars
from weft.model.traffic import HostTraffic
from weft.model.virtual_services import VirtualServices

_CREATE = "Create the Service or a ServiceEntry."


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a destination leads nowhere. `field` is what to mend: the host, the port or the subset."""

    code: str
    field: str
    reason: str
    hint: str


@dataclass(frozen=True, slots=True, eq=False)
class Directory:
    """All that names can be looked up in. `issuers_keys` are the JWKS of issuers of tokens, as far as fetched.

    `namespaces` are those of the cluster, none where that is not known.
    """

    services: Mapping[str, Registered]
    virtual_services: VirtualServices
    destination_rules: DestinationRules
    envoy_filters: EnvoyFilters
    gateways: Gateways
    proxy_configs: ProxyConfigs
    sidecars: Sidecars
    authorizations: Authorizations
    peer_authentications: PeerAuthentications
    request_authentications: RequestAuthentications
    mesh: MeshConfig = DEFAULT_MESH
    issuers_keys: Mapping[KeySource, str] = field(default_factory=dict)
    namespaces: frozenset[str] = frozenset()

    def service(self, hostname: str, namespace: str) -> Service | None:
        """The service of this name, if clients of the namespace may see it."""
        found = self.services.get(hostname)
        seen = found.seen_from(namespace) if found else None
        return seen.service if seen else None

    def traffic_rules(self, service: Service, client: Client) -> tuple[TrafficRule, ...]:
        """The DestinationRules in force for a service."""
        return self.destination_rules.rules_for(service.hostname, service.namespace, client)

    def traffic(self, service: Service, client: Client) -> HostTraffic:
        """How this client talks to a service."""
        return inherited(traffic(self.traffic_rules(service, client)), self.mesh)

    @property
    def near_labels(self) -> frozenset[str]:
        """All labels of clients on which the order of some service's endpoints depends."""
        rules = self.destination_rules
        kinds = {each.service.nearness for each in self.services.values()}
        return rules.near_labels.union(*(rules.near_labels_of(kind) for kind in kinds))

    def label_keys(self, service: Service, rules: tuple[RoutingRule, ...], namespace: str) -> frozenset[str]:
        """The labels of a client on which its view of this service depends; `rules` are those that name it."""
        return self.destination_rules.label_keys(service, namespace) | self.rule_label_keys(rules, namespace)

    def rule_label_keys(self, rules: Iterable[RoutingRule], namespace: str) -> frozenset[str]:
        """The labels of a client on which it depends where rules lead it."""
        keys: frozenset[str] = frozenset()
        for rule in rules:
            keys |= rule.label_keys
            for hostname in rule.targets:
                found = self.service(hostname, namespace)
                if found is not None:
                    keys |= self.destination_rules.label_keys(found, namespace)
        return keys

    def looked_up(self, targets: Iterable[str], client: Client) -> tuple[tuple[Any, ...], ...]:
        """All that destinations at these hosts are resolved with, to be compared with what it was before."""
        return tuple(self._looked_up(host, client) for host in sorted(targets))

    def _looked_up(self, host: str, client: Client) -> tuple[Any, ...]:
        found = self.service(host, client.namespace)
        if found is None:
            # a service that is there, but not for this client, is told differently from one that is not
            return (host in self.services,)
        return (found, self.traffic_rules(found, client))


def host_routes(
    service: Service, port: ServicePort, rule: RoutingRule | None, client: Client, directory: Directory
) -> HostRoutes:
    """The routes of this client's requests to a port; only where HTTP is or may be spoken do rules hold.

    A rule of which no route can fit this client (by sourceLabels, say) leaves the service as it is.
    """
    speaks_http = port.protocol.is_http or port.protocol is Protocol.AUTO
    if rule is not None and speaks_http:
        routes = http_routes(rule, port.number, client, directory)
        if routes:
            return HostRoutes(routes, rule.full_name)
    return default_routes(service, port, directory.mesh.retries)


def http_routes(
    rule: RoutingRule, port: int, client: Client, directory: Directory, gateway: str = MESH
) -> tuple[HttpRoute, ...]:
    """The routes of a rule that requests of this client to this port, by this gateway, can take."""
    return tuple(
        replace(
            each.route,
            matches=matches,
            retries=each.route.retries or directory.mesh.retries,
            destinations=destinations(each, port, client, directory),
            mirrors=mirrors(each, port, client, directory),
        )
        for each in rule.routes
        if (matches := each.matches(client, port, gateway)) is not None
    )


def default_routes(service: Service, port: ServicePort, retries: Retries | None = None) -> HostRoutes:
    """All requests go to the service itself."""
    itself = Destination(service.hostname, port.number, "", 100)
    return HostRoutes((HttpRoute((itself,), retries=retries),))


def destinations(
    rule: RouteRule, port: int, client: Client, directory: Directory
) -> tuple[Destination | Unresolved, ...]:
    """The destinations of a route with their shares; those with none are left out."""
    if rule.route.outcome is not None:
        return ()
    if not rule.targets:
        return (Unresolved(f"VirtualService {rule.delegate} has no routes for it", 100),)
    found = ((each.weight, resolve(each, port, client, directory)) for each in rule.targets if each.weight)
    return tuple(
        each if isinstance(each, Destination) else Unresolved(each.reason, weight) for weight, each in found
    )


def mirrors(rule: RouteRule, port: int, client: Client, directory: Directory) -> tuple[Mirror, ...]:
    """The destinations that get copies; those that are not to be found get none."""
    found = ((share, resolve(target, port, client, directory)) for target, share in rule.mirrors if share)
    return tuple(Mirror(each, share) for share, each in found if isinstance(each, Destination))


def resolve(target: Target, port: int, client: Client, directory: Directory) -> Destination | Missing:
    """Look up a destination for requests to `port` (0: no port is known)."""
    service = directory.service(target.hostname, client.namespace)
    if service is None:
        return _no_host(target, client, directory)
    number = _port(target, service, port)
    if isinstance(number, Missing):
        return number
    if target.subset:
        host = directory.traffic(service, client)
        if all(subset.name != target.subset for subset in host.subsets):
            return _no_subset(target, host)
    return Destination(service.hostname, number, target.subset, target.weight, target.headers)


def _port(target: Target, service: Service, port: int) -> int | Missing:
    numbers = [each.number for each in service.ports]
    known = ", ".join(str(number) for number in numbers) or "none that carries TCP"
    if target.port:
        if target.port in numbers:
            return target.port
        message = f'port {target.port} not found on "{service.hostname}", which has {known}'
        return Missing(codes.NOT_FOUND, f"{target.field}.port.number", message, "Use one of the Service's ports.")
    match numbers:
        case [only]:
            return only
        case _ if port in numbers:
            return port
        case _:
            message = f'"{service.hostname}" has the ports {known}, and none is chosen'
            return Missing(codes.PORT_NEEDED, target.field, message, "Add port: {number: …} to the destination.")


def _no_host(target: Target, client: Client, directory: Directory) -> Missing:
    field = f"{target.field}.host"
    if target.hostname in directory.services:
        message = f'host "{target.written}" is not exported to namespace "{client.namespace}"'
        return Missing(codes.NOT_FOUND, field, message, "Widen exportTo of the Service.")
    return Missing(
        codes.NOT_FOUND, field, f'host not found "{target.written}"', host_hint(target.written, client, directory)
    )


def host_hint(written: str, client: Client, directory: Directory) -> str:
    """The way out when a host is not found: the name that was probably meant, or what to create."""
    seen = (each.seen_from(client.namespace) for each in directory.services.values())
    visible = [each.service for each in seen if each is not None]
    if "." in written:
        # web.shop is a full name to Istio, although DNS knows the service by it
        meant = next((each.hostname for each in visible if each.hostname.startswith(f"{written}.svc.")), "")
        meant = meant or next((each.hostname for each in visible if each.hostname.startswith(f"{written}.")), "")
        meant = meant or nearest(written, (each.hostname for each in visible))
    else:
        here = nearest(written, (each.name for each in visible if each.namespace == client.namespace))
        elsewhere = next((each.hostname for each in visible if each.name == written), "")
        meant = here or elsewhere
    return f'Did you mean "{meant}"? Otherwise create the Service or a ServiceEntry.' if meant else _CREATE


def _no_subset(target: Target, host: HostTraffic) -> Missing:
    field = f"{target.field}.subset"
    if not host.rule:
        message = f'subset not found "{target.subset}": "{target.written}" has no DestinationRule'
        return Missing(codes.NOT_FOUND, field, message, "Create a DestinationRule with this subset.")
    names = [subset.name for subset in host.subsets]
    near = nearest(target.subset, names)
    message = f'subset not found "{target.subset}" in DestinationRule {host.rule}'
    way_out = f'Did you mean "{near}"?' if near else "Add it to spec.subsets there."
    return Missing(codes.NOT_FOUND, field, message, way_out)
