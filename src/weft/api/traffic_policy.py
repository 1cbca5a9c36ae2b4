"""The traffic policy of a DestinationRule: load balancing, limits, failing endpoints, and TLS."""

from typing import Annotated, Literal

from msgspec import Meta, field

from weft.api.shape import Duration, Port, PortSelector, Shape, UInt


class KeepAlive(Shape, frozen=True):
    """Probes of an idle connection."""

    probes: UInt | None = None
    time: Duration | None = None
    interval: Duration | None = None


class TcpPool(Shape, frozen=True):
    """Limits of connections."""

    max_connections: Annotated[int | None, Meta(description="At once; no limit by default.")] = None
    connect_timeout: Annotated[Duration | None, Meta(description="10s by default.")] = None
    tcp_keepalive: KeepAlive | None = None
    max_connection_duration: Duration | None = None
    idle_timeout: Duration | None = None


class Http2KeepAlive(Shape, frozen=True):
    """PING frames on an idle connection."""

    interval: Duration | None = None
    timeout: Duration | None = None


class HttpPool(Shape, frozen=True):
    """Limits of requests."""

    http1_max_pending_requests: Annotated[int | None, Meta(description="Requests that wait for a connection.")] = (
        None
    )
    http2_max_requests: Annotated[int | None, Meta(description="Requests under way at once.")] = None
    max_requests_per_connection: int | None = None
    max_retries: Annotated[int | None, Meta(description="Retries under way at once.")] = None
    idle_timeout: Duration | None = None
    h2_upgrade_policy: Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"] | None = None
    use_client_protocol: bool | None = None
    max_concurrent_streams: int | None = None
    http2_keep_alive: Http2KeepAlive | None = None


class ConnectionPool(Shape, frozen=True):
    """Limits of connections and requests to a host."""

    tcp: TcpPool | None = None
    http: HttpPool | None = None


class CookieAttribute(Shape, frozen=True):
    """One attribute of a cookie."""

    name: str = ""
    value: str = ""


class HttpCookie(Shape, frozen=True):
    """A cookie that ties a client to an endpoint."""

    name: str = ""
    path: str = ""
    ttl: Duration | None = None
    attributes: tuple[CookieAttribute, ...] = ()


class RingHash(Shape, frozen=True):
    """The ring-hash algorithm."""

    minimum_ring_size: UInt | None = None


class Maglev(Shape, frozen=True):
    """The Maglev algorithm."""

    table_size: UInt | None = None


class ConsistentHash(Shape, frozen=True):
    """What requests are hashed by."""

    http_header_name: str | None = None
    http_cookie: HttpCookie | None = None
    use_source_ip: bool | None = None
    http_query_parameter_name: str | None = None
    ring_hash: RingHash | None = None
    maglev: Maglev | None = None
    minimum_ring_size: UInt | None = None


class Distribute(Shape, frozen=True):
    """Shares of the traffic from one locality."""

    from_: Annotated[str, Meta(description="The clients' locality: region/zone/subzone; * is any.")] = field(
        default="", name="from"
    )
    to: Annotated[dict[str, UInt], Meta(description="Percent by locality; they sum to 100.")] = field(
        default_factory=dict
    )


class Failover(Shape, frozen=True):
    """Where traffic of one region goes when it is down."""

    from_: Annotated[str, Meta(description="The clients' region.")] = field(default="", name="from")
    to: Annotated[str, Meta(description="The region that comes next.")] = ""


class LocalityLb(Shape, frozen=True):
    """Load balancing by locality. Failover takes outlierDetection beside it, which tells what is down."""

    distribute: Annotated[
        tuple[Distribute, ...], Meta(description="Fixed shares, instead of the nearest first.")
    ] = ()
    failover: tuple[Failover, ...] = ()
    failover_priority: Annotated[
        tuple[str, ...],
        Meta(description="Labels, or label=value: the more of them an endpoint shares, in order, the earlier."),
    ] = ()
    enabled: Annotated[bool | None, Meta(description="false: localities are of no account.")] = None


class ZoneAwareLb(Shape, frozen=True):
    """Load balancing by zone: as much as evenly fits stays in the client's zone."""

    enabled: bool | None = None
    failover: tuple[Failover, ...] = ()
    failover_priority: Annotated[
        tuple[str, ...], Meta(description="As in localityLbSetting, without the labels of regions and zones.")
    ] = ()
    min_cluster_size: Annotated[
        UInt | None, Meta(description="With fewer endpoints, zones are of no account.")
    ] = None


class Warmup(Shape, frozen=True):
    """How a new endpoint's share grows."""

    duration: Duration | None = None
    minimum_percent: float | None = None
    aggression: float | None = None


