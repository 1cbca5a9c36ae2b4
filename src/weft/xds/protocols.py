"""What protocol a cluster speaks to its endpoints."""

from datetime import timedelta
from typing import Any, Final

from google.protobuf import any_pb2

from weft.model.services import Protocol
from weft.model.traffic import ByCookie, ByHeader, ByQuery, BySource, ConnectionPool, HashKey, TrafficPolicy
from weft.xds import encode
from weft.xds.client_tls import Origination
from weft.xds.proto import (
    http_protocol_options_pb2,
    matcher_pb2,
    protocol_pb2,
    regex_pb2,
    route_components_pb2,
    string_pb2,
)

NO_POLICY: Final = TrafficPolicy()

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

_HTTP1: Any = protocol_pb2.Http1ProtocolOptions
_HTTP2: Any = protocol_pb2.Http2ProtocolOptions
_OPTIONS: Any = http_protocol_options_pb2.HttpProtocolOptions
_PING_TIMEOUT = timedelta(seconds=5)

IDLE_TIMEOUT: Final = timedelta(seconds=30)
"""How long a connection is kept unused. Less than other proxies drain (drainDuration, 45 s): one whose filter
chain went says so in its answers alone, and at the end closes what has seen none, whatever is on its way."""


_BY_HTTP2: Final = frozenset({Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB})


def always_http2(protocol: Protocol, policy: TrafficPolicy = NO_POLICY) -> bool:
    """Whether endpoints are spoken to in HTTP/2 whatever the client speaks."""
    upgraded = bool(policy.pool.upgrade_to_http2) and protocol.is_http
    return (protocol in _BY_HTTP2 or upgraded) and not policy.pool.use_client_protocol


def carries_bytes(protocol: Protocol) -> bool:
    """Whether nobody looks for requests in what the port carries."""
    return protocol in {Protocol.TCP, Protocol.TLS, Protocol.HTTPS}


def http_options(
    protocol: Protocol,
    policy: TrafficPolicy = NO_POLICY,
    origination: Origination | None = None,
    *,
    at_edge: bool = False,
) -> any_pb2.Any:
    """The cluster's HTTP protocol options: HTTP/2 where the port or the policy says so, else the client's own.

    `at_edge`: clients outside do not know what the service speaks; unless told, it is HTTP/1.1.
    """
    pool = policy.pool
    http2 = _http2()
    if pool.max_concurrent_streams:
        http2.max_concurrent_streams.value = pool.max_concurrent_streams
    if pool.ping_interval is not None:
        http2.connection_keepalive.interval.CopyFrom(encode.duration(pool.ping_interval))
        http2.connection_keepalive.timeout.CopyFrom(encode.duration(pool.ping_timeout or _PING_TIMEOUT))
    options = _OPTIONS()
    if always_http2(protocol, policy):
        options.explicit_http_config.http2_protocol_options.CopyFrom(http2)
    elif (at_edge or carries_bytes(protocol)) and not pool.use_client_protocol:
        # a tunnel has no client that speaks HTTP: with the other way, Envoy would take HTTP/2
        options.explicit_http_config.http_protocol_options.CopyFrom(_http1())
    else:
        options.use_downstream_protocol_config.http_protocol_options.CopyFrom(_http1())
        options.use_downstream_protocol_config.http2_protocol_options.CopyFrom(http2)
    _limits(options, pool, IDLE_TIMEOUT)
    if origination is not None and origination.by_request:
        options.upstream_http_protocol_options.auto_sni = True
        options.upstream_http_protocol_options.auto_san_validation = origination.verified_by_request
    if policy.hash is not None:
        options.hash_policy.append(hash_policy(policy.hash.key))
    if policy.outliers is not None and policy.outliers.error_statuses:
        options.outlier_detection.error_matcher.CopyFrom(_errors(policy.outliers.error_statuses))
    return encode.packed(options)


def application_options(protocol: Protocol, pool: ConnectionPool = NO_POLICY.pool) -> any_pb2.Any:
    """The same for the application behind its own sidecar: what the port says, else what the client speaks.

    Sidecars may speak HTTP/2 to each other where the application does not (h2UpgradePolicy).
    """
    options = _OPTIONS()
    if protocol in _BY_HTTP2:
        options.explicit_http_config.http2_protocol_options.CopyFrom(_http2())
    elif protocol is Protocol.HTTP:
        options.explicit_http_config.http_protocol_options.CopyFrom(_http1())
    else:
        options.use_downstream_protocol_config.http_protocol_options.CopyFrom(_http1())
        options.use_downstream_protocol_config.http2_protocol_options.CopyFrom(_http2())
    _limits(options, pool)
    return encode.packed(options)


def _http1() -> Any:
    return _HTTP1(enable_trailers=True)


def _http2() -> Any:
    return _HTTP2(allow_connect=True)  # upgrades, of WebSocket say, are CONNECT there (RFC 8441)


def hash_policy(key: HashKey) -> Any:
    """What requests are hashed by."""
    policy = route_components_pb2.RouteAction.HashPolicy
    match key:
        case ByHeader(name):
            return policy(header=policy.Header(header_name=name))
        case ByQuery(name):
            return policy(query_parameter=policy.QueryParameter(name=name))
        case BySource():
            return policy(connection_properties=policy.ConnectionProperties(source_ip=True))
        case ByCookie(name, path, ttl, attributes):
            cookie = policy.Cookie(name=name, path=path)
            if ttl is not None:
                cookie.ttl.CopyFrom(encode.duration(ttl))
            cookie.attributes.extend(policy.CookieAttribute(name=n, value=v) for n, v in attributes)
            return policy(cookie=cookie)


def _limits(options: Any, pool: ConnectionPool, idle: timedelta | None = None) -> None:
    common = options.common_http_protocol_options
    idle = idle if pool.http_idle_timeout is None else pool.http_idle_timeout
    if idle is not None:
        common.idle_timeout.CopyFrom(encode.duration(idle))
    if pool.max_connection_duration is not None:
        common.max_connection_duration.CopyFrom(encode.duration(pool.max_connection_duration))
    if pool.max_requests_per_connection:
        common.max_requests_per_connection.value = pool.max_requests_per_connection


def _errors(statuses: tuple[int, ...]) -> Any:
    """Responses with one of these statuses."""
    regex = regex_pb2.RegexMatcher(regex="|".join(map(str, statuses)))
    header = route_components_pb2.HeaderMatcher(
        name=":status", string_match=string_pb2.StringMatcher(safe_regex=regex)
    )
    match = matcher_pb2.HttpHeadersMatch(headers=[header])
    return matcher_pb2.MatchPredicate(http_response_headers_match=match)
