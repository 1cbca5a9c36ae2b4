"""The fields of Envoy's messages that the simulator follows, or knows to make no difference to a request's way.

One line a type. What is not here stops the simulator (see `understood`).
"""

from collections.abc import Mapping
from typing import Final

_NETWORK: Final = "envoy.extensions.filters.network"
_HCM: Final = f"{_NETWORK}.http_connection_manager.v3.HttpConnectionManager"
_HTTP: Final = "envoy.extensions.filters.http"
_LISTENER: Final = "envoy.extensions.filters.listener"

_LINES: Final = f"""
envoy.config.listener.v3.Listener: name address bind_to_port per_connection_buffer_limit_bytes \
traffic_direction use_original_dst filter_chains default_filter_chain listener_filters listener_filters_timeout \
continue_on_listener_filters_timeout access_log additional_addresses transparent
envoy.config.listener.v3.AdditionalAddress: address
envoy.config.listener.v3.ListenerFilter: name typed_config filter_disabled
envoy.config.listener.v3.ListenerFilterChainMatchPredicate: destination_port_range or_match
envoy.config.listener.v3.ListenerFilterChainMatchPredicate.MatchSet: rules
envoy.type.v3.Int32Range: start end
envoy.config.listener.v3.FilterChain: name filter_chain_match filters transport_socket metadata \
transport_socket_connect_timeout
envoy.config.listener.v3.FilterChainMatch: destination_port prefix_ranges server_names transport_protocol \
application_protocols source_prefix_ranges
envoy.config.core.v3.CidrRange: address_prefix prefix_len
envoy.config.listener.v3.Filter: name typed_config
{_LISTENER}.http_inspector.v3.HttpInspector:
{_LISTENER}.original_dst.v3.OriginalDst:
{_LISTENER}.original_src.v3.OriginalSrc: mark
{_LISTENER}.proxy_protocol.v3.ProxyProtocol:
{_LISTENER}.tls_inspector.v3.TlsInspector:

{_HCM}: stat_prefix rds route_config http_filters http_protocol_options normalize_path merge_slashes \
stream_idle_timeout upgrade_configs use_remote_address early_header_mutation_extensions \
forward_client_cert_details set_current_client_cert_details server_header_transformation \
server_name http2_protocol_options proxy_100_continue generate_request_id xff_num_trusted_hops \
path_with_escaped_slashes_action common_http_protocol_options request_timeout request_headers_timeout \
drain_timeout delayed_close_timeout append_x_forwarded_port access_log stream_flush_timeout
{_HCM}.UpgradeConfig: upgrade_type
{_NETWORK}.http_connection_manager.v3.HttpFilter: name typed_config
{_NETWORK}.http_connection_manager.v3.Rds: route_config_name config_source
{_HTTP}.rbac.v3.RBAC: rules shadow_rules shadow_rules_stat_prefix
{_NETWORK}.rbac.v3.RBAC: stat_prefix rules shadow_rules shadow_rules_stat_prefix
{_HTTP}.ext_authz.v3.ExtAuthz: grpc_service http_service transport_api_version failure_mode_allow \
clear_route_cache status_on_error filter_enabled_metadata allowed_headers with_request_body
{_HTTP}.ext_authz.v3.BufferSettings: max_request_bytes allow_partial_message pack_as_bytes
{_HTTP}.ext_authz.v3.HttpService: server_uri path_prefix authorization_request authorization_response
{_HTTP}.ext_authz.v3.AuthorizationRequest: headers_to_add
{_HTTP}.ext_authz.v3.AuthorizationResponse: allowed_upstream_headers allowed_client_headers \
allowed_client_headers_on_success
{_NETWORK}.ext_authz.v3.ExtAuthz: stat_prefix grpc_service transport_api_version failure_mode_allow \
filter_enabled_metadata
envoy.config.core.v3.HttpUri: uri cluster timeout
envoy.config.core.v3.GrpcService: envoy_grpc timeout
envoy.config.core.v3.GrpcService.EnvoyGrpc: cluster_name authority
envoy.type.matcher.v3.ListStringMatcher: patterns
envoy.type.v3.HttpStatus: code
envoy.config.rbac.v3.RBAC: action policies
envoy.config.rbac.v3.Policy: permissions principals
envoy.config.rbac.v3.Permission: and_rules or_rules not_rule any header url_path destination_ip destination_port \
requested_server_name
envoy.config.rbac.v3.Permission.Set: rules
envoy.config.rbac.v3.Principal: and_ids or_ids not_id any authenticated direct_remote_ip remote_ip header metadata
envoy.config.rbac.v3.Principal.Set: ids
envoy.config.rbac.v3.Principal.Authenticated: principal_name
envoy.type.matcher.v3.PathMatcher: path
envoy.type.matcher.v3.MetadataMatcher: filter path value invert
envoy.type.matcher.v3.MetadataMatcher.PathSegment: key
envoy.type.matcher.v3.ValueMatcher: string_match list_match or_match present_match
envoy.type.matcher.v3.ListMatcher: one_of
envoy.type.matcher.v3.OrMatcher: value_matchers
{_NETWORK}.tcp_proxy.v3.TcpProxy: stat_prefix cluster weighted_clusters hash_policy idle_timeout \
max_downstream_connection_duration access_log tunneling_config
{_NETWORK}.tcp_proxy.v3.TcpProxy.TunnelingConfig: hostname use_post
{_NETWORK}.tcp_proxy.v3.TcpProxy.WeightedCluster: clusters
{_NETWORK}.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight: name weight
envoy.config.core.v3.HttpProtocolOptions: idle_timeout max_connection_duration max_stream_duration
envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation: mutations
{_HTTP}.cors.v3.Cors:
{_HTTP}.cors.v3.CorsPolicy: allow_credentials allow_headers allow_methods allow_origin_string_match \
expose_headers filter_enabled forward_not_matching_preflights max_age
{_HTTP}.fault.v3.HTTPFault: abort delay
{_HTTP}.fault.v3.FaultAbort: grpc_status http_status percentage
envoy.extensions.filters.common.fault.v3.FaultDelay: fixed_delay percentage
{_HTTP}.grpc_web.v3.GrpcWeb:
{_HTTP}.header_mutation.v3.HeaderMutation: mutations
{_HTTP}.header_mutation.v3.Mutations: request_mutations
{_HTTP}.jwt_authn.v3.JwtAuthentication: providers rules bypass_cors_preflight
{_HTTP}.jwt_authn.v3.JwtProvider: issuer audiences local_jwks forward from_headers from_params from_cookies \
forward_payload_header payload_in_metadata normalize_payload_in_metadata clear_route_cache claim_to_headers
{_HTTP}.jwt_authn.v3.JwtProvider.NormalizePayload: space_delimited_claims
{_HTTP}.jwt_authn.v3.JwtHeader: name value_prefix
{_HTTP}.jwt_authn.v3.JwtClaimToHeader: header_name claim_name
{_HTTP}.jwt_authn.v3.RequirementRule: match requires
{_HTTP}.jwt_authn.v3.JwtRequirement: provider_name requires_any requires_all allow_missing
{_HTTP}.jwt_authn.v3.JwtRequirementOrList: requirements
{_HTTP}.jwt_authn.v3.JwtRequirementAndList: requirements
{_HTTP}.router.v3.Router: suppress_envoy_headers
{_HTTP}.dynamic_forward_proxy.v3.FilterConfig: dns_cache_config
{_NETWORK}.sni_dynamic_forward_proxy.v3.FilterConfig: dns_cache_config port_value
{_HTTP}.set_filter_state.v3.Config: on_request_headers

envoy.config.route.v3.RouteConfiguration: name virtual_hosts ignore_port_in_host_matching validate_clusters \
max_direct_response_body_size_bytes
envoy.config.route.v3.VirtualHost: name domains routes include_request_attempt_count require_tls
envoy.config.route.v3.Route: name match route redirect direct_response metadata decorator stat_prefix \
typed_per_filter_config request_headers_to_add request_headers_to_remove response_headers_to_add \
response_headers_to_remove
envoy.config.route.v3.RouteMatch: path prefix safe_regex case_sensitive headers query_parameters \
dynamic_metadata
envoy.config.route.v3.HeaderMatcher: name invert_match present_match string_match treat_missing_header_as_empty
envoy.config.route.v3.QueryParameterMatcher: name present_match string_match
envoy.config.route.v3.RouteAction: cluster weighted_clusters timeout max_grpc_timeout max_stream_duration \
retry_policy prefix_rewrite regex_rewrite host_rewrite_literal request_mirror_policies
envoy.config.route.v3.RouteAction.RequestMirrorPolicy: cluster runtime_fraction
envoy.config.route.v3.WeightedCluster: clusters
envoy.config.route.v3.WeightedCluster.ClusterWeight: name weight host_rewrite_literal request_headers_to_add \
request_headers_to_remove response_headers_to_add response_headers_to_remove
envoy.config.route.v3.RedirectAction: host_redirect path_redirect port_redirect prefix_rewrite response_code \
scheme_redirect
envoy.config.route.v3.DirectResponseAction: body status

envoy.config.cluster.v3.Cluster: name alt_stat_name type eds_cluster_config load_assignment lb_policy \
connect_timeout \
circuit_breakers common_lb_config outlier_detection metadata transport_socket transport_socket_matches \
typed_extension_protocol_options upstream_bind_config upstream_connection_options dns_lookup_family \
least_request_lb_config load_balancing_policy original_dst_lb_config respect_dns_ttl dns_refresh_rate dns_jitter \
dns_failure_refresh_rate cluster_type maglev_lb_config ring_hash_lb_config round_robin_lb_config \
per_connection_buffer_limit_bytes
envoy.config.cluster.v3.Cluster.TransportSocketMatch: name match transport_socket
envoy.config.endpoint.v3.ClusterLoadAssignment: cluster_name endpoints
envoy.config.endpoint.v3.LocalityLbEndpoints: locality lb_endpoints load_balancing_weight priority
envoy.config.endpoint.v3.LbEndpoint: endpoint health_status load_balancing_weight metadata
envoy.config.endpoint.v3.Endpoint: address
envoy.config.cluster.v3.Cluster.CustomClusterType: name typed_config
envoy.config.cluster.v3.Cluster.OriginalDstLbConfig: upstream_port_override
envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig: dns_cache_config allow_insecure_cluster_options
envoy.config.core.v3.Address: socket_address pipe
envoy.config.core.v3.Pipe: path
envoy.config.core.v3.SocketAddress: address port_value
envoy.config.core.v3.TransportSocket: name typed_config
envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport: config transport_socket
envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer:
envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext: common_tls_context require_client_certificate \
disable_stateless_session_resumption
envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext: auto_sni_san_validation common_tls_context sni
envoy.extensions.transport_sockets.tls.v3.CommonTlsContext: alpn_protocols \
combined_validation_context validation_context \
tls_certificate_sds_secret_configs tls_params
envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CombinedCertificateValidationContext: \
default_validation_context validation_context_sds_secret_config
envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext: \
match_typed_subject_alt_names crl trust_chain_verification verify_certificate_hash verify_certificate_spki
envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher: matcher san_type
envoy.extensions.transport_sockets.tls.v3.TlsParameters: tls_minimum_protocol_version \
tls_maximum_protocol_version cipher_suites ecdh_curves

envoy.config.core.v3.DataSource: inline_bytes inline_string filename
envoy.config.core.v3.HeaderValue: key value
envoy.config.core.v3.HeaderValueOption: append_action header keep_empty_value
envoy.config.core.v3.RuntimeFractionalPercent: default_value
envoy.config.core.v3.TypedExtensionConfig: name typed_config
envoy.config.common.mutation_rules.v3.HeaderMutation: append remove remove_on_match
envoy.config.common.mutation_rules.v3.HeaderMutation.RemoveOnMatch: key_matcher
envoy.type.matcher.v3.RegexMatchAndSubstitute: pattern substitution
envoy.type.matcher.v3.RegexMatcher: regex
envoy.type.matcher.v3.StringMatcher: exact prefix suffix safe_regex ignore_case
envoy.type.v3.FractionalPercent: denominator numerator
"""

