"""From a MeshConfig as written to the mesh's settings."""

from dataclasses import replace
from datetime import timedelta

from weft.api import mesh_config as api
from weft.api import virtual_service
from weft.base.durations import parse_duration
from weft.model.external_authorization import providers
from weft.model.http_rules import retries_of
from weft.model.mesh_config import (
    AccessLog,
    FurtherRoots,
    IngressMode,
    IngressSettings,
    MeshConfig,
    OutboundPolicy,
    PathNormalization,
    Ports,
    Selector,
    StatNames,
    TlsLimits,
)
from weft.model.routing import Retries
from weft.model.traffic import ConnectionPool
from weft.model.traffic_policies import (
    connection_pool,
    keep_alive_of,
    locality_lb,
    outlier_detection,
    zone_aware_lb,
)

_DEFAULT = MeshConfig()
_PATHS = {"DEFAULT": PathNormalization.BASE}
_UPGRADE = {"UPGRADE": True}
_MODES = {"OFF": IngressMode.OFF, "DEFAULT": IngressMode.DEFAULT}


def mesh_config(written: api.MeshConfig, root_namespace: str) -> MeshConfig:
    """Translate settings that have passed their checks. `root_namespace` is that of istiod, the default."""
    deciding = providers(written.extension_providers)
    outbound, default = written.outbound_traffic_policy, _DEFAULT
    inbound, policy = written.inbound_traffic_policy, written.default_traffic_policy
    outliers = policy.outlier_detection if policy else None
    paths = written.path_normalization.normalization if written.path_normalization else "DEFAULT"
    return MeshConfig(
        trust_domain=written.trust_domain or default.trust_domain,
        trust_domain_aliases=written.trust_domain_aliases,
        authorities=tuple(
            FurtherRoots(each.pem.strip() + "\n", each.trust_domains, each.cert_signers)
            for each in written.ca_certificates
            if each.pem
        ),
        root_namespace=written.root_namespace or root_namespace,
        outbound=OutboundPolicy(outbound.mode) if outbound else default.outbound,
        inbound_localhost=inbound is not None and inbound.mode == "LOCALHOST",
        detection_timeout=_time(written.protocol_detection_timeout),
        pool=_pool(written),
        outliers=None if outliers is None else outlier_detection(outliers),
        locality=locality_lb(written.locality_lb_setting) if written.locality_lb_setting else default.locality,
        zones=zone_aware_lb(written.zone_aware_lb_setting) if written.zone_aware_lb_setting else None,
        auto_mtls=written.enable_auto_mtls is not False,
        service_export=written.default_service_export_to or default.service_export,
        routing_export=written.default_virtual_service_export_to or default.routing_export,
        traffic_export=written.default_destination_rule_export_to or default.traffic_export,
        dns_refresh_rate=_time(written.dns_refresh_rate) or default.dns_refresh_rate,
        retries=_retries(written.default_http_retry_policy),
        inbound_retries=_retries(written.default_inbound_http_retry_policy),
        stat_names=StatNames(written.inbound_cluster_stat_name or "", written.outbound_cluster_stat_name or ""),
        ports=Ports(
            written.proxy_listen_port or default.ports.outbound,
            written.proxy_inbound_listen_port or default.ports.inbound,
            written.proxy_http_port or 0,
        ),
        paths=_PATHS.get(paths) or PathNormalization(paths),
        access_log=AccessLog(
            written.access_log_file or "", written.access_log_format or "", written.access_log_encoding == "JSON"
        ),
        listener_log=not written.disable_envoy_listener_log,
        verify_at_client=written.verify_certificate_at_client is not False,
        mutual_tls=_limits(written.mesh_mtls),
        tls=_limits(written.tls_defaults),
        discovery=tuple(_selector(each) for each in written.discovery_selectors),
        ingress=IngressSettings(
            mode=_MODES.get(written.ingress_controller_mode or "", IngressMode.STRICT),
            class_name=written.ingress_class or default.ingress.class_name,
            service=written.ingress_service or default.ingress.service,
            selector=written.ingress_selector or default.ingress.selector,
        ),
        providers=deciding,
        other_providers=tuple(
            sorted({each.name for each in written.extension_providers} - {each.name for each in deciding})
        ),
        default_config=written.default_config or {},
    )


def _pool(written: api.MeshConfig) -> ConnectionPool:
    policy = written.default_traffic_policy
    pool = connection_pool(policy.connection_pool) if policy and policy.connection_pool else ConnectionPool()
    return replace(
        pool,
        connect_timeout=pool.connect_timeout or _time(written.connect_timeout),
        keep_alive=pool.keep_alive or keep_alive_of(written.tcp_keepalive),
        upgrade_to_http2=pool.upgrade_to_http2
        if pool.upgrade_to_http2 is not None
        else _UPGRADE.get(written.h2_upgrade_policy or ""),
    )


def _retries(written: virtual_service.Retries | None) -> Retries | None:
    found = retries_of(written)
    return None if found is None else replace(found, per_try_timeout=None)


def _limits(written: api.TlsConfig | None) -> TlsLimits:
    if written is None:
        return TlsLimits()
    return TlsLimits(written.min_protocol_version == "TLSV1_3", written.cipher_suites, written.ecdh_curves)


def _selector(written: api.LabelSelector) -> Selector:
    labels = ((key, "In", (value,)) for key, value in sorted(written.match_labels.items()))
    demands = ((each.key, each.operator, each.values) for each in written.match_expressions)
    return Selector((*labels, *demands))


def _time(text: str | None) -> timedelta | None:
    return None if text is None else parse_duration(text)
