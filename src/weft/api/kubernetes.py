"""Kubernetes objects, only the fields that the mesh reads. Unknown fields are skipped while decoding.

`gc=False` keeps tens of thousands of them out of the garbage collector's walks; none of them can be in a cycle.
Lists that Go writes as null when empty are optional.
"""

import msgspec


class Partial(msgspec.Struct, frozen=True, kw_only=True, gc=False, rename="camel"):
    """A partial Kubernetes object."""


class OwnerReference(Partial, frozen=True):
    """Who made an object."""

    kind: str = ""
    name: str = ""
    controller: bool | None = None


class ObjectMeta(Partial, frozen=True):
    """Metadata of an object."""

    name: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None
    deletion_timestamp: str | None = None


class ServicePort(Partial, frozen=True):
    """One port of a Service."""

    port: int
    name: str = ""
    protocol: str = "TCP"
    target_port: int | str | None = None
    app_protocol: str | None = None


class ServiceSpec(Partial, frozen=True):
    """What a Service asks for."""

    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] | None = msgspec.field(default=None, name="clusterIPs")
    ip_families: tuple[str, ...] | None = None
    ports: tuple[ServicePort, ...] | None = None
    selector: dict[str, str] | None = None
    external_name: str = ""
    external_ips: tuple[str, ...] | None = msgspec.field(default=None, name="externalIPs")
    publish_not_ready_addresses: bool | None = None
    traffic_distribution: str | None = None


class PortStatus(Partial, frozen=True):
    """A port that is served at an address."""

    port: int
    protocol: str = "TCP"


class Address(Partial, frozen=True):
    """Where clients reach it: an address or a name."""

    ip: str = ""
    hostname: str = ""
    ports: tuple[PortStatus, ...] | None = None


class LoadBalancer(Partial, frozen=True):
    """What was given to a Service or an Ingress."""

    ingress: tuple[Address, ...] | None = None


class ServiceStatus(Partial, frozen=True):
    """What is told of a Service."""

    load_balancer: LoadBalancer = LoadBalancer()


class Service(Partial, frozen=True):
    """A Service."""

    metadata: ObjectMeta = ObjectMeta()
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


class Conditions(Partial, frozen=True):
    """The state of an endpoint; null is unknown: true (discovery.k8s.io/v1), for `terminating` false."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class TargetRef(Partial, frozen=True):
    """The object behind an endpoint."""

    kind: str = ""
    name: str = ""
    namespace: str = ""


class SliceEndpoint(Partial, frozen=True):
    """One endpoint; its addresses are interchangeable, the first is used."""

    addresses: tuple[str, ...] | None = None
    conditions: Conditions = Conditions()
    target_ref: TargetRef | None = None
    node_name: str | None = None
    hostname: str | None = None


class SlicePort(Partial, frozen=True):
    """One port of a slice's endpoints; its name is the Service port's."""

    name: str | None = None
    port: int | None = None
    protocol: str | None = None


class EndpointSlice(Partial, frozen=True):
    """A part of a Service's endpoints."""

    metadata: ObjectMeta = ObjectMeta()
    address_type: str = "IPv4"
    endpoints: tuple[SliceEndpoint, ...] | None = None
    ports: tuple[SlicePort, ...] | None = None


class ContainerPort(Partial, frozen=True):
    """A named port of a container."""

    container_port: int
    name: str = ""
    protocol: str = "TCP"


class Container(Partial, frozen=True):
    """A container, for its ports."""

    name: str = ""
    ports: tuple[ContainerPort, ...] | None = None


class PodSpec(Partial, frozen=True):
    """Where and as whom a Pod runs."""

    service_account_name: str = ""
    node_name: str = ""
    containers: tuple[Container, ...] | None = None
    init_containers: tuple[Container, ...] | None = None


class PodCondition(Partial, frozen=True):
    """One condition of a Pod."""

    type: str = ""
    status: str = ""


class PodStatus(Partial, frozen=True):
    """A Pod's address and state."""

    pod_ip: str = msgspec.field(default="", name="podIP")
    phase: str = ""
    conditions: tuple[PodCondition, ...] | None = None


class Pod(Partial, frozen=True):
    """A Pod."""

    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Node(Partial, frozen=True):
    """A Node, for its labels."""

    metadata: ObjectMeta = ObjectMeta()


class Namespace(Partial, frozen=True):
    """A Namespace, for its labels and annotations."""

    metadata: ObjectMeta = ObjectMeta()
