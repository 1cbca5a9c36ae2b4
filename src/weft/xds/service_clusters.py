"""The clusters of one service port as its clients reach it: the whole service, then its subsets."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from weft.model.mesh_config import MeshConfig
from weft.model.services import Endpoint, Labels, Resolution, Service, ServicePort
from weft.model.traffic import LoadBalancer, TrafficPolicy
from weft.model.view import PortView, ServiceView
from weft.xds.clusters import OutboundCluster
from weft.xds.discovery import Discovery
from weft.xds.endpoints import Assignment

_BY_DNS: Final = {
    Resolution.DNS: Discovery.DNS,
    Resolution.DNS_ROUND_ROBIN: Discovery.DNS_ROUND_ROBIN,
    Resolution.DYNAMIC_DNS: Discovery.DYNAMIC_DNS,
}


def clusters(
    view: ServiceView,
    port: ServicePort,
    port_view: PortView,
    mesh: MeshConfig,
    *,
    at_edge: bool = False,
    ipv6: bool = False,
) -> Iterable[tuple[OutboundCluster, Assignment | None]]:
    """Each cluster with its endpoints; None where it finds them by itself.

    `at_edge`: for gateways, whose clients have dialled the gateway and no endpoint. `ipv6`: see OutboundCluster.
    """
    service, traffic = view.service, view.traffic
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
            resolved=_resolved(service, port, labels, port_view) if discovery.brings_endpoints else (),
            target=port.target,
            refresh=mesh.dns_refresh_rate,
            ipv6=ipv6,
            at_edge=at_edge,
        )
        told = discovery is Discovery.EDS
        yield cluster, _assignment(cluster, labels, port_view) if told else None


def _assignment(cluster: OutboundCluster, labels: Labels, port_view: PortView) -> Assignment:
    return Assignment(
        cluster.cluster, tuple(each for each in port_view.endpoints if set(labels) <= set(each.labels))
    )


def _resolved(service: Service, port: ServicePort, labels: Labels, port_view: PortView) -> tuple[Endpoint, ...]:
    if service.external_name:
        return (Endpoint(service.external_name, port.number),)
    found = [each for each in port_view.endpoints if each.healthy and set(labels) <= set(each.labels)]
    # the DNS is asked for one name only, for one connection after the other
    return tuple(found[:1] if service.resolution is Resolution.DNS_ROUND_ROBIN else found)


def _discovery(view: ServiceView, subset: str, policy: TrafficPolicy) -> Discovery:
    service = view.service
    if service.external_name:
        return Discovery.DNS
    if service.resolution in _BY_DNS:
        return _BY_DNS[service.resolution]
    # the client of a headless service has chosen a pod already; a rule that names a subset chooses anew
    chosen = (service.headless and not subset) or service.resolution is Resolution.NONE
    return Discovery.DIALLED if chosen or policy.load_balancer is LoadBalancer.PASSTHROUGH else Discovery.EDS
