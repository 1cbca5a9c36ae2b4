"""What accompanies a route: retries, injected faults, and rules for browsers."""

from typing import Any

from google.protobuf import wrappers_pb2

from weft.model.routing import Abort, CorsPolicy, Delay, Retries
from weft.xds import encode, matches
from weft.xds.proto import (
    base_pb2,
    common_fault_pb2,
    cors_pb2,
    fault_pb2,
    percent_pb2,
    previous_hosts_pb2,
    previous_priorities_pb2,
    route_components_pb2,
)

FAULT_FILTER = "envoy.filters.http.fault"
CORS_FILTER = "envoy.filters.http.cors"
DEFAULT_RETRY_ON = (
    "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes,reset-before-request"
)
"""Istio's default, and what never reached the other side."""
DEFAULT_RETRIES = Retries(attempts=2)

_ROUTE: Any = route_components_pb2


def retry_policy(retries: Retries) -> Any:
    """How failed tries are repeated: elsewhere if possible, on 503 and on connections that failed."""
    words = [word.strip() for word in retries.retry_on.split(",") if word.strip()]
    statuses = [int(word) for word in words if word.isdigit()]
    conditions = [word for word in words if not word.isdigit()]
    if statuses and "retriable-status-codes" not in conditions:
        conditions.append("retriable-status-codes")
    policy = _ROUTE.RetryPolicy(
        retry_on=",".join(conditions) or DEFAULT_RETRY_ON,
        num_retries=wrappers_pb2.UInt32Value(value=retries.attempts),
        host_selection_retry_max_attempts=5,
        retriable_status_codes=statuses or ([] if words else [503]),
    )
    if retries.elsewhere:
        policy.retry_host_predicate.append(
            _ROUTE.RetryPolicy.RetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts",
                typed_config=encode.packed(previous_hosts_pb2.PreviousHostsPredicate()),
            )
        )
    if retries.other_localities:
        policy.retry_priority.CopyFrom(
            _ROUTE.RetryPolicy.RetryPriority(
                name="envoy.retry_priorities.previous_priorities",
                # the first try and one more before the next priority (Istio, HTTPRetry)
                typed_config=encode.packed(previous_priorities_pb2.PreviousPrioritiesConfig(update_frequency=2)),
            )
        )
    if retries.backoff is not None:
        policy.retry_back_off.CopyFrom(
            _ROUTE.RetryPolicy.RetryBackOff(base_interval=encode.duration(retries.backoff))
        )
    if retries.per_try_timeout is not None:
        policy.per_try_timeout.CopyFrom(encode.duration(retries.per_try_timeout))
    return policy


def fault(abort: Abort | None, delay: Delay | None) -> Any:
    """The fault filter's settings for one route."""
    settings = fault_pb2.HTTPFault()
    if abort:
        settings.abort.percentage.CopyFrom(percent(abort.percentage))
        if abort.grpc_status is not None:
            settings.abort.grpc_status = abort.grpc_status
        else:
            settings.abort.http_status = abort.status
    if delay:
        settings.delay.CopyFrom(
            common_fault_pb2.FaultDelay(
                fixed_delay=encode.duration(delay.duration), percentage=percent(delay.percentage)
            )
        )
    return settings


def cors(policy: CorsPolicy) -> Any:
    """The CORS filter's settings for one route."""
    settings = cors_pb2.CorsPolicy(
        allow_origin_string_match=[matches.string(each) for each in policy.allow_origins],
        allow_methods=",".join(policy.allow_methods),
        allow_headers=",".join(policy.allow_headers),
        expose_headers=",".join(policy.expose_headers),
        filter_enabled=base_pb2.RuntimeFractionalPercent(default_value=percent(100)),
        forward_not_matching_preflights=wrappers_pb2.BoolValue(value=policy.forward_others),
    )
    if policy.max_age is not None:
        settings.max_age = str(int(policy.max_age.total_seconds()))
    if policy.allow_credentials is not None:
        settings.allow_credentials.CopyFrom(wrappers_pb2.BoolValue(value=policy.allow_credentials))
    return settings


def percent(value: float) -> Any:
    """A percentage as Envoy's fraction, to four decimals."""
    fraction = percent_pb2.FractionalPercent
    return fraction(numerator=round(value * 10_000), denominator=fraction.MILLION)