class BackendUtilization(Shape, frozen=True):
    """Weights by the load that endpoints report."""

    metric_names_for_computing_utilization: Annotated[
        tuple[str, ...],
        Meta(description="Named metrics of the report (named_metrics.x); the application's own by default."),
    ] = ()
    error_utilization_penalty_percent: Annotated[
        UInt | None, Meta(description="How much errors count; 100 by default.")
    ] = None
    weight_update_period: Annotated[Duration | None, Meta(description="1s by default.")] = None
    weight_expiration_period: Annotated[Duration | None, Meta(description="3m by default.")] = None
    weight_stabilization_period: Annotated[
        Duration | None, Meta(description="How long an endpoint reports before it counts; 10s by default.")
    ] = None


Simple = Literal["UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"]


class LoadBalancer(Shape, frozen=True):
    """How an endpoint is chosen."""

    simple: Annotated[
        Simple | None, Meta(description="LEAST_REQUEST is the default; LEAST_CONN is its old name.")
    ] = None
    consistent_hash: Annotated[
        ConsistentHash | None, Meta(description="Requests with equal keys go to the same endpoint.")
    ] = None
    locality_lb_setting: LocalityLb | None = None
    zone_aware_lb_setting: ZoneAwareLb | None = None
    warmup_duration_secs: Annotated[Duration | None, Meta(description="Deprecated: use warmup.")] = None
    warmup: Annotated[Warmup | None, Meta(description="How a new endpoint's share grows.")] = None
    backend_utilization: BackendUtilization | None = None


class OutlierDetection(Shape, frozen=True):
    """When a failing endpoint is set aside."""

    consecutive_errors: Annotated[
        int | None, Meta(description="Deprecated and without effect: use consecutive5xxErrors.")
    ] = None
    split_external_local_origin_errors: bool | None = None
    consecutive_local_origin_failures: UInt | None = None
    consecutive_gateway_errors: Annotated[UInt | None, Meta(description="502, 503, 504 in a row.")] = None
    consecutive5xx_errors: Annotated[UInt | None, Meta(description="Errors in a row; 5 by default.")] = None
    interval: Duration | None = None
    base_ejection_time: Duration | None = None
    max_ejection_percent: Annotated[
        int | None, Meta(description="Of the endpoints, set aside at most; 10 by default.")
    ] = None
    min_health_percent: Annotated[
        int | None, Meta(description="With fewer than this healthy, all endpoints are used.")
    ] = None
    outlier_detection_http_error_codes: tuple[int, ...] = ()


class Tls(Shape, frozen=True):
    """TLS towards the host."""

    mode: Annotated[
        Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"],
        Meta(description="Without it, mTLS is used wherever the endpoint has a sidecar."),
    ] = "DISABLE"
    client_certificate: Annotated[str | None, Meta(description="A file in the proxy's container.")] = None
    private_key: Annotated[str | None, Meta(description="A file in the proxy's container.")] = None
    ca_certificates: Annotated[
        str | None, Meta(description="A file in the proxy's container; the system's roots by default.")
    ] = None
    credential_name: Annotated[
        str | None,
        Meta(description="A Secret, in place of files: at gateways, and in sidecars that workloadSelector names."),
    ] = None
    subject_alt_names: Annotated[
        tuple[str, ...], Meta(description="What the server's certificate must be for: one of these.")
    ] = ()
    sni: Annotated[str | None, Meta(description="The server name to ask for; the host by default.")] = None
    insecure_skip_verify: Annotated[bool | None, Meta(description="Take any certificate.")] = None
    ca_crl: Annotated[str | None, Meta(description="A file with the revoked certificates.")] = None


class Tunnel(Shape, frozen=True):
    """A tunnel through a proxy."""

    protocol: Annotated[str, Meta(description="CONNECT (the default) or POST.")] = ""
    target_host: Annotated[str, Meta(description="Where the proxy is asked to connect to.")] = ""
    target_port: Port | None = None


class ProxyProtocol(Shape, frozen=True):
    """The PROXY protocol."""

    version: Literal["V1", "V2"] = "V1"


class RetryBudget(Shape, frozen=True):
    """How much of the traffic may be retries."""

    percent: float | None = None
    min_retry_concurrency: UInt | None = None
    budget_interval: Annotated[
        Duration | None, Meta(description="Requests of this time count too; only those under way by default.")
    ] = None


class PortTrafficPolicy(Shape, frozen=True):
    """The policy of one port."""

    port: PortSelector | None = None
    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: Tls | None = None


class TrafficPolicy(Shape, frozen=True):
    """How clients talk to a host, or to one subset of it."""

    load_balancer: LoadBalancer | None = None
    tls: Tls | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    port_level_settings: Annotated[
        tuple[PortTrafficPolicy, ...], Meta(description="In place of all else here, for single ports.")
    ] = ()
    tunnel: Annotated[Tunnel | None, Meta(description="Connections of TCP and TLS go through the host.")] = None
    proxy_protocol: ProxyProtocol | None = None
    retry_budget: RetryBudget | None = None
