"""Services and EndpointSlices, as far as the network reads them."""

from typing import Any

import msgspec
from msgspec import Struct


class Meta(Struct, frozen=True):
    """An object's name and labels."""

    name: str
    namespace: str = ""
    labels: dict[str, str] | None = None


class Named(Struct, frozen=True):
    """Any object, by its metadata alone."""

    metadata: Meta


class ServicePort(Struct, frozen=True, rename="camel"):
    """One port of a service."""

    port: int
    name: str = ""
    protocol: str = "TCP"
    node_port: int = 0


class ClientIp(Struct, frozen=True, rename="camel"):
    """How long a client stays with its endpoint after its last connection."""

    timeout_seconds: int = 10800


class AffinityConfig(Struct, frozen=True):
    """What a session affinity is told."""

    client_ip: ClientIp | None = msgspec.field(default=None, name="clientIP")


class ServiceSpec(Struct, frozen=True, rename="camel"):
    """What a service asks for."""

    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    ports: list[ServicePort] | None = None
    external_ips: list[str] | None = msgspec.field(default=None, name="externalIPs")
    session_affinity: str = "None"
    session_affinity_config: AffinityConfig | None = None
    internal_traffic_policy: str | None = None
    external_traffic_policy: str | None = None
    external_name: str = ""
    publish_not_ready_addresses: bool = False
    load_balancer_source_ranges: list[str] | None = None
    load_balancer_class: str | None = None
    health_check_node_port: int = 0


class Service(Struct, frozen=True):
    """A service."""

    metadata: Meta
    spec: ServiceSpec
    status: dict[str, Any] | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.metadata.namespace, self.metadata.name

    @property
    def headless(self) -> bool:
        """Whether it has no address of its own."""
        return self.spec.cluster_ip in {"", "None"}

    @property
    def ingress_ips(self) -> tuple[str, ...]:
        """The addresses of a load balancer that hands connections on as they are (`ipMode` VIP)."""
        ingress = ((self.status or {}).get("loadBalancer") or {}).get("ingress") or []
        return tuple(str(one["ip"]) for one in ingress if one.get("ip") and one.get("ipMode", "VIP") == "VIP")


class Conditions(Struct, frozen=True):
    """An endpoint's conditions; absent means ready (discovery/v1)."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Reference(Struct, frozen=True):
    """The object behind an endpoint."""

    kind: str = ""
    name: str = ""
    namespace: str = ""


class For(Struct, frozen=True):
    """A zone or a node that an endpoint is meant for."""

    name: str = ""


class Hints(Struct, frozen=True, rename="camel"):
    """Whose traffic an endpoint should get."""

    for_zones: list[For] | None = None
    for_nodes: list[For] | None = None


class SliceEndpoint(Struct, frozen=True, rename="camel"):
    """One endpoint."""

    addresses: list[str]
    conditions: Conditions | None = None
    hostname: str | None = None
    node_name: str | None = None
    target_ref: Reference | None = None
    hints: Hints | None = None

    @property
    def ready(self) -> bool:
        """Whether it takes new connections."""
        return self.conditions is None or self.conditions.ready is not False

    @property
    def draining(self) -> bool:
        """Whether it ends, and still serves."""
        return self.conditions is not None and bool(self.conditions.terminating and self.conditions.serving)


class SlicePort(Struct, frozen=True):
    """A port of all endpoints of a slice: the number that pods listen on."""

    port: int | None = None
    name: str | None = None
    protocol: str | None = None


class Slice(Struct, frozen=True, rename="camel"):
    """An EndpointSlice."""

    metadata: Meta
    address_type: str = "IPv4"
    endpoints: list[SliceEndpoint] | None = None
    ports: list[SlicePort] | None = None

    @property
    def service(self) -> tuple[str, str]:
        """Namespace and name of the service that it belongs to."""
        return self.metadata.namespace, (self.metadata.labels or {}).get("kubernetes.io/service-name", "")
