"""Settings of one proxy: the annotation `proxy.istio.io/config`, and MeshConfig.defaultConfig."""

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from weft.api.shape import NOT_YET, Duration, Port, Shape, UInt

ImageType = Literal["default", "distroless", "debug"]
ForwardClientCert = Literal[
    "UNDEFINED", "SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY"
]


class Image(Shape, frozen=True):
    """The proxy's image."""

    image_type: Annotated[
        ImageType | None, Meta(description="The variant: the tag's ending, as in 1.0.0-distroless.")
    ] = None


class StatsMatcher(Shape, frozen=True):
    """Statistics to keep besides the usual ones."""

    inclusion_prefixes: tuple[str, ...] = ()
    inclusion_suffixes: tuple[str, ...] = ()
    inclusion_regexps: tuple[str, ...] = ()


class GatewayTopology(Shape, frozen=True):
    """What stands before a gateway."""

    num_trusted_proxies: Annotated[
        UInt | None, Meta(description="How many entries of x-forwarded-for, from the right, are to be believed.")
    ] = None
    forward_client_cert_details: Annotated[
        ForwardClientCert | None, Meta(description="What becomes of x-forwarded-client-cert.")
    ] = None
    proxy_protocol: Annotated[
        dict[str, Any] | None, Meta(description="Set ({}) where connections begin with the PROXY protocol.")
    ] = None


class ServerHeader(Shape, frozen=True):
    """The response header `server`."""

    disabled: bool | None = None
    value: str | None = None


class Switch(Shape, frozen=True):
    """Something that is on unless it is disabled."""

    disabled: bool | None = None


class Enabled(Shape, frozen=True):
    """Something that is off unless it is enabled."""

    enabled: bool | None = None


class MetadataExchange(Shape, frozen=True):
    """Headers by which proxies tell each other of their workloads."""

    mode: Literal["UNDEFINED", "IN_MESH"] | None = None


class ClientCertDetails(Shape, frozen=True):
    """What x-forwarded-client-cert tells of the client's certificate."""

    subject: bool | None = None
    cert: bool | None = None
    chain: bool | None = None
    dns: bool | None = None
    uri: bool | None = None


class ProxyHeaders(Shape, frozen=True):
    """The headers that proxies add by themselves."""

    server: ServerHeader | None = None
    forwarded_client_cert: ForwardClientCert | None = None
    request_id: Switch | None = None
    attempt_count: Switch | None = None
    envoy_debug_headers: Switch | None = None
    metadata_exchange_headers: Annotated[MetadataExchange | None, NOT_YET] = None
    set_current_client_cert_details: ClientCertDetails | None = None
    preserve_http1_header_case: Annotated[
        bool | None, Meta(description="Whether headers of HTTP/1 keep the case in which they came.")
    ] = field(default=None, name="preserveHttp1HeaderCase")
    x_forwarded_host: Enabled | None = field(default=None, name="xForwardedHost")
    x_forwarded_port: Enabled | None = field(default=None, name="xForwardedPort")


class ConnectionSettings(Shape, frozen=True):
    """How connections of clients are handled. `EDGE` are Envoy's recommendations for gateways."""

    profile: Literal["UNSPECIFIED", "SIDECAR", "EDGE"] | None = None
    listener_per_connection_buffer_limit_bytes: UInt | None = None
    cluster_per_connection_buffer_limit_bytes: UInt | None = None
    http_idle_timeout: Duration | None = None
    http_max_connection_duration: Duration | None = None
    http_max_stream_duration: Duration | None = None
    http_stream_idle_timeout: Duration | None = None
    http_request_timeout: Duration | None = None
    http_request_headers_timeout: Duration | None = None
    http_drain_timeout: Duration | None = None
    http_max_concurrent_streams: Annotated[int, Meta(ge=1, le=2147483647)] | None = None
    http2_initial_stream_window_size: Annotated[int, Meta(ge=65535, le=2147483647)] | None = field(
        default=None, name="http2InitialStreamWindowSize"
    )
    http2_initial_connection_window_size: Annotated[int, Meta(ge=65535, le=2147483647)] | None = field(
        default=None, name="http2InitialConnectionWindowSize"
    )
    http_headers_with_underscores_action: (
        Literal[
            "HEADERS_WITH_UNDERSCORES_UNSPECIFIED",
            "HEADERS_WITH_UNDERSCORES_ALLOW",
            "HEADERS_WITH_UNDERSCORES_REJECT_REQUEST",
            "HEADERS_WITH_UNDERSCORES_DROP_HEADER",
            "ALLOW",
            "REJECT_REQUEST",
            "DROP_HEADER",
        ]
        | None
    ) = None
    http_merge_slashes: bool | None = None
    http_path_with_escaped_slashes_action: (
        Literal[
            "PATH_WITH_ESCAPED_SLASHES_UNSPECIFIED",
            "KEEP_UNCHANGED",
            "REJECT_REQUEST",
            "UNESCAPE_AND_REDIRECT",
            "UNESCAPE_AND_FORWARD",
        ]
        | None
    ) = None


