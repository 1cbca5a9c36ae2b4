"""Traffic policies, translated: what a rule sets goes over what it inherits."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

from weft.api import traffic_policy as api
from weft.base.durations import parse_duration
from weft.model.client_tls import ClientTls, TlsMode
from weft.model.locality import LocalityLb, ZoneAwareLb
from weft.model.traffic import (
    ByCookie,
    ByHeader,
    ByQuery,
    BySource,
    ByUtilization,
    ConnectionPool,
    ConsistentHash,
    HashKey,
    KeepAlive,
    LoadBalancer,
    OutlierDetection,
    PortPolicies,
    RetryBudget,
    TrafficPolicy,
    Tunnel,
    Warmup,
)

_BALANCERS: Final = {
    "LEAST_CONN": LoadBalancer.LEAST_REQUEST,
    "LEAST_REQUEST": LoadBalancer.LEAST_REQUEST,
    "ROUND_ROBIN": LoadBalancer.ROUND_ROBIN,
    "RANDOM": LoadBalancer.RANDOM,
    "PASSTHROUGH": LoadBalancer.PASSTHROUGH,
}
_UPGRADE: Final = {"UPGRADE": True, "DO_NOT_UPGRADE": False}
_PROXY_PROTOCOL: Final = {"V1": 1, "V2": 2}


def overridden(policy: TrafficPolicy, override: api.TrafficPolicy | None) -> TrafficPolicy:
    """Replace what the override sets; what it leaves out is inherited."""
    if override is None:
        return policy
    policy = _common(policy, override)
    if override.retry_budget is not None:
        policy = replace(policy, retry_budget=_budget(override.retry_budget))
    if override.proxy_protocol is not None:
        policy = replace(policy, proxy_protocol=_PROXY_PROTOCOL[override.proxy_protocol.version])
    if override.tunnel is not None:
        policy = replace(policy, tunnel=_tunnel(override.tunnel))
    return policy


def port_policies(policy: TrafficPolicy, written: api.TrafficPolicy | None) -> PortPolicies:
    """The policies of single ports: over the defaults, not over the policy of all ports.

    What only a policy of all ports can say holds on (Istio, TrafficPolicy.PortTrafficPolicy).
    """
    kept = TrafficPolicy(
        retry_budget=policy.retry_budget, proxy_protocol=policy.proxy_protocol, tunnel=policy.tunnel
    )
    entries = written.port_level_settings if written else ()
    found = {each.port.number: _common(kept, each) for each in entries if each.port is not None}
    return tuple(sorted(found.items()))


def subset_ports(host: PortPolicies, own: PortPolicies, written: api.TrafficPolicy | None) -> PortPolicies:
    """The ports of a subset: its own, and those of the host with what the subset sets for all ports."""
    inherited = {number: overridden(policy, written) for number, policy in host}
    return tuple(sorted((inherited | dict(own)).items()))


def _common(policy: TrafficPolicy, override: api.TrafficPolicy | api.PortTrafficPolicy) -> TrafficPolicy:
    if override.load_balancer is not None:
        policy = _balanced(policy, override.load_balancer)
    if override.tls is not None:
        policy = replace(policy, tls=_tls(override.tls))
    if override.connection_pool is not None:
        policy = replace(policy, pool=connection_pool(override.connection_pool))
    if override.outlier_detection is not None:
        policy = replace(policy, outliers=outlier_detection(override.outlier_detection))
    return policy


def _balanced(policy: TrafficPolicy, balancer: api.LoadBalancer) -> TrafficPolicy:
    by_load = balancer.backend_utilization
    if by_load is not None:
        policy = replace(
            policy, load_balancer=LoadBalancer.LEAST_REQUEST, hash=None, utilization=_by_load(by_load)
        )
    elif balancer.consistent_hash is not None:
        hashed = _hash(balancer.consistent_hash)
        policy = replace(policy, load_balancer=LoadBalancer.LEAST_REQUEST, hash=hashed, utilization=None)
    elif balancer.simple in _BALANCERS:
        policy = replace(policy, load_balancer=_BALANCERS[balancer.simple], hash=None, utilization=None)
    if balancer.locality_lb_setting is not None:
        policy = replace(policy, locality=locality_lb(balancer.locality_lb_setting))
    if balancer.zone_aware_lb_setting is not None:
        policy = replace(policy, zones=zone_aware_lb(balancer.zone_aware_lb_setting))
    return replace(policy, warmup=_warmup(balancer) or policy.warmup)


def locality_lb(written: api.LocalityLb) -> LocalityLb:
    """Translate a `localityLbSetting`, of a rule or of the mesh."""
    return LocalityLb(
        enabled=written.enabled is not False,
        distribute=tuple((each.from_, tuple(sorted(each.to.items()))) for each in written.distribute),
        failover=tuple((each.from_, each.to) for each in written.failover),
        priorities=written.failover_priority,
    )


def zone_aware_lb(written: api.ZoneAwareLb) -> ZoneAwareLb:
    """Translate a `zoneAwareLbSetting`, of a rule or of the mesh."""
    least = ZoneAwareLb().min_cluster_size if written.min_cluster_size is None else written.min_cluster_size
    failover = tuple((each.from_, each.to) for each in written.failover)
    return ZoneAwareLb(bool(written.enabled), failover, written.failover_priority, least)


def _by_load(written: api.BackendUtilization) -> ByUtilization:
    penalty = written.error_utilization_penalty_percent
    return ByUtilization(
        metrics=written.metric_names_for_computing_utilization,
        penalty=None if penalty is None else penalty / 100,
        update=_time(written.weight_update_period),
        expiration=_time(written.weight_expiration_period),
        stabilization=_time(written.weight_stabilization_period),
    )


def _tls(written: api.Tls) -> ClientTls:
    return ClientTls(
        mode=TlsMode(written.mode),
        sni=written.sni or "",
        names=written.subject_alt_names,
        certificate=written.client_certificate or "",
        key=written.private_key or "",
        roots=written.ca_certificates or "",
        revoked=written.ca_crl or "",
        credential=written.credential_name or "",
        verify=not written.insecure_skip_verify,
    )


def _tunnel(written: api.Tunnel) -> Tunnel:
    return Tunnel(written.target_host, written.target_port or 0, post=written.protocol == "POST")


def _hash(written: api.ConsistentHash) -> ConsistentHash:
    ring = written.ring_hash.minimum_ring_size if written.ring_hash else written.minimum_ring_size
    table = written.maglev.table_size or 65537 if written.maglev else 0
    return ConsistentHash(_key(written), 1024 if ring is None else ring, table)


def _key(written: api.ConsistentHash) -> HashKey:
    cookie = written.http_cookie
    if written.http_header_name:
        return ByHeader(written.http_header_name.lower())
    if written.http_query_parameter_name:
        return ByQuery(written.http_query_parameter_name)
    if cookie is not None:
        ttl = parse_duration(cookie.ttl) if cookie.ttl is not None else None
        attributes = tuple((each.name, each.value) for each in cookie.attributes)
        return ByCookie(cookie.name, cookie.path, ttl, attributes)
    return BySource()


def _warmup(balancer: api.LoadBalancer) -> Warmup | None:
    new, old = balancer.warmup, balancer.warmup_duration_secs
    if new is not None and new.duration is not None:
        return Warmup(
            parse_duration(new.duration),
            10.0 if new.minimum_percent is None else new.minimum_percent,
            1.0 if new.aggression is None else new.aggression,
        )
    return Warmup(parse_duration(old)) if old is not None else None


def connection_pool(pool: api.ConnectionPool) -> ConnectionPool:
    """Translate limits."""
    tcp, http = pool.tcp or api.TcpPool(), pool.http or api.HttpPool()
    ping = http.http2_keep_alive or api.Http2KeepAlive()
    return ConnectionPool(
        max_connections=tcp.max_connections or 0,
        connect_timeout=_time(tcp.connect_timeout),
        keep_alive=keep_alive_of(tcp.tcp_keepalive),
        max_connection_duration=_time(tcp.max_connection_duration),
        tcp_idle_timeout=_time(tcp.idle_timeout),
        max_pending_requests=http.http1_max_pending_requests or 0,
        max_requests=http.http2_max_requests or 0,
        max_requests_per_connection=http.max_requests_per_connection or 0,
        max_retries=http.max_retries or 0,
        http_idle_timeout=_time(http.idle_timeout),
        upgrade_to_http2=_UPGRADE.get(http.h2_upgrade_policy or ""),
        use_client_protocol=bool(http.use_client_protocol),
        max_concurrent_streams=http.max_concurrent_streams or 0,
        ping_interval=_time(ping.interval),
        ping_timeout=_time(ping.timeout),
    )


def keep_alive_of(written: api.KeepAlive | None) -> KeepAlive | None:
    """Translate probes of idle connections."""
    if written is None:
        return None
    return KeepAlive(written.probes or 0, _time(written.time), _time(written.interval))


def outlier_detection(written: api.OutlierDetection) -> OutlierDetection:
    """Translate when endpoints are set aside."""
    return OutlierDetection(
        consecutive_5xx=written.consecutive5xx_errors,
        consecutive_gateway=written.consecutive_gateway_errors,
        consecutive_local=written.consecutive_local_origin_failures,
        split_local=bool(written.split_external_local_origin_errors),
        interval=_time(written.interval),
        base_ejection_time=_time(written.base_ejection_time),
        max_ejection_percent=written.max_ejection_percent or 0,
        min_health_percent=written.min_health_percent or 0,
        error_statuses=tuple(sorted(set(written.outlier_detection_http_error_codes))),
    )


def _budget(written: api.RetryBudget) -> RetryBudget:
    least = RetryBudget().min_concurrency
    return RetryBudget(
        RetryBudget().percent if written.percent is None else written.percent,
        least if written.min_retry_concurrency is None else written.min_retry_concurrency,
        _time(written.budget_interval) or None,
    )


def _time(text: str | None) -> timedelta | None:
    return parse_duration(text) if text is not None else None
