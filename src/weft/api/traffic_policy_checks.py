"""What must hold of a traffic policy beyond its shape."""

from collections.abc import Iterator
from typing import Final

from weft.api import codes
from weft.api.checks import check_duration, check_host
from weft.api.client_tls_checks import check_client_tls
from weft.api.locality_checks import check_localities
from weft.api.report import Report
from weft.api.traffic_policy import (
    BackendUtilization,
    ConnectionPool,
    ConsistentHash,
    HttpPool,
    LoadBalancer,
    OutlierDetection,
    PortTrafficPolicy,
    TrafficPolicy,
    Tunnel,
)
from weft.base.names import is_header_name
from weft.base.problem import Problem

_HUNDRED: Final = 100
_LARGEST_RING: Final = 8 << 20
_LARGEST_TABLE: Final = 5_000_011
_WARMED: Final = frozenset({None, "UNSPECIFIED", "LEAST_CONN", "LEAST_REQUEST", "ROUND_ROBIN"})


def check_policy(policy: TrafficPolicy | PortTrafficPolicy, field: str, report: Report) -> Iterator[Problem]:
    """Give all that is wrong with a policy, or works otherwise than it looks."""
    if policy.load_balancer is not None:
        here = f"{field}.loadBalancer"
        yield from _balancer(policy.load_balancer, here, report)
        detects = policy.outlier_detection is not None
        yield from check_localities(policy.load_balancer, here, report, detects_failure=detects)
    if policy.connection_pool is not None:
        yield from check_pool(policy.connection_pool, f"{field}.connectionPool", report)
    if policy.outlier_detection is not None:
        yield from _outliers(policy.outlier_detection, f"{field}.outlierDetection", report)
    if policy.tls is not None:
        yield from check_client_tls(policy.tls, f"{field}.tls", report)
    if isinstance(policy, TrafficPolicy):
        yield from _whole(policy, field, report)


def _whole(policy: TrafficPolicy, field: str, report: Report) -> Iterator[Problem]:
    """What only the policy of all ports can say."""
    budget = policy.retry_budget
    if budget is not None and budget.percent is not None and not 0 <= budget.percent <= _HUNDRED:
        yield report.error(
            f"{field}.retryBudget.percent", f"{budget.percent} is no percentage.", "Write 0 to 100."
        )
    if budget is not None:
        yield from check_duration(budget.budget_interval, f"{field}.retryBudget.budgetInterval", report, zero=True)
    if policy.tunnel is not None:
        yield from _tunnel(policy.tunnel, f"{field}.tunnel", report)
    seen: dict[int, int] = {}
    for index, each in enumerate(policy.port_level_settings):
        here = f"{field}.portLevelSettings[{index}]"
        if each.port is None:
            yield report.error(f"{here}.port", "there is no port.", "Add port: {number: …}.")
        elif (first := seen.setdefault(each.port.number, index)) != index:
            message = f"port {each.port.number} is already in {field}.portLevelSettings[{first}]."
            yield report.error(f"{here}.port.number", message, "Keep one of them.")
        yield from check_policy(each, here, report)


def _tunnel(tunnel: Tunnel, field: str, report: Report) -> Iterator[Problem]:
    if tunnel.protocol not in {"", "CONNECT", "POST"}:
        message = f'"{tunnel.protocol}" is no protocol of tunnels.'
        yield report.error(f"{field}.protocol", message, "Write CONNECT or POST.")
    yield from check_host(tunnel.target_host, f"{field}.targetHost", report, wildcard=False)
    if tunnel.target_port is None:
        yield report.error(f"{field}.targetPort", "there is no port.", "Add targetPort: 443.")


def _balancer(balancer: LoadBalancer, field: str, report: Report) -> Iterator[Problem]:
    if balancer.simple == "LEAST_CONN":
        hint = "Write LEAST_REQUEST, which does the same."
        yield report.warning(f"{field}.simple", "LEAST_CONN is deprecated.", hint, codes.DEPRECATED)
    if balancer.simple is not None and balancer.consistent_hash is not None:
        yield report.error(field, "simple and consistentHash exclude each other.", "Keep one of them.")
    if balancer.consistent_hash is not None:
        yield from _hash(balancer.consistent_hash, f"{field}.consistentHash", report)
    if balancer.backend_utilization is not None:
        others = {"consistentHash": balancer.consistent_hash, "simple": balancer.simple}
        for name in (name for name, value in others.items() if value not in {None, "UNSPECIFIED"}):
            hint = "Keep one of them."
            yield report.warning(f"{field}.{name}", "has no effect beside backendUtilization.", hint)
        yield from _utilization(balancer.backend_utilization, f"{field}.backendUtilization", report)
    yield from _warmup(balancer, field, report)


