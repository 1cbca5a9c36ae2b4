"""The two ways a sidecar handles a connection: requests (HTTP connection manager) or bytes (TCP proxy)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from google.protobuf import duration_pb2, wrappers_pb2

from weft.model.request_authentication import TokenRule
from weft.model.traffic import Tunnel
from weft.xds import client_limits, discovery, encode, forged_headers, request_authentication
from weft.xds.client_tls import ALPN_OVERRIDE
from weft.xds.discovery import aggregated
from weft.xds.proto import (
    base_pb2,
    cors_pb2,
    fault_pb2,
    grpc_web_pb2,
    hash_policy_pb2,
    http_connection_manager_pb2,
    http_inspector_pb2,
    listener_components_pb2,
    original_dst_pb2,
    original_src_pb2,
    protocol_pb2,
    proxy_protocol_listener_pb2,
    router_pb2,
    set_filter_state_pb2,
    substitution_format_string_pb2,
    tcp_proxy_pb2,
    tls_inspector_pb2,
    value_pb2,
)
from weft.xds.route_policies import CORS_FILTER, FAULT_FILTER

HEADERS_TIMEOUT = timedelta(minutes=1)
"""Time for a client to say all headers of a request, from its first byte; Envoy would wait for ever."""

_CLOSING_TIMEOUT = timedelta(seconds=10)
"""Time to write a last answer, and for the client to close then. Counted from when Envoy woke: with its default of
1 s, a worker that the machine kept waiting for longer closes before it has written (decision 0008)."""

HTTP_FILTER = "envoy.filters.network.http_connection_manager"
TCP_FILTER = "envoy.filters.network.tcp_proxy"

_HCM: Any = http_connection_manager_pb2.HttpConnectionManager

_ALPN_KEY = "envoy.network.application_protocols"
# A request in HTTP/2, or one to a cluster that only takes HTTP/2, offers istio-h2; the receiving sidecar
# picks its filter chain and its codec by this offer.
# Servers outside the mesh, whose TLS a rule begins, are offered what is spoken, and nothing of ours.
_OUTSIDE = f"(has(xds.cluster_metadata.filter_metadata.istio.{ALPN_OVERRIDE}))"
_HTTP2 = "(request.protocol == 'HTTP/2' || 'http2' in xds.cluster_metadata.filter_metadata['istio'])"
_ALPN_OFFER = (
    f"%CEL({_OUTSIDE} ? ({_HTTP2} ? 'h2' : 'http/1.1')"
    f" : ({_HTTP2} ? 'istio-h2,istio,h2' : 'istio-http/1.1,istio,http/1.1'))%"
)


# At the edge the service's cluster decides, and the client only where that says so.
_ALPN_OFFER_AT_EDGE = (
    "%CEL(('http2' in xds.cluster_metadata.filter_metadata['istio'] || (request.protocol == 'HTTP/2'"
    " && 'client_protocol' in xds.cluster_metadata.filter_metadata['istio']))"
    " ? 'istio-h2,istio,h2' : 'istio-http/1.1,istio,http/1.1')%"
)


def look_up_server_name(port: int) -> Any:
    """The filter that looks up the name that a TLS client asks for, to be dialled at `port`."""
    return _filter(discovery.SNI_FILTER, discovery.sni_filter(port))


def outbound_http(stat_prefix: str, route_name: str, default_host: str, *, looks_up: bool = False) -> Any:
    """The filter for requests of the application, routed by the RDS table `route_name`.

    `default_host` is that of HTTP/1.0 requests that name none. `looks_up`: some of its clusters take any host,
    which the DNS is asked for.
    """
    rds = http_connection_manager_pb2.Rds(config_source=aggregated(), route_config_name=route_name)
    limits = http_filter("envoy.filters.http.header_mutation", client_limits.after_the_check())
    cross_origin = http_filter(CORS_FILTER, cors_pb2.Cors())
    look_up = [http_filter(discovery.HTTP_FILTER, discovery.http_filter())] if looks_up else []
    manager = _manager(stat_prefix, [limits, cross_origin, _fault(), *look_up, _alpn(), _router()])
    manager.http_protocol_options.default_host_for_http_10 = default_host
    forged_headers.take_out(manager, forged_headers.PEER)
    manager.early_header_mutation_extensions.append(client_limits.before_the_check())
    manager.rds.CopyFrom(rds)
    return _filter(HTTP_FILTER, manager)


def edge_manager(
    stat_prefix: str,
    route_name: str,
    before: tuple[Any, ...] = (),
    *,
    tokens: tuple[TokenRule, ...] = (),
    looks_up: bool = False,
    asking: Sequence[Any] = (),
    checks: Sequence[Any] = (),
) -> Any:
    """The HttpConnectionManager of a gateway, routed by the RDS table `route_name`; `before` are more filters.

    `checks` decide who may ask what; `asking` have others decide, before tokens are verified. Preflights are
    answered before both: browsers send these without credentials.
    """
    verified = request_authentication.filters(tokens, routed_by_claims=True)
    cross_origin = http_filter(CORS_FILTER, cors_pb2.Cors())
    look_up = [http_filter(discovery.HTTP_FILTER, discovery.http_filter())] if looks_up else []
    last = [_fault(), *look_up, _alpn(_ALPN_OFFER_AT_EDGE), _router()]
    guarded = [cross_origin, *asking, *verified] if asking else [*verified, cross_origin]
    filters = [*before, *guarded, *checks, *last]
    manager = _manager(stat_prefix, filters)
    forged_headers.take_out(manager, forged_headers.OUTSIDE)
    manager.request_headers_timeout.CopyFrom(encode.duration(HEADERS_TIMEOUT))
    request_authentication.believe_no_client(manager, tokens)
    manager.rds.CopyFrom(http_connection_manager_pb2.Rds(config_source=aggregated(), route_config_name=route_name))
    return manager


def of_requests(manager: Any) -> Any:
    """The network filter of a HttpConnectionManager."""
    return _filter(HTTP_FILTER, manager)


def inbound_http(
    stat_prefix: str,
    route_table: Any,
    *,
    authenticated: bool,
    default_host: str,
    tokens: tuple[TokenRule, ...] = (),
    grpc_web: bool = False,
    asking: Sequence[Any] = (),
    checks: Sequence[Any] = (),
) -> Any:
    """The filter for requests to the application.

    Args:
        stat_prefix: the name of its statistics.
        route_table: its RouteConfiguration.
        authenticated: the connection is mutual TLS; its client's identity goes into x-forwarded-client-cert.
            Otherwise that header is removed: nobody in plaintext may claim an identity.
        default_host: the host of HTTP/1.0 requests that name none.
        tokens: those that requests may carry.
        grpc_web: browsers' gRPC is turned into gRPC proper.
        asking: filters that have others decide, before tokens are verified.
        checks: filters that decide who may ask what.
    """
    translated = [http_filter("envoy.filters.http.grpc_web", grpc_web_pb2.GrpcWeb())] if grpc_web else []
    verified = request_authentication.filters(tokens)
    manager = _manager(stat_prefix, [*translated, *asking, *verified, *checks, _fault(), _router()])
    forged_headers.take_out(manager, forged_headers.PEER if authenticated else forged_headers.OUTSIDE)
    manager.request_headers_timeout.CopyFrom(encode.duration(HEADERS_TIMEOUT))
    request_authentication.believe_no_client(manager, tokens)
    manager.route_config.CopyFrom(route_table)
    manager.server_header_transformation = _HCM.PASS_THROUGH
    manager.http_protocol_options.default_host_for_http_10 = default_host
    if authenticated:
        manager.forward_client_cert_details = _HCM.APPEND_FORWARD
        manager.set_current_client_cert_details.CopyFrom(
            _HCM.SetCurrentClientCertDetails(subject=wrappers_pb2.BoolValue(value=True), dns=True, uri=True)
        )
    else:
        manager.forward_client_cert_details = _HCM.SANITIZE
    return _filter(HTTP_FILTER, manager)


@dataclass(frozen=True, slots=True)
class TcpLimits:
    """How long a connection may be silent and may last, None for Envoy's defaults: an hour, and for ever.

    `by_source`: the connections of one client go to one endpoint. `tunnel`: that is a proxy, asked to go on.
    """

    idle_timeout: timedelta | None = None
    max_duration: timedelta | None = None
    by_source: bool = False
    tunnel: Tunnel | None = None


NO_LIMITS = TcpLimits()


def tcp(cluster: str, stat_prefix: str = "", limits: TcpLimits = NO_LIMITS) -> Any:
    """The filter that joins a connection to `cluster`."""
    return tcp_filter(tcp_proxy_pb2.TcpProxy(stat_prefix=stat_prefix or cluster, cluster=cluster), limits)


def tcp_filter(proxy: Any, limits: TcpLimits) -> Any:
    """The filter of a TcpProxy that is told where to; its limits are added."""
    if limits.idle_timeout is not None:
        proxy.idle_timeout.CopyFrom(encode.duration(limits.idle_timeout))
    if limits.max_duration is not None:
        proxy.max_downstream_connection_duration.CopyFrom(encode.duration(limits.max_duration))
    if limits.by_source:
        by_source = hash_policy_pb2.HashPolicy.SourceIp()
        proxy.hash_policy.append(hash_policy_pb2.HashPolicy(source_ip=by_source))
    if limits.tunnel is not None:
        proxy.tunneling_config.hostname = f"{limits.tunnel.host}:{limits.tunnel.port}"
        proxy.tunneling_config.use_post = limits.tunnel.post
    return _filter(TCP_FILTER, proxy)


def original_src(mark: int) -> Any:
    """Has connections to the application come from whoever connected, with a mark that routing knows."""
    return _listener_filter("original_src", original_src_pb2.OriginalSrc(mark=mark))


def original_dst() -> Any:
    """Restores the address that the client dialled, from the kernel's NAT."""
    return _listener_filter("original_dst", original_dst_pb2.OriginalDst())


