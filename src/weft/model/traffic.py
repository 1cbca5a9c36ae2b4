"""Traffic policy: how a proxy talks to a service, after DestinationRules are resolved."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from weft.model.client_tls import AUTO, ClientTls
from weft.model.locality import LocalityLb, ZoneAwareLb
from weft.model.services import Labels


class LoadBalancer(StrEnum):
    """The ways to choose an endpoint. LEAST_REQUEST is the default, as in Istio."""

    LEAST_REQUEST = "LEAST_REQUEST"
    ROUND_ROBIN = "ROUND_ROBIN"
    RANDOM = "RANDOM"
    PASSTHROUGH = "PASSTHROUGH"


@dataclass(frozen=True, slots=True)
class ByHeader:
    """Hash by a header's value."""

    name: str


@dataclass(frozen=True, slots=True)
class ByQuery:
    """Hash by a query parameter's value."""

    name: str


@dataclass(frozen=True, slots=True)
class BySource:
    """Hash by the client's address."""


@dataclass(frozen=True, slots=True)
class ByCookie:
    """Hash by a cookie. With `ttl`, a client without it is given one; 0 means for its session."""

    name: str
    path: str = ""
    ttl: timedelta | None = None
    attributes: tuple[tuple[str, str], ...] = ()


HashKey = ByHeader | ByQuery | BySource | ByCookie


@dataclass(frozen=True, slots=True)
class ConsistentHash:
    """Equal keys go to the same endpoint. `table_size` is Maglev's; 0 means a ring of at least `ring_size`."""

    key: HashKey
    ring_size: int = 1024
    table_size: int = 0


@dataclass(frozen=True, slots=True)
class Warmup:
    """How a new endpoint's share grows over `duration`; with more `aggression`, faster at first."""

    duration: timedelta
    minimum_percent: float = 10.0
    aggression: float = 1.0


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """TCP probes of an idle connection; 0 and None leave the kernel's."""

    probes: int = 0
    time: timedelta | None = None
    interval: timedelta | None = None


@dataclass(frozen=True, slots=True)
class ConnectionPool:
    """Limits towards one host, for one proxy; 0 and None mean none, or Envoy's default."""

    max_connections: int = 0
    connect_timeout: timedelta | None = None
    keep_alive: KeepAlive | None = None
    max_connection_duration: timedelta | None = None
    tcp_idle_timeout: timedelta | None = None
    max_pending_requests: int = 0
    max_requests: int = 0
    max_requests_per_connection: int = 0
    max_retries: int = 0
    http_idle_timeout: timedelta | None = None
    upgrade_to_http2: bool | None = None
    use_client_protocol: bool = False
    max_concurrent_streams: int = 0
    ping_interval: timedelta | None = None
    ping_timeout: timedelta | None = None


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """When a failing endpoint is set aside. None leaves Istio's defaults; 0 switches that kind off.

    Percentages are whole numbers. `error_statuses`: which responses count as errors; none means 500 to 599.
    """

    consecutive_5xx: int | None = None
    consecutive_gateway: int | None = None
    consecutive_local: int | None = None
    split_local: bool = False
    interval: timedelta | None = None
    base_ejection_time: timedelta | None = None
    max_ejection_percent: int = 0
    min_health_percent: int = 0
    error_statuses: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """How much of the traffic may be retries: `percent` of what is under way, but at least `min_concurrency`.

    With `interval`, the requests of that time count as well.
    """

    percent: float = 20.0
    min_concurrency: int = 3
    interval: timedelta | None = None


@dataclass(frozen=True, slots=True)
class ByUtilization:
    """Weights by the load that endpoints report (ORCA). None leaves Envoy's defaults; `penalty` is a factor."""

    metrics: tuple[str, ...] = ()
    penalty: float | None = None
    update: timedelta | None = None
    expiration: timedelta | None = None
    stabilization: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Connections are carried through the host as a proxy, by CONNECT or POST, to `host:port`."""

    host: str
    port: int
    post: bool = False


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """How to talk to one service (or one subset of it) on one port.

    `utilization` goes before `hash`, and that before `load_balancer`. `proxy_protocol` is its version, 0 for none.
    `locality` and `zones` None leave it to the Service and to the mesh.
    """

    load_balancer: LoadBalancer = LoadBalancer.LEAST_REQUEST
    tls: ClientTls = AUTO
    hash: ConsistentHash | None = None
    warmup: Warmup | None = None
    pool: ConnectionPool = ConnectionPool()
    outliers: OutlierDetection | None = None
    retry_budget: RetryBudget | None = None
    proxy_protocol: int = 0
    utilization: ByUtilization | None = None
    locality: LocalityLb | None = None
    zones: ZoneAwareLb | None = None
    tunnel: Tunnel | None = None


PortPolicies = tuple[tuple[int, TrafficPolicy], ...]
"""Policies of single ports, in place of the one of all ports; sorted by port."""


@dataclass(frozen=True, slots=True)
class Subset:
    """Some of a service's endpoints: those that carry all these labels."""

    name: str
    labels: Labels
    policy: TrafficPolicy
    ports: PortPolicies = ()

    def at(self, port: int) -> TrafficPolicy:
        """The policy of a port."""
        return dict(self.ports).get(port, self.policy)


@dataclass(frozen=True, slots=True)
class HostTraffic:
    """The DestinationRule in force for a host. `rule` is its `name.namespace`, empty where there is none.

    `selected`: it selects its clients by label.
    """

    policy: TrafficPolicy = field(default_factory=TrafficPolicy)
    subsets: tuple[Subset, ...] = ()
    rule: str = ""
    ports: PortPolicies = ()
    selected: bool = False

    @property
    def policies(self) -> Iterator[TrafficPolicy]:
        """All policies: of the host, of its ports, of its subsets and of their ports."""
        yield self.policy
        yield from (policy for _, policy in self.ports)
        for subset in self.subsets:
            yield subset.policy
            yield from (policy for _, policy in subset.ports)

    def at(self, port: int) -> TrafficPolicy:
        """The policy of a port."""
        return dict(self.ports).get(port, self.policy)