def _utilization(by_load: BackendUtilization, field: str, report: Report) -> Iterator[Problem]:
    periods = {
        "weightUpdatePeriod": by_load.weight_update_period,
        "weightExpirationPeriod": by_load.weight_expiration_period,
        "weightStabilizationPeriod": by_load.weight_stabilization_period,
    }
    for name, period in periods.items():
        yield from check_duration(period, f"{field}.{name}", report)


def _hash(hashed: ConsistentHash, field: str, report: Report) -> Iterator[Problem]:
    keys = {
        "httpHeaderName": hashed.http_header_name,
        "httpCookie": hashed.http_cookie,
        "useSourceIp": hashed.use_source_ip,
        "httpQueryParameterName": hashed.http_query_parameter_name,
    }
    given = [name for name, value in keys.items() if value]
    if not given:
        yield report.error(field, "nothing says what to hash by.", f"Add one of {', '.join(keys)}.")
    elif len(given) > 1:
        yield report.error(field, f"{' and '.join(given)} exclude each other.", "Keep one of them.")
    if hashed.http_header_name and not is_header_name(hashed.http_header_name.removeprefix(":")):
        message = f'"{hashed.http_header_name}" cannot be the name of a header.'
        yield report.error(f"{field}.httpHeaderName", message, "Use letters, digits and dashes.")
    if hashed.http_cookie is not None:
        if not hashed.http_cookie.name:
            yield report.error(f"{field}.httpCookie.name", "the cookie has no name.", "Name it.")
        yield from check_duration(hashed.http_cookie.ttl, f"{field}.httpCookie.ttl", report, zero=True)
    ring = hashed.ring_hash.minimum_ring_size if hashed.ring_hash else hashed.minimum_ring_size
    if ring is not None and ring > _LARGEST_RING:
        yield report.error(f"{field}.ringHash", f"{ring} is too many.", f"Use {_LARGEST_RING} at most.")
    if hashed.ring_hash is not None and hashed.maglev is not None:
        yield report.error(field, "ringHash and maglev exclude each other.", "Keep one of them.")
    size = hashed.maglev.table_size if hashed.maglev else None
    if size is not None and not (_is_prime(size) and size <= _LARGEST_TABLE):
        hint = f"Use a prime up to {_LARGEST_TABLE}, such as 65537."
        yield report.error(f"{field}.maglev.tableSize", f"{size} is not such a prime.", hint)


def _warmup(balancer: LoadBalancer, field: str, report: Report) -> Iterator[Problem]:
    warmup = balancer.warmup
    yield from check_duration(balancer.warmup_duration_secs, f"{field}.warmupDurationSecs", report)
    if balancer.warmup_duration_secs is not None:
        hint = f"Write warmup: {{duration: {balancer.warmup_duration_secs}}}."
        yield report.warning(f"{field}.warmupDurationSecs", "is deprecated.", hint, codes.DEPRECATED)
    if warmup is not None:
        if warmup.duration is None:
            yield report.error(f"{field}.warmup", "there is no duration.", "Add duration: 30s.")
        yield from check_duration(warmup.duration, f"{field}.warmup.duration", report)
        if warmup.minimum_percent is not None and not 0 <= warmup.minimum_percent <= _HUNDRED:
            message = f"{warmup.minimum_percent} is no percentage."
            yield report.error(f"{field}.warmup.minimumPercent", message, "Write 0 to 100.")
        if warmup.aggression is not None and warmup.aggression < 1:
            yield report.error(f"{field}.warmup.aggression", "is less than 1.", "Write 1 or more.")
    warms = warmup is not None or balancer.warmup_duration_secs is not None
    if warms and (balancer.simple not in _WARMED or balancer.consistent_hash is not None):
        hint = "Use LEAST_REQUEST or ROUND_ROBIN with it."
        yield report.warning(f"{field}.warmup", "has no effect with this load balancer.", hint)


