"""Services, their ports and endpoints, and the proxies that call them, as the mesh knows them."""

from dataclasses import dataclass, field
from enum import StrEnum

from weft.model.locality import Nearness
from weft.model.proxy_traits import USUAL, ProxyTraits

Labels = tuple[tuple[str, str], ...]
"""Labels in sorted order, so that equal labels are equal values."""


class Protocol(StrEnum):
    """What a port speaks, from `appProtocol`, else the port's name (`http-web`), else learned (AUTO)."""

    HTTP = "http"
    HTTP2 = "http2"
    GRPC = "grpc"
    GRPC_WEB = "grpc-web"
    HTTPS = "https"
    TLS = "tls"
    TCP = "tcp"
    UDP = "udp"
    AUTO = "auto"

    @property
    def is_http(self) -> bool:
        """Whether requests can be routed one by one without looking at the bytes first."""
        return self in {Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB}


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a service. `number` is what clients dial; `target`, if not 0, what is dialled in its place."""

    name: str
    number: int
    protocol: Protocol
    target: int = 0


class Resolution(StrEnum):
    """How the endpoints of a service are found: known, as dialled, or by the DNS."""

    STATIC = "STATIC"
    NONE = "NONE"
    DNS = "DNS"
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"
    DYNAMIC_DNS = "DYNAMIC_DNS"


@dataclass(frozen=True, slots=True)
class Service:
    """A service of the registry. A headless service has no addresses.

    `hostname` is the full name (`nginx.sidecar.svc.cluster.local`), for ServiceEntries perhaps `*.example.com`.
    `addresses` are cluster IPs; of a ServiceEntry those that it names, ranges (CIDR) among them. Those that were
    `allocated` to a host without any are dialled only by clients whose proxy answers their DNS queries.
    `external`: outside the mesh. `subject_alt_names`: if any, the server's certificate must carry one of them.
    """

    hostname: str
    name: str
    namespace: str
    addresses: tuple[str, ...]
    ports: tuple[ServicePort, ...]
    headless: bool = False
    external_name: str = ""
    nearness: Nearness = Nearness.ANY
    resolution: Resolution = Resolution.STATIC
    external: bool = False
    allocated: tuple[str, ...] = ()
    subject_alt_names: tuple[str, ...] = ()
    kubernetes: bool = True

    def dialled(self, *, answered: bool) -> tuple[str, ...]:
        """The addresses that clients dial; `answered`: their proxy answers their DNS queries."""
        return self.addresses or (self.allocated if answered else ())


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One workload behind a service port. `port` is the port of the pod.

    `identity` is its SPIFFE ID; `mutual_tls` says that a sidecar there takes mTLS. `locality` is
    `region/zone/subzone`, shorter where less is known; `weight` is its share among its like. `hostname` is that of
    its pod, where the pod has a name below its headless service.
    """

    address: str
    port: int
    labels: Labels = ()
    mutual_tls: bool = False
    healthy: bool = True
    identity: str = ""
    workload: str = ""
    namespace: str = ""
    node: str = ""
    locality: str = ""
    weight: int = 1
    network: str = ""
    hostname: str = ""


@dataclass(frozen=True, slots=True)
class InboundPort:
    """A port of a proxy's own workload that a service points to.

    `number` is the pod's port; `service_port`, `name` and `hostname` are those of the service it serves.
    """

    number: int
    protocol: Protocol
    hostname: str
    service_port: int
    name: str = ""


class ProxyKind(StrEnum):
    """What a proxy is for: beside an application, or at the edge of the mesh. The first part of its node id."""

    SIDECAR = "sidecar"
    ROUTER = "router"


@dataclass(frozen=True, slots=True)
class Proxy:
    """One proxy, as it introduced itself and as the cluster knows its pod.

    `locality` is as that of an endpoint; `metadata` is what of its node metadata decides about its configuration.
    """

    name: str
    namespace: str
    address: str
    labels: Labels = ()
    service_account: str = "default"
    inbound: tuple[InboundPort, ...] = field(default=())
    kind: ProxyKind = ProxyKind.SIDECAR
    locality: str = ""
    metadata: Labels = ()
    node: str = ""
    traits: ProxyTraits = USUAL
