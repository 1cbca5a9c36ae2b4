"""What a traffic policy sets on a cluster: balancing, limits, and when endpoints are set aside."""

from datetime import timedelta
from typing import Any

from google.protobuf import wrappers_pb2

from weft.model.traffic import (
    ByUtilization,
    ConnectionPool,
    LoadBalancer,
    OutlierDetection,
    RetryBudget,
    TrafficPolicy,
    Warmup,
)
from weft.xds import encode
from weft.xds.proto import (
    address_pb2,
    base_pb2,
    circuit_breaker_pb2,
    client_side_weighted_round_robin_pb2,
    cluster_pb2,
    extension_pb2,
    outlier_detection_pb2,
    percent_pb2,
    proxy_protocol_pb2,
    upstream_proxy_protocol_pb2,
    wrr_locality_pb2,
)

_LB: Any = cluster_pb2.Cluster
_BALANCERS = {
    LoadBalancer.LEAST_REQUEST: _LB.LEAST_REQUEST,
    LoadBalancer.ROUND_ROBIN: _LB.ROUND_ROBIN,
    LoadBalancer.RANDOM: _LB.RANDOM,
    LoadBalancer.PASSTHROUGH: _LB.CLUSTER_PROVIDED,
}
_NO_LIMIT = 4294967295
CONNECT_TIMEOUT = timedelta(seconds=10)


def apply(cluster: Any, policy: TrafficPolicy) -> None:
    """Write a policy into a cluster; limits, TLS and HTTP options are written elsewhere."""
    _balance(cluster, policy)
    connect(cluster, policy.pool)
    # an endpoint that is not ready is never a last resort, unless asked for
    panic = policy.outliers.min_health_percent if policy.outliers else 0
    cluster.common_lb_config.healthy_panic_threshold.CopyFrom(percent_pb2.Percent(value=panic))
    if policy.outliers is not None:
        cluster.outlier_detection.CopyFrom(_outliers(policy.outliers))


def thresholds(pool: ConnectionPool, budget: RetryBudget | None) -> Any:
    """The circuit breaker; what has no limit gets Envoy's greatest number."""
    found = circuit_breaker_pb2.CircuitBreakers.Thresholds(
        max_connections=_limit(pool.max_connections),
        max_pending_requests=_limit(pool.max_pending_requests),
        max_requests=_limit(pool.max_requests),
        max_retries=_limit(pool.max_retries),
    )
    if budget is not None:
        found.retry_budget.budget_percent.value = budget.percent
        found.retry_budget.min_retry_concurrency.value = budget.min_concurrency
        if budget.interval is not None:
            # budget_interval, field 3 of RetryBudget: xds-protos lags the binary
            interval = encode.duration(budget.interval).SerializeToString(deterministic=True)
            found.retry_budget.MergeFromString(encode.framed(3, interval))
    return found


def through_proxy_protocol(socket: Any, version: int) -> Any:
    """The transport socket `socket`, with a PROXY protocol header before all else."""
    config = proxy_protocol_pb2.ProxyProtocolConfig
    versions = {1: config.V1, 2: config.V2}
    wrapped = upstream_proxy_protocol_pb2.ProxyProtocolUpstreamTransport(
        config=config(version=versions[version]), transport_socket=socket
    )
    return base_pb2.TransportSocket(
        name="envoy.transport_sockets.upstream_proxy_protocol", typed_config=encode.packed(wrapped)
    )


def _balance(cluster: Any, policy: TrafficPolicy) -> None:
    hashed = policy.hash
    if policy.utilization is not None:
        cluster.load_balancing_policy.policies.append(_by_utilization(policy.utilization, policy.warmup))
        return
    if hashed is not None and hashed.table_size:
        cluster.lb_policy = _LB.MAGLEV
        cluster.maglev_lb_config.table_size.value = hashed.table_size
    elif hashed is not None:
        cluster.lb_policy = _LB.RING_HASH
        cluster.ring_hash_lb_config.minimum_ring_size.value = hashed.ring_size
    else:
        cluster.lb_policy = _BALANCERS[policy.load_balancer]
        if policy.warmup is not None:
            _warm(cluster, policy.load_balancer, policy.warmup)


