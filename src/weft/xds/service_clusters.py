"""The clusters of one service port as its clients reach it: the whole service, then its subsets."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from weft.model.client_tls import TlsMode
from weft.model.mesh_config import MeshConfig
from weft.model.placing import Group, groups, placement
from weft.model.services import Endpoint, Labels, ProxyKind, Resolution, Service, ServicePort
from weft.model.traffic import LoadBalancer, TrafficPolicy
from weft.model.view import PortView, ServiceView
from weft.xds import stat_names
from weft.xds.clusters import OutboundCluster
from weft.xds.discovery import Discovery
from weft.xds.endpoints import Assignment

_BY_DNS: Final = {
    Resolution.DNS: Discovery.DNS,
    Resolution.DNS_ROUND_ROBIN: Discovery.DNS_ROUND_ROBIN,
    Resolution.DYNAMIC_DNS: Discovery.DYNAMIC_DNS,
}


@dataclass(frozen=True, slots=True)
class ClientSide:
    """What the clusters of a client depend on besides the services. `ipv6`: see OutboundCluster."""

    mesh: MeshConfig
    kind: ProxyKind = ProxyKind.SIDECAR
    ipv6: bool = False


def clusters(
    view: ServiceView, port: ServicePort, port_view: PortView, client: ClientSide
) -> Iterable[tuple[OutboundCluster, Assignment | None]]:
    """Each cluster with its endpoints; None where it finds them by itself.

    The clients of gateways have dialled the gateway and no endpoint.
    """
    service, traffic, mesh = view.service, view.traffic, client.mesh
    at_edge = client.kind is ProxyKind.ROUTER
    policies: list[tuple[str, Labels, TrafficPolicy]] = [("", (), traffic.at(port.number))]
    policies += [(subset.name, subset.labels, subset.at(port.number)) for subset in traffic.subsets]
    meshed = [endpoint for endpoint in port_view.endpoints if endpoint.mutual_tls]
    vouched = {each for each in service.subject_alt_names if each.startswith("spiffe://")}
    identities = tuple(sorted({endpoint.identity for endpoint in meshed if endpoint.identity} | vouched))
    for subset, labels, policy in policies:
        discovery = _discovery(view, subset, policy)
        if at_edge and discovery is Discovery.DIALLED:
            discovery = Discovery.EDS
            if policy.load_balancer is LoadBalancer.PASSTHROUGH:
                policy = replace(policy, load_balancer=LoadBalancer.LEAST_REQUEST)  # noqa: PLW2901, a narrower one
        placed = placement(policy, service.nearness, mesh.locality, mesh.zones)
        chosen = (each for each in port_view.endpoints if set(labels) <= set(each.labels))
        found = groups(chosen, placed, view.near)
        cluster = OutboundCluster(
            hostname=service.hostname,
            name=service.name,
            namespace=service.namespace,
            port=port.number,
            protocol=port.protocol,
            subset=subset,
            policy=_named(_as_the_mesh_has_it(policy, mesh), service.subject_alt_names),
            rule=traffic.rule,
            discovery=discovery,
            identities=identities,
            trust_domain=mesh.trust_domain,
            all_mutual=bool(meshed) and len(meshed) == len(port_view.endpoints),
            resolved=_resolved(view, port, found) if discovery.brings_endpoints else (),
            target=port.target,
            refresh=mesh.dns_refresh_rate,
            stat_name=_stat_name(service, port, subset, mesh),
            aliases=mesh.trust_domain_aliases,
            mutual=mesh.mutual_tls,
            limits=mesh.tls,
            ipv6=client.ipv6,
            dns_name=service.external_name,
            credentials=at_edge or traffic.selected,
            weighted=placed is not None and bool(placed.distribute),
            zones=policy.zones or (mesh.zones if policy.locality is None else None),
            at_edge=at_edge,
        )
        told = discovery is Discovery.EDS
        yield cluster, Assignment(cluster.cluster, found, cluster.weighted) if told else None


def _as_the_mesh_has_it(policy: TrafficPolicy, mesh: MeshConfig) -> TrafficPolicy:
    """TLS where the policy leaves it to the mesh: whether mTLS is used by itself, and servers are verified."""
    settings = policy.tls
    if settings.mode is TlsMode.AUTO and not mesh.auto_mtls:
        return replace(policy, tls=replace(settings, mode=TlsMode.DISABLE))
    unknown = settings.mode.originates and not (settings.roots or settings.credential)
    if unknown and not mesh.verify_at_client:
        return replace(policy, tls=replace(settings, verify=False))
    return policy


def _stat_name(service: Service, port: ServicePort, subset: str, mesh: MeshConfig) -> str:
    pattern = mesh.stat_names.outbound
    return stat_names.outbound(pattern, service.hostname, port.number, port.name, subset) if pattern else ""


def _named(policy: TrafficPolicy, names: tuple[str, ...]) -> TrafficPolicy:
    """The policy, with the names that the service's certificate is known to carry where it says none itself."""
    settings = policy.tls
    if not names or settings.names or not settings.mode.originates:
        return policy
    return replace(policy, tls=replace(settings, names=names))


def _resolved(view: ServiceView, port: ServicePort, found: tuple[Group, ...]) -> tuple[Group, ...]:
    service = view.service
    if service.external_name:
        return groups([Endpoint(service.external_name, port.number)], None, ())
    healthy = (replace(each, endpoints=tuple(one for one in each.endpoints if one.healthy)) for each in found)
    known = tuple(each for each in healthy if each.endpoints)
    if service.resolution is Resolution.DNS_ROUND_ROBIN:
        # the DNS is asked for one name only, for one connection after the other
        return tuple(replace(each, endpoints=each.endpoints[:1]) for each in known[:1])
    return known


def _discovery(view: ServiceView, subset: str, policy: TrafficPolicy) -> Discovery:
    service = view.service
    if service.external_name:
        return Discovery.DNS
    if service.resolution in _BY_DNS:
        return _BY_DNS[service.resolution]
    # the client of a headless service has chosen a pod already; a rule that names a subset chooses anew
    chosen = (service.headless and not subset) or service.resolution is Resolution.NONE
    return Discovery.DIALLED if chosen or policy.load_balancer is LoadBalancer.PASSTHROUGH else Discovery.EDS
