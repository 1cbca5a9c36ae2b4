"""The clusters of one service port as its clients reach it: the whole service, then its subsets."""

from collections.abc import Iterable
from dataclasses import replace

from weft.model.mesh_config import MeshConfig
from weft.model.services import Labels, ServicePort
from weft.model.traffic import LoadBalancer, TrafficPolicy
from weft.model.view import PortView, ServiceView
from weft.xds.clusters import Discovery, OutboundCluster
from weft.xds.endpoints import Assignment


def clusters(
    view: ServiceView, port: ServicePort, port_view: PortView, mesh: MeshConfig, *, at_edge: bool = False
) -> Iterable[tuple[OutboundCluster, Assignment | None]]:
    """Each cluster with its endpoints; None where it finds them by itself.

    `at_edge`: for gateways, whose clients have dialled the gateway and no endpoint.
    """
    service, traffic = view.service, view.traffic
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
            at_edge=at_edge,
        )
        told = discovery is Discovery.EDS
        yield cluster, _assignment(cluster, labels, port_view) if told else None


def _assignment(cluster: OutboundCluster, labels: Labels, port_view: PortView) -> Assignment:
    return Assignment(
        cluster.cluster, tuple(each for each in port_view.endpoints if set(labels) <= set(each.labels))
    )


def _discovery(view: ServiceView, subset: str, policy: TrafficPolicy) -> Discovery:
    if view.service.external_name:
        return Discovery.DNS
    # the client of a headless service has chosen a pod already; a rule that names a subset chooses anew
    chosen = view.service.headless and not subset
    return Discovery.DIALLED if chosen or policy.load_balancer is LoadBalancer.PASSTHROUGH else Discovery.EDS