class ProxySettings(Shape, frozen=True):
    """All of it. What is not set is left to the mesh."""

    discovery_address: Annotated[str | None, Meta(description="Where istiod serves configuration: host:port.")] = (
        None
    )
    concurrency: Annotated[
        Annotated[int, Meta(ge=0, le=1024)] | None,
        Meta(description="Worker threads of Envoy; 0 is one for each processor."),
    ] = None
    drain_duration: Annotated[
        Duration | None, Meta(description="How long Envoy drains connections of listeners that go.")
    ] = None
    termination_drain_duration: Annotated[
        Duration | None, Meta(description="How long an ending proxy goes on serving.")
    ] = None
    status_port: Annotated[Port | None, Meta(description="The agent's port.")] = None
    proxy_admin_port: Annotated[Port | None, Meta(description="The port of Envoy's admin interface.")] = None
    interception_mode: Annotated[
        Literal["REDIRECT", "TPROXY", "NONE"] | None, Meta(description="How the pod's traffic is captured.")
    ] = None
    image: Image | None = None
    proxy_metadata: Annotated[
        dict[str, str] | None,
        Meta(description="Environment variables; those with ISTIO_META_ are told to istiod too."),
    ] = None
    runtime_values: Annotated[
        dict[str, str] | None, Meta(description="Envoy's runtime flags; an empty value takes a usual one away.")
    ] = None
    proxy_stats_matcher: StatsMatcher | None = None
    extra_stat_tags: Annotated[
        tuple[str, ...] | None, Meta(description="Labels to take out of the names of statistics.")
    ] = None
    stats_compression: Annotated[
        bool | None, Meta(description="Whether metrics are sent compressed to who takes that.")
    ] = None
    gateway_topology: GatewayTopology | None = None
    hold_application_until_proxy_starts: Annotated[
        bool | None, Meta(description="Start the application's containers only once the proxy serves.")
    ] = None
    ca_certificates_pem: Annotated[
        tuple[str, ...] | None, Meta(description="More root certificates to trust workloads by.")
    ] = None
    proxy_headers: ProxyHeaders | None = None
    connection_settings: ConnectionSettings | None = None
    file_flush_interval: Annotated[
        Duration | None, Meta(description="How often Envoy writes its log files out.")
    ] = None
    file_flush_min_size_kb: Annotated[
        UInt | None, Meta(description="How much Envoy keeps back before it writes a log file.")
    ] = None
    mesh_id: Annotated[str | None, Meta(description="The mesh's name in telemetry.")] = None
    service_cluster: Annotated[str | None, Meta(description="Envoy's name for the workload in traces.")] = None
    # what follows is known; the checks tell whoever sets it that it does nothing
    readiness_probe: Annotated[Any, NOT_YET] = None
    private_key_provider: Annotated[Any, NOT_YET] = None
    tracing: Annotated[Any, NOT_YET] = None
    tracing_service_name: Annotated[Any, NOT_YET] = None
    zipkin_address: Annotated[Any, NOT_YET] = None
    statsd_udp_address: Annotated[Any, NOT_YET] = None
    envoy_access_log_service: Annotated[Any, NOT_YET] = None
    envoy_metrics_service: Annotated[Any, NOT_YET] = None
    envoy_metrics_service_address: Annotated[Any, NOT_YET] = None
    custom_config_file: Annotated[Any, NOT_YET] = None
    parent_shutdown_duration: Annotated[Any, NOT_YET] = None
    proxy_bootstrap_template_path: Annotated[Any, NOT_YET] = None
    stat_name_length: Annotated[Any, NOT_YET] = None
    binary_path: Annotated[Any, NOT_YET] = None
    config_path: Annotated[Any, NOT_YET] = None
    control_plane_auth_policy: Annotated[Any, NOT_YET] = None
    availability_zone: Annotated[Any, NOT_YET] = None
    discovery_refresh_delay: Annotated[Any, NOT_YET] = None
    sds: Annotated[Any, NOT_YET] = None