def proxy_protocol() -> Any:
    """Learns the client's address from the PROXY protocol, with which connections have to begin."""
    return _listener_filter("proxy_protocol", proxy_protocol_listener_pb2.ProxyProtocol())


def tls_inspector() -> Any:
    """Tells TLS from plaintext, and reads server name and ALPN."""
    return _listener_filter("tls_inspector", tls_inspector_pb2.TlsInspector())


def http_inspector() -> Any:
    """Tells HTTP from other plaintext."""
    return _listener_filter("http_inspector", http_inspector_pb2.HttpInspector())


def _listener_filter(name: str, message: Any) -> Any:
    return listener_components_pb2.ListenerFilter(
        name=f"envoy.filters.listener.{name}", typed_config=encode.packed(message)
    )


def _filter(name: str, message: Any) -> Any:
    return listener_components_pb2.Filter(name=name, typed_config=encode.packed(message))


def _manager(stat_prefix: str, filters: list[Any]) -> Any:
    return _HCM(
        stat_prefix=stat_prefix,
        http_filters=filters,
        http_protocol_options=protocol_pb2.Http1ProtocolOptions(accept_http_10=True, enable_trailers=True),
        http2_protocol_options=protocol_pb2.Http2ProtocolOptions(allow_connect=True),
        proxy_100_continue=True,
        normalize_path=wrappers_pb2.BoolValue(value=True),
        stream_idle_timeout=duration_pb2.Duration(),
        delayed_close_timeout=encode.duration(_CLOSING_TIMEOUT),
        upgrade_configs=[_HCM.UpgradeConfig(upgrade_type="websocket")],
        use_remote_address=wrappers_pb2.BoolValue(value=False),
    )


def network_filter(name: str, message: Any) -> Any:
    """A network filter with its settings."""
    return _filter(name, message)


def http_filter(name: str, message: Any) -> Any:
    """An HTTP filter with its settings."""
    return http_connection_manager_pb2.HttpFilter(name=name, typed_config=encode.packed(message))


def _fault() -> Any:
    return http_filter(FAULT_FILTER, fault_pb2.HTTPFault())


def _router() -> Any:
    return http_filter("envoy.filters.http.router", router_pb2.Router())


def _alpn(offered: str = _ALPN_OFFER) -> Any:
    offer = substitution_format_string_pb2.SubstitutionFormatString(
        text_format_source=base_pb2.DataSource(inline_string=offered)
    )
    value = value_pb2.FilterStateValue(
        object_key=_ALPN_KEY,
        factory_key=_ALPN_KEY,
        format_string=offer,
        shared_with_upstream=value_pb2.FilterStateValue.ONCE,
        skip_if_empty=True,
    )
    return http_filter(
        "envoy.filters.http.set_filter_state", set_filter_state_pb2.Config(on_request_headers=[value])
    )
