"""From Services and EndpointSlices to what is balanced: each address and port, and where connections to it go."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, collapse_addresses

from weft.cluster.network.directory import Picture
from weft.cluster.network.objects import ClientIp, Service, ServicePort, Slice, SliceEndpoint


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Where a connection can go."""

    ip: str
    port: int


@dataclass(frozen=True, slots=True)
class Balanced:
    """One port of one service, as one node sees it.

    `inside` serves connections to the service's own address, `outside` those to node ports and external addresses:
    traffic policies may keep either on this node. `everywhere` serves what this node and its pods send to the
    outer addresses, which the outer policy is not about. `balancer_ips` are external addresses too; clients that
    are not in one of the `sources` (CIDRs, None: all may) get nowhere there. `sticky_seconds`: how long a client
    stays with a target after its last connection (sessionAffinity ClientIP), 0 if it does not.
    """

    namespace: str
    service: str
    name: str
    protocol: str
    port: int
    cluster_ip: str
    external_ips: tuple[str, ...]
    node_port: int
    inside: tuple[Target, ...]
    outside: tuple[Target, ...]
    everywhere: tuple[Target, ...]
    sticky_seconds: int = 0
    balancer_ips: tuple[str, ...] = ()
    sources: tuple[str, ...] | None = None

    @property
    def label(self) -> str:
        """`NAMESPACE/SERVICE PORTNAME`, for comments."""
        return f"{self.namespace}/{self.service} {self.name or self.port}"


def balanced(picture: Picture, node_name: str) -> list[Balanced]:
    """All balanced ports for a node, in a stable order. Headless services and ExternalNames have none."""
    slices = picture.by_service()
    return [
        _port(service, port, slices.get(key, []), node_name, picture.zone)
        for key, service in sorted(picture.services.items())
        if service.spec.type != "ExternalName" and not service.headless and ":" not in service.spec.cluster_ip
        for port in service.spec.ports or []
        if port.protocol in {"TCP", "UDP", "SCTP"}
    ]


def _port(service: Service, port: ServicePort, slices: list[Slice], node_name: str, zone: str) -> Balanced:
    everywhere = list(_endpoints(port, slices))
    inside = outside = usable = _usable(_near(everywhere, node_name, zone))
    here = _usable([(one, number) for one, number in everywhere if one.node_name == node_name])
    if service.spec.internal_traffic_policy == "Local":
        inside = here
    if service.spec.external_traffic_policy == "Local":
        outside = here
    return Balanced(
        namespace=service.metadata.namespace,
        service=service.metadata.name,
        name=port.name,
        protocol=port.protocol.lower(),
        port=port.port,
        cluster_ip=service.spec.cluster_ip,
        external_ips=_addresses(service.spec.external_ips or ()),
        node_port=port.node_port,
        inside=inside,
        outside=outside,
        everywhere=usable,
        sticky_seconds=_sticky_seconds(service),
        balancer_ips=_addresses(service.ingress_ips),
        sources=_sources(service),
    )


def _addresses(given: Iterable[str]) -> tuple[str, ...]:
    """The IPv4 addresses among these texts: one that is none must not spoil the rules of all services."""
    return tuple(sorted({one for one in given if _is(IPv4Address, one)}))


def _sources(service: Service) -> tuple[str, ...] | None:
    """Who may come by a load balancer's address; None for everybody."""
    given = [one.strip() for one in service.spec.load_balancer_source_ranges or ()]
    if not given or service.spec.type != "LoadBalancer":
        return None
    ranges = [IPv4Network(one, strict=False) for one in given if _is(_network, one)]
    # nft refuses ranges that overlap
    return tuple(str(one) for one in collapse_addresses(ranges))


def _network(text: str) -> IPv4Network:
    return IPv4Network(text, strict=False)


def _is(kind: Callable[[str], object], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def _endpoints(port: ServicePort, slices: list[Slice]) -> Iterator[tuple[SliceEndpoint, int]]:
    """The endpoints that serve a port: slices name their ports as the service does, with the number resolved."""
    for one in slices:
        if one.address_type != "IPv4":
            continue
        numbers = [
            number.port
            for number in one.ports or []
            if (number.name or "") == port.name and (number.protocol or "TCP") == port.protocol and number.port
        ]
        for endpoint in one.endpoints or []:
            yield from ((endpoint, number) for number in numbers)


def _near(
    endpoints: list[tuple[SliceEndpoint, int]], node_name: str, zone: str
) -> list[tuple[SliceEndpoint, int]]:
    """Those that the hints mean for this node, else for its zone; all, unless every ready one has such a hint."""
    ready = [pair for pair in endpoints if pair[0].ready]
    for wanted, named in ((node_name, "for_nodes"), (zone, "for_zones")):
        hinted = [[each.name for each in getattr(one.hints, named, None) or ()] for one, _ in ready]
        if wanted and all(hinted) and any(wanted in names for names in hinted):
            return [pair for pair, names in zip(ready, hinted, strict=True) if wanted in names]
    return endpoints


def _usable(endpoints: Iterable[tuple[SliceEndpoint, int]]) -> tuple[Target, ...]:
    """The ready ones; where there are none, those that end but still serve (as kube-proxy does)."""
    listed = list(endpoints)
    chosen = [pair for pair in listed if pair[0].ready] or [pair for pair in listed if pair[0].draining]
    return tuple(sorted({Target(address, number) for one, number in chosen for address in one.addresses}))


def _sticky_seconds(service: Service) -> int:
    if service.spec.session_affinity != "ClientIP":
        return 0
    config = service.spec.session_affinity_config
    return ((config and config.client_ip) or ClientIp()).timeout_seconds
