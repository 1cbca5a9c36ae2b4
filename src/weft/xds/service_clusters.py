"""The clusters of one service port as its clients reach it: the whole service, then its subsets."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from weft.model.mesh_config import MeshConfig
from weft.model.placing import groups, placement
from weft.model.services import Labels, ProxyKind, ServicePort
from weft.model.traffic import LoadBalancer, TrafficPolicy
from weft.model.view import PortView, ServiceView
from weft.xds.clusters import Discovery, OutboundCluster
from weft.xds.endpoints import Assignment


@dataclass(frozen=True, slots=True)
class ClientSide:
    """What the clusters of a client depend on besides the services."""

    mesh: MeshConfig
    kind: ProxyKind = ProxyKind.SIDECAR


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
    identities = tuple(sorted({endpoint.identity for endpoint in meshed if endpoint.identity}))
    for subset, labels, policy in policies:
        discovery = _discovery(view, subset, policy)
        if at_edge and discovery is Discovery.DIALLED:
            discovery = Discovery.EDS
            if policy.load_balancer is LoadBalancer.PASSTHROUGH:
                policy = replace(policy, load_balancer=LoadBalancer.LEAST_REQUEST)  # noqa: PLW2901, a narrower one
        placed = placement(policy, service.nearness, mesh.locality, mesh.zones)
        cluster = OutboundCluster(
            hostname=service.hostname,
            name=service.name,
            namespace=service.namespace,
            port=port.number,
            protocol=port.protocol,
            subset=subset,
            policy=policy,
            rule=traffic.rule,
            discovery=discovery,
            identities=identities,
            trust_domain=mesh.trust_domain,
            all_mutual=bool(meshed) and len(meshed) == len(port_view.endpoints),
            dns_name=service.external_name,
            credentials=at_edge or traffic.selected,
            weighted=placed is not None and bool(placed.distribute),
            zones=policy.zones or (mesh.zones if policy.locality is None else None),
        )
        if discovery is Discovery.EDS:
            chosen = (each for each in port_view.endpoints if set(labels) <= set(each.labels))
            yield cluster, Assignment(cluster.cluster, groups(chosen, placed, view.near), cluster.weighted)
        else:
            yield cluster, None


def _discovery(view: ServiceView, subset: str, policy: TrafficPolicy) -> Discovery:
    if view.service.external_name:
        return Discovery.DNS
    # the client of a headless service has chosen a pod already; a rule that names a subset chooses anew
    chosen = view.service.headless and not subset
    return Discovery.DIALLED if chosen or policy.load_balancer is LoadBalancer.PASSTHROUGH else Discovery.EDS
