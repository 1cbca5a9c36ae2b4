"""MeshConfig (mesh.istio.io/v1alpha1): what an operator decides for the whole mesh, in the ConfigMap `istio`.

The description of each field says what Weft does with it; `docs/reference/mesh-config.md` lists them.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from weft.api.extension_providers import ExtensionProvider
from weft.api.shape import ACTED_ON, Duration, Port, Shape
from weft.api.traffic_policy import ConnectionPool, KeepAlive, LocalityLb, OutlierDetection, Tls, ZoneAwareLb
from weft.api.virtual_service import Retries

Anything = Any
ExportTo = tuple[str, ...]


def _later(what: str) -> Meta:
    """Mark a field that is accepted, and told of as not acted on."""
    return Meta(description=what, extra={ACTED_ON: False})


class OutboundTrafficPolicy(Shape, frozen=True):
    """What becomes of traffic to hosts that the registry does not know."""

    mode: Literal["REGISTRY_ONLY", "ALLOW_ANY", "ALLOW_ANY_DYNAMIC_DNS"] = "REGISTRY_ONLY"
    tls: Annotated[Tls | None, _later("TLS to hosts that are looked up.")] = None


class InboundTrafficPolicy(Shape, frozen=True):
    """Where the proxy looks for the application."""

    mode: Literal["PASSTHROUGH", "LOCALHOST"] = "PASSTHROUGH"


class Requirement(Shape, frozen=True):
    """One demand on a label."""

    key: str = ""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = "In"
    values: tuple[str, ...] = ()


class LabelSelector(Shape, frozen=True):
    """Namespaces by their labels; all demands must hold."""

    match_labels: dict[str, str] = field(default_factory=dict)
    match_expressions: tuple[Requirement, ...] = ()


class PathNormalization(Shape, frozen=True):
    """How paths are made alike before they are matched."""

    normalization: Literal["DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"] = "DEFAULT"


class TlsConfig(Shape, frozen=True):
    """What a TLS handshake may agree on."""

    min_protocol_version: Literal["TLS_AUTO", "TLSV1_2", "TLSV1_3"] = "TLS_AUTO"
    ecdh_curves: tuple[str, ...] = ()
    cipher_suites: tuple[str, ...] = ()


class LocalService(Shape, frozen=True):
    """Settings of some services."""

    cluster_local: bool | None = None


class ServiceSettings(Shape, frozen=True):
    """Services by their hosts, and settings for them."""

    settings: LocalService | None = None
    hosts: tuple[str, ...] = ()


class DefaultTrafficPolicy(Shape, frozen=True):
    """What DestinationRules inherit."""

    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None


class CaCertificates(Shape, frozen=True):
    """Roots, and whom they vouch for."""

    pem: str | None = None
    spiffe_bundle_url: Annotated[str | None, _later("Write the certificates as pem.")] = None
    cert_signers: tuple[str, ...] = ()
    trust_domains: tuple[str, ...] = ()


class MeshConfig(Shape, frozen=True):
    """All of it; what is left out has Istio's default."""

    proxy_listen_port: Annotated[
        Port | None,
        Meta(description="Port of outbound traffic, 15001 by default; pods have it from when they are injected."),
    ] = None
    proxy_inbound_listen_port: Annotated[
        Port | None,
        Meta(description="Port of inbound traffic, 15006 by default; pods have it from when they are injected."),
    ] = None
    proxy_http_port: Annotated[
        Annotated[int, Meta(ge=0, le=65535)] | None,
        Meta(description="A port on 127.0.0.1 where sidecars serve as an HTTP proxy; none by default."),
    ] = None
    connect_timeout: Annotated[
        Duration | None,
        Meta(description="How long a connection may take, 10s by default; DestinationRules override it."),
    ] = None
    hbone_idle_timeout: Annotated[Duration | None, _later("For ambient mode.")] = None
    protocol_detection_timeout: Annotated[
        Duration | None,
        Meta(
            description="How long a client may be silent before its bytes count as TCP; 0s for ever. "
            "By default 5s, and 60s on ports that HTTP services share."
        ),
    ] = None
    tcp_keepalive: Annotated[
        KeepAlive | None, Meta(description="Probes of idle connections to services; DestinationRules override it.")
    ] = None
    ingress_class: Annotated[
        str | None, Meta(description="The class of Ingress objects that are served, istio by default.")
    ] = None
    ingress_service: Annotated[
        str | None,
        Meta(description="The Service whose address Ingress objects show, istio-ingressgateway by default."),
    ] = None
    ingress_controller_mode: Annotated[
        Literal["UNSPECIFIED", "OFF", "DEFAULT", "STRICT"] | None,
        Meta(
            description="OFF: no Ingress; STRICT, the default: those of the class; DEFAULT: those of no class too."
        ),
    ] = None
    ingress_selector: Annotated[
        str | None,
        Meta(description="Label istio of the gateway that serves Ingress objects, ingressgateway by default."),
    ] = None
    enable_tracing: Annotated[bool | None, _later("Tracing comes with telemetry.")] = None
    access_log_file: Annotated[
        str | None,
        Meta(description="Where proxies log requests and connections, such as /dev/stdout; nowhere by default."),
    ] = None
    access_log_format: Annotated[
        str | None,
        Meta(description="The line of text, or a JSON object, of Envoy's operators; Istio's by default."),
    ] = None
    access_log_encoding: Annotated[
        Literal["TEXT", "JSON"] | None, Meta(description="TEXT, the default, or JSON.")
    ] = None
    enable_envoy_access_log_service: Annotated[bool | None, _later("Log services come with telemetry.")] = None
    disable_envoy_listener_log: Annotated[
        bool | None, Meta(description="true: connections that no filter chain takes are not logged.")
    ] = None
    default_config: Annotated[
        dict[str, Anything] | None,
        Meta(description="ProxyConfig of all proxies; ProxyConfig objects and pods' annotations go over it."),
    ] = None
    outbound_traffic_policy: Annotated[
        OutboundTrafficPolicy | None,
        Meta(
            description="ALLOW_ANY, the default: unknown hosts are reached as dialled. REGISTRY_ONLY: 502, or the "
            "connection ends. ALLOW_ANY_DYNAMIC_DNS: the Host header of HTTP is resolved by the proxy."
        ),
    ] = None
    inbound_traffic_policy: Annotated[
        InboundTrafficPolicy | None,
        Meta(description="PASSTHROUGH, the default: to the pod's address. LOCALHOST: to 127.0.0.1."),
    ] = None
    config_sources: Annotated[tuple[Anything, ...], _later("The cluster's API is the only source.")] = ()
    enable_auto_mtls: Annotated[
        bool | None,
        Meta(description="true, the default: mTLS wherever the endpoint takes it; false: where a rule asks."),
    ] = None
    trust_domain: Annotated[
        str | None,
        Meta(
            description="The first part of identities, cluster.local by default. "
            "When it changes, let the one before be an alias."
        ),
    ] = None
    trust_domain_aliases: Annotated[
        tuple[str, ...], Meta(description="Other trust domains whose identities count as the mesh's own.")
    ] = ()
    ca_certificates: Annotated[
        tuple[CaCertificates, ...],
        Meta(
            description="Further roots: of the mesh's own trust domain, of others (`trustDomains`), and of the "
            "cluster's signers (`certSigners`); `pem` only, not `spiffeBundleUrl`."
        ),
    ] = ()
    default_service_export_to: Annotated[
        ExportTo,
        Meta(description="exportTo of Services and ServiceEntries that have none; * by default, ~ is nobody."),
    ] = ()
    default_virtual_service_export_to: Annotated[
        ExportTo, Meta(description="exportTo of VirtualServices that have none.")
    ] = ()
    default_destination_rule_export_to: Annotated[
        ExportTo, Meta(description="exportTo of DestinationRules that have none.")
    ] = ()
    root_namespace: Annotated[
        str | None,
        Meta(description="Where mesh-wide rules live, istio-system by default."),
    ] = None
    locality_lb_setting: Annotated[
        LocalityLb | None,
        Meta(description="Locality load balancing of hosts whose DestinationRule says nothing of it."),
    ] = None
    zone_aware_lb_setting: Annotated[
        ZoneAwareLb | None,
        Meta(description="Zone-aware load balancing of hosts whose DestinationRule says nothing of it."),
    ] = None
    dns_refresh_rate: Annotated[
        Duration | None, Meta(description="How often names of DNS clusters are resolved, 60s by default.")
    ] = None
    h2_upgrade_policy: Annotated[
        Literal["DO_NOT_UPGRADE", "UPGRADE"] | None,
        Meta(description="UPGRADE: requests in HTTP/1.1 go on in HTTP/2; DestinationRules override it."),
    ] = None
    inbound_cluster_stat_name: Annotated[
        str | None, Meta(description="Pattern of the statistics' names of inbound clusters.")
    ] = None
    outbound_cluster_stat_name: Annotated[
        str | None, Meta(description="Pattern of the statistics' names of outbound clusters.")
    ] = None
    certificates: Annotated[tuple[Anything, ...], _later("Deprecated by Istio: use cert-manager.")] = ()
    service_settings: Annotated[
        tuple[ServiceSettings, ...],
        Meta(description="clusterLocal holds as it is: there is one cluster, and all endpoints are in it."),
    ] = ()
    service_scope_configs: Annotated[tuple[Anything, ...], _later("For several clusters.")] = ()
    enable_prometheus_merge: Annotated[bool | None, _later("Merged metrics come with telemetry.")] = None
    verify_certificate_at_client: Annotated[
        bool | None,
        Meta(
            description="false: TLS to a host whose rule names no roots is not verified; "
            "true, the default: by the system's roots."
        ),
    ] = None
    ca: Annotated[Anything, _later("Other authorities come with security policies.")] = None
    extension_providers: Annotated[
        tuple[ExtensionProvider, ...],
        Meta(
            description="envoyExtAuthzHttp and envoyExtAuthzGrpc: whom CUSTOM policies have asked. Those of "
            "telemetry are told of, not acted on."
        ),
    ] = ()
    default_providers: Annotated[Anything, _later("Providers of telemetry.")] = None
    discovery_selectors: Annotated[
        tuple[LabelSelector, ...],
        Meta(description="Namespaces by their labels; of others nothing is kept. All by default."),
    ] = ()
    path_normalization: Annotated[
        PathNormalization | None,
        Meta(description="How paths are made alike before they are matched; BASE by default."),
    ] = None
    default_http_retry_policy: Annotated[
        Retries | None,
        Meta(description="Retries of routes that have none of their own; perTryTimeout is not taken."),
    ] = None
    default_inbound_http_retry_policy: Annotated[
        Retries | None,
        Meta(description="Retries of the receiving sidecar; none by default, the calling one tries again."),
    ] = None
    mesh_mtls: Annotated[
        TlsConfig | None, Meta(description="Versions and ciphers of the mesh's own mTLS; TLS 1.2 at least.")
    ] = field(default=None, name="meshMTLS")
    tls_defaults: Annotated[
        TlsConfig | None, Meta(description="Versions, ciphers and curves of all other TLS, gateways included.")
    ] = None
    default_traffic_policy: Annotated[
        DefaultTrafficPolicy | None,
        Meta(description="connectionPool and outlierDetection that DestinationRules go over, field by field."),
    ] = None
    service_entry_visibility: Annotated[Anything, _later("For ambient mode; exportTo holds for sidecars.")] = None
    compliance_policy: Annotated[str | None, _later("Comes with security policies.")] = None