def _by_utilization(by_load: ByUtilization, warmup: Warmup | None) -> Any:
    """Round robin, weighted by the load that responses report (`endpoint-load-metrics`, ORCA)."""
    found = client_side_weighted_round_robin_pb2.ClientSideWeightedRoundRobin(
        metric_names_for_computing_utilization=by_load.metrics
    )
    periods = (
        (found.weight_update_period, by_load.update),
        (found.weight_expiration_period, by_load.expiration),
        (found.blackout_period, by_load.stabilization),
    )
    for field, period in periods:
        if period is not None:
            field.CopyFrom(encode.duration(period))
    if by_load.penalty is not None:
        found.error_utilization_penalty.value = by_load.penalty
    if warmup is not None:
        _slow(found.slow_start_config, warmup)
    return _extension("client_side_weighted_round_robin", found)


def weigh_localities(cluster: Any) -> None:
    """Choose a locality by its weight first, and then an endpoint as the cluster's policy does."""
    within = wrr_locality_pb2.WrrLocality(endpoint_picking_policy=cluster.load_balancing_policy)
    cluster.load_balancing_policy.CopyFrom(
        cluster_pb2.LoadBalancingPolicy(policies=[_extension("wrr_locality", within)])
    )


def _extension(name: str, config: Any) -> Any:
    policies: Any = cluster_pb2.LoadBalancingPolicy
    extension = extension_pb2.TypedExtensionConfig(
        name=f"envoy.load_balancing_policies.{name}", typed_config=encode.packed(config)
    )
    return policies.Policy(typed_extension_config=extension)


def _warm(cluster: Any, balancer: LoadBalancer, warmup: Warmup) -> None:
    match balancer:
        case LoadBalancer.ROUND_ROBIN:
            _slow(cluster.round_robin_lb_config.slow_start_config, warmup)
        case LoadBalancer.LEAST_REQUEST:
            _slow(cluster.least_request_lb_config.slow_start_config, warmup)
        case _:
            return


def _slow(slow: Any, warmup: Warmup) -> None:
    slow.slow_start_window.CopyFrom(encode.duration(warmup.duration))
    slow.min_weight_percent.value = warmup.minimum_percent
    slow.aggression.default_value = warmup.aggression
    slow.aggression.runtime_key = "weft.warmup.aggression"


def connect(cluster: Any, pool: ConnectionPool) -> None:
    """Write how connections are made and kept."""
    if pool.connect_timeout is not None:
        cluster.connect_timeout.CopyFrom(encode.duration(pool.connect_timeout))
    keep = pool.keep_alive
    if keep is not None:
        probes = address_pb2.TcpKeepalive()
        if keep.probes:
            probes.keepalive_probes.value = keep.probes
        if keep.time is not None:
            probes.keepalive_time.value = max(1, int(keep.time.total_seconds()))
        if keep.interval is not None:
            probes.keepalive_interval.value = max(1, int(keep.interval.total_seconds()))
        cluster.upstream_connection_options.tcp_keepalive.CopyFrom(probes)


def _outliers(outliers: OutlierDetection) -> Any:
    found = outlier_detection_pb2.OutlierDetection(
        split_external_local_origin_errors=outliers.split_local,
        # by the errors in a row alone, as Istio does
        enforcing_success_rate=wrappers_pb2.UInt32Value(value=0),
    )
    kinds = (
        ("consecutive_5xx", outliers.consecutive_5xx),
        ("consecutive_gateway_failure", outliers.consecutive_gateway),
        ("consecutive_local_origin_failure", outliers.consecutive_local),
    )
    for name, count in kinds:
        if count is None:
            continue
        getattr(found, f"enforcing_{name}").value = 100 if count else 0
        if count:
            getattr(found, name).value = count
    if outliers.interval is not None:
        found.interval.CopyFrom(encode.duration(outliers.interval))
    if outliers.base_ejection_time is not None:
        found.base_ejection_time.CopyFrom(encode.duration(outliers.base_ejection_time))
    if outliers.max_ejection_percent:
        found.max_ejection_percent.value = outliers.max_ejection_percent
    return found


def _limit(count: int) -> Any:
    return wrappers_pb2.UInt32Value(value=count or _NO_LIMIT)
