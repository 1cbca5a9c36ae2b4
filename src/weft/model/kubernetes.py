"""From Kubernetes' Services, EndpointSlices and Pods to the registry's values."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from weft.api import kubernetes as api
from weft.base.names import service_host, spiffe_id
from weft.model.clients import exported_to, sorted_labels
from weft.model.locality import NEARNESS, NETWORK, Nearness, locality
from weft.model.services import Endpoint, Labels, Protocol, Service, ServicePort

TLS_MODE: Final = "security.istio.io/tlsMode"
EXPORT_TO: Final = "networking.istio.io/exportTo"
TRAFFIC_DISTRIBUTION: Final = "networking.istio.io/traffic-distribution"
SERVICE_NAME: Final = "kubernetes.io/service-name"
_POD_TEMPLATE_HASH: Final = "pod-template-hash"

PROTOCOLS: Final = {
    "http": Protocol.HTTP,
    "http2": Protocol.HTTP2,
    "http_proxy": Protocol.HTTP,
    "grpc": Protocol.GRPC,
    "grpc-web": Protocol.GRPC_WEB,
    "https": Protocol.HTTPS,
    "tls": Protocol.TLS,
    "tcp": Protocol.TCP,
    "udp": Protocol.UDP,
    "mongo": Protocol.TCP,
    "mysql": Protocol.TCP,
    "redis": Protocol.TCP,
    # Kubernetes' own values of appProtocol
    "kubernetes.io/h2c": Protocol.HTTP2,
    "kubernetes.io/ws": Protocol.HTTP,
    "kubernetes.io/wss": Protocol.HTTPS,
}
# the server speaks first there (SMTP, DNS, MySQL, MongoDB): waiting for the client's bytes would stall it
SERVER_FIRST: Final = frozenset({25, 53, 3306, 27017})
_CRONJOB_RUN: Final = re.compile(r"-\d{8,10}$")


@dataclass(frozen=True, slots=True)
class Workload:
    """What the mesh knows of a pod. `ports` are its containers' named ports."""

    name: str
    namespace: str
    pod: str
    labels: Labels
    mutual_tls: bool
    identity: str
    service_account: str
    node: str
    address: str
    ports: tuple[tuple[str, int], ...] = ()
    locality: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """A Service as the registry lists it. `targets` are the pods' ports or their names, one for each port.

    `origin` is the name of the object that says so.
    """

    service: Service
    selector: Labels
    targets: tuple[int | str, ...]
    export_to: frozenset[str]
    families: tuple[str, ...] = ()
    publish_not_ready: bool = False
    origin: str = ""


def listing(source: api.Service, domain: str, of_namespace: Nearness = Nearness.ANY) -> Listing:
    """List a Service. UDP and SCTP ports are left out: the mesh carries TCP.

    `of_namespace` is what Services of its namespace prefer that say nothing themselves.
    """
    meta, spec = source.metadata, source.spec
    ports = [port for port in spec.ports or () if port.protocol == "TCP" and protocol(port) is not Protocol.UDP]
    headless = spec.cluster_ip == "None"
    addresses = spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ())
    service = Service(
        hostname=service_host(meta.name, meta.namespace, domain),
        name=meta.name,
        namespace=meta.namespace,
        addresses=() if headless else tuple(each for each in addresses if each != "None"),
        ports=tuple(ServicePort(port.name, port.port, protocol(port)) for port in ports),
        headless=headless,
        external_name=spec.external_name if spec.type == "ExternalName" else "",
        nearness=nearness(meta.annotations, spec.traffic_distribution or "", of_namespace),
    )
    written = (meta.annotations or {}).get(EXPORT_TO, "")
    return Listing(
        service=service,
        selector=sorted_labels(spec.selector),
        targets=tuple(port.target_port or port.port for port in ports),
        export_to=exported_to((each.strip() for each in written.split(",") if each.strip()), meta.namespace),
        families=spec.ip_families or (),
        publish_not_ready=bool(spec.publish_not_ready_addresses),
        origin=meta.name,
    )


def nearness(annotations: Mapping[str, str] | None, written: str, otherwise: Nearness) -> Nearness:
    """Which endpoints are preferred: by the annotation, else by the field, else as the namespace has it."""
    said = (annotations or {}).get(TRAFFIC_DISTRIBUTION) or written
    return NEARNESS.get(said, otherwise) if said else otherwise


def protocol(port: api.ServicePort) -> Protocol:
    """What a port speaks: its appProtocol, else its name up to the first dash, else AUTO."""
    if port.protocol == "UDP":
        return Protocol.UDP
    name = (port.app_protocol or port.name).lower()
    prefixes = (name, "grpc-web" if name.startswith("grpc-web") else "", name.partition("-")[0])
    found = next((PROTOCOLS[each] for each in prefixes if each in PROTOCOLS), None)
    if found is not None:
        return found
    return Protocol.TCP if port.port in SERVER_FIRST else Protocol.AUTO