FIELDS: Final[Mapping[str, frozenset[str]]] = {
    name: frozenset(fields.split())
    for name, _, fields in (line.partition(":") for line in _LINES.splitlines() if line)
}
"""By the full name of the message type."""

OPAQUE: Final = frozenset(
    {
        # limits, timings and bookkeeping: they decide when and how often, not where and how
        "envoy.config.accesslog.v3.AccessLog",
        "envoy.config.cluster.v3.CircuitBreakers",
        "envoy.config.cluster.v3.Cluster.CommonLbConfig",
        "envoy.config.cluster.v3.Cluster.LeastRequestLbConfig",
        "envoy.config.cluster.v3.Cluster.MaglevLbConfig",
        "envoy.config.cluster.v3.Cluster.RingHashLbConfig",
        "envoy.config.cluster.v3.Cluster.RoundRobinLbConfig",
        "envoy.config.cluster.v3.LoadBalancingPolicy",
        "envoy.config.cluster.v3.OutlierDetection",
        "envoy.config.cluster.v3.Cluster.RefreshRate",
        "envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheConfig",
        "envoy.config.cluster.v3.UpstreamConnectionOptions",
        "envoy.config.core.v3.BindConfig",
        "envoy.config.core.v3.ConfigSource",
        "envoy.config.core.v3.Http1ProtocolOptions",
        "envoy.config.core.v3.Http2ProtocolOptions",
        "envoy.config.core.v3.Locality",
        "envoy.config.core.v3.Metadata",
        "envoy.config.core.v3.ProxyProtocolConfig",
        "envoy.config.cluster.v3.Cluster.EdsClusterConfig",
        "envoy.config.route.v3.Decorator",
        "envoy.config.route.v3.RetryPolicy",
        "envoy.config.route.v3.RouteAction.MaxStreamDuration",
        "envoy.type.v3.HashPolicy",
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig",
        f"{_HCM}.SetCurrentClientCertDetails",
        # what is offered to the next proxy, which is another simulation
        "envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue",
    }
)
"""Types that make no difference to a request's way, whatever is in them; so do all of google.protobuf's own."""