def check_pool(pool: ConnectionPool, field: str, report: Report) -> Iterator[Problem]:
    """Give all that is wrong with limits."""
    tcp, http = pool.tcp, pool.http
    if tcp is not None:
        here = f"{field}.tcp"
        yield from _not_negative({"maxConnections": tcp.max_connections}, here, report)
        yield from check_duration(tcp.connect_timeout, f"{here}.connectTimeout", report)
        yield from check_duration(tcp.max_connection_duration, f"{here}.maxConnectionDuration", report)
        yield from check_duration(tcp.idle_timeout, f"{here}.idleTimeout", report, zero=True)
        if tcp.tcp_keepalive is not None:
            yield from check_duration(tcp.tcp_keepalive.time, f"{here}.tcpKeepalive.time", report)
            yield from check_duration(tcp.tcp_keepalive.interval, f"{here}.tcpKeepalive.interval", report)
    if http is not None:
        yield from _http_pool(http, f"{field}.http", report)


def _http_pool(http: HttpPool, field: str, report: Report) -> Iterator[Problem]:
    counts = {
        "http1MaxPendingRequests": http.http1_max_pending_requests,
        "http2MaxRequests": http.http2_max_requests,
        "maxRequestsPerConnection": http.max_requests_per_connection,
        "maxRetries": http.max_retries,
        "maxConcurrentStreams": http.max_concurrent_streams,
    }
    yield from _not_negative(counts, field, report)
    yield from check_duration(http.idle_timeout, f"{field}.idleTimeout", report, zero=True)
    if http.use_client_protocol and http.h2_upgrade_policy == "UPGRADE":
        yield report.error(field, "useClientProtocol and h2UpgradePolicy exclude each other.", "Keep one of them.")
    ping = http.http2_keep_alive
    if ping is not None:
        yield from check_duration(ping.interval, f"{field}.http2KeepAlive.interval", report)
        yield from check_duration(ping.timeout, f"{field}.http2KeepAlive.timeout", report)
        if ping.interval is None:
            message = "there is no interval, so no PING is sent."
            yield report.warning(f"{field}.http2KeepAlive", message, "Add interval: 30s.")


def _outliers(outliers: OutlierDetection, field: str, report: Report) -> Iterator[Problem]:
    if outliers.consecutive_errors is not None:
        hint = f"Write consecutive5xxErrors: {outliers.consecutive_errors}."
        yield report.warning(f"{field}.consecutiveErrors", "has no effect any more.", hint, codes.DEPRECATED)
    yield from check_duration(outliers.interval, f"{field}.interval", report)
    yield from check_duration(outliers.base_ejection_time, f"{field}.baseEjectionTime", report)
    percents = {
        "maxEjectionPercent": outliers.max_ejection_percent,
        "minHealthPercent": outliers.min_health_percent,
    }
    for name, percent in percents.items():
        if percent is not None and not 0 <= percent <= _HUNDRED:
            yield report.error(f"{field}.{name}", f"{percent} is no percentage.", "Write 0 to 100.")
    if outliers.consecutive_local_origin_failures and not outliers.split_external_local_origin_errors:
        hint = "Set splitExternalLocalOriginErrors: true as well."
        message = "counts only where errors of the proxy's own are told apart."
        yield report.error(f"{field}.consecutiveLocalOriginFailures", message, hint)
    for index, status in enumerate(outliers.outlier_detection_http_error_codes):
        if not 200 <= status <= 599:
            here = f"{field}.outlierDetectionHttpErrorCodes[{index}]"
            yield report.error(here, f"{status} is no status of a response.", "Write 200 to 599.")


def _not_negative(counts: dict[str, int | None], field: str, report: Report) -> Iterator[Problem]:
    for name, count in counts.items():
        if count is not None and not 0 <= count < 1 << 31:
            hint = "Write a number of 1 or more, or leave it out: there is no limit then."
            yield report.error(f"{field}.{name}", f"{count} is no such number.", hint)


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % each for each in range(2, int(number**0.5) + 1))