def workload(pod: api.Pod, trust_domain: str, node_locality: str = "") -> Workload:
    """Describe a pod. Two pods that only differ in their status are equal here."""
    meta, spec = pod.metadata, pod.spec
    labels = meta.labels or {}
    account = spec.service_account_name or "default"
    containers = (*(spec.init_containers or ()), *(spec.containers or ()))
    ports = ((port.name, port.container_port) for each in containers for port in each.ports or () if port.name)
    return Workload(
        name=_workload_name(meta),
        namespace=meta.namespace,
        pod=meta.name,
        labels=sorted_labels(labels),
        mutual_tls=labels.get(TLS_MODE) == "istio",
        identity=spiffe_id(trust_domain, meta.namespace, account),
        service_account=account,
        node=spec.node_name,
        address=pod.status.pod_ip,
        ports=tuple(ports),
        locality=locality(labels, node_locality),
    )


@dataclass(frozen=True, slots=True)
class Places:
    """What stands behind endpoints: workloads by namespace and name, and localities by node."""

    workloads: Mapping[tuple[str, str], Workload]
    nodes: Mapping[str, str]


def is_pod_ready(pod: api.Pod) -> bool:
    """Whether new requests may go to a pod that no slice tells of."""
    told = any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions or ())
    return told and not pod.metadata.deletion_timestamp


def endpoints(
    listed: Listing, slices: Iterable[api.EndpointSlice], places: Places
) -> tuple[tuple[Endpoint, ...], ...]:
    """The endpoints of each port, sorted by address."""
    used = [each for each in slices if not listed.families or each.address_type == listed.families[0]]
    return tuple(_port_endpoints(listed, port.name, used, places) for port in listed.service.ports)


def _port_endpoints(
    listed: Listing, name: str, slices: list[api.EndpointSlice], places: Places
) -> tuple[Endpoint, ...]:
    found: dict[tuple[str, int], Endpoint] = {}
    draining: set[tuple[str, int]] = set()
    for each in slices:
        number = next((port.port for port in each.ports or () if (port.name or "") == name and port.port), 0)
        for source in (each.endpoints or ()) if number else ():
            if not source.addresses:
                continue
            place = (source.addresses[0], number)
            healthy = is_ready(source.conditions) or listed.publish_not_ready
            # while a pod moves between slices it may be in two: ready in one is ready
            if place not in found or healthy:
                found[place] = _endpoint(source, place, listed.service.namespace, places, healthy=healthy)
            if still_serves(source.conditions):
                draining.add(place)
    return tuple(found[place] for place in sorted(_with_fallback(found, draining)))


def _with_fallback(
    found: dict[tuple[str, int], Endpoint], draining: set[tuple[str, int]]
) -> dict[tuple[str, int], Endpoint]:
    """Where no endpoint is ready, take those that end but still serve (KEP-1669, as kube-proxy does)."""
    if any(each.healthy for each in found.values()):
        return found
    for place in draining:
        found[place] = replace(found[place], healthy=True)
    return found


def is_ready(conditions: api.Conditions) -> bool:
    """Whether new requests may go there. Unknown counts as ready (discovery.k8s.io/v1)."""
    return conditions.ready is not False and not conditions.terminating


def still_serves(conditions: api.Conditions) -> bool:
    """Whether an endpoint that is about to end still takes requests."""
    return bool(conditions.terminating) and conditions.serving is not False


def _endpoint(
    source: api.SliceEndpoint,
    place: tuple[str, int],
    namespace: str,
    places: Places,
    *,
    healthy: bool,
) -> Endpoint:
    address, port = place
    target = source.target_ref
    is_pod = target is not None and target.kind == "Pod"
    found = places.workloads.get((target.namespace or namespace, target.name)) if target and is_pod else None
    node = source.node_name or ""
    if found is None:
        return Endpoint(
            address,
            port,
            healthy=healthy,
            namespace=namespace,
            node=node,
            locality=places.nodes.get(node, ""),
            hostname=source.hostname or "",
        )
    return Endpoint(
        address=address,
        port=port,
        labels=found.labels,
        mutual_tls=found.mutual_tls,
        healthy=healthy,
        identity=found.identity,
        workload=found.name,
        namespace=found.namespace,
        node=node or found.node,
        locality=found.locality,
        network=dict(found.labels).get(NETWORK, ""),
        hostname=source.hostname or "",
    )


def _workload_name(meta: api.ObjectMeta) -> str:
    """The name of what people deployed: the Deployment behind a ReplicaSet, the CronJob behind a Job."""
    owner = next((each for each in meta.owner_references or () if each.controller), None)
    if owner is None:
        return meta.name
    match owner.kind:
        case "ReplicaSet":
            hash_label = (meta.labels or {}).get(_POD_TEMPLATE_HASH, "")
            return owner.name.removesuffix(f"-{hash_label}") if hash_label else owner.name
        case "Job":
            return _CRONJOB_RUN.sub("", owner.name)
        case _:
            return owner.name


def pods_of(sources: Iterable[api.EndpointSlice]) -> Iterator[tuple[str, str]]:
    """Namespace and name of every pod that slices point to."""
    for source in sources:
        for each in source.endpoints or ():
            if each.target_ref and each.target_ref.kind == "Pod":
                yield each.target_ref.namespace or source.metadata.namespace, each.target_ref.name
