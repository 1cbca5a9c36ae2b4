"""Envoy's generated message modules.

They make their classes when they are imported, so a type checker finds no names in them: here they are Any.
"""

from importlib import import_module
from typing import Any

accesslog_pb2: Any = import_module("envoy.config.accesslog.v3.accesslog_pb2")
address_pb2: Any = import_module("envoy.config.core.v3.address_pb2")
base_pb2: Any = import_module("envoy.config.core.v3.base_pb2")
bootstrap_pb2: Any = import_module("envoy.config.bootstrap.v3.bootstrap_pb2")
circuit_breaker_pb2: Any = import_module("envoy.config.cluster.v3.circuit_breaker_pb2")
client_side_weighted_round_robin_pb2: Any = import_module(
    "envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.client_side_weighted_round_robin_pb2"
)
cluster_pb2: Any = import_module("envoy.config.cluster.v3.cluster_pb2")
common_fault_pb2: Any = import_module("envoy.extensions.filters.common.fault.v3.fault_pb2")
common_pb2: Any = import_module("envoy.extensions.transport_sockets.tls.v3.common_pb2")
config_source_pb2: Any = import_module("envoy.config.core.v3.config_source_pb2")
cors_pb2: Any = import_module("envoy.extensions.filters.http.cors.v3.cors_pb2")
dns_cache_pb2: Any = import_module("envoy.extensions.common.dynamic_forward_proxy.v3.dns_cache_pb2")
dynamic_forward_proxy_cluster_pb2: Any = import_module(
    "envoy.extensions.clusters.dynamic_forward_proxy.v3.cluster_pb2"
)
dynamic_forward_proxy_filter_pb2: Any = import_module(
    "envoy.extensions.filters.http.dynamic_forward_proxy.v3.dynamic_forward_proxy_pb2"
)
early_header_mutation_pb2: Any = import_module(
    "envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2"
)
endpoint_components_pb2: Any = import_module("envoy.config.endpoint.v3.endpoint_components_pb2")
endpoint_pb2: Any = import_module("envoy.config.endpoint.v3.endpoint_pb2")
ext_authz_pb2: Any = import_module("envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2")
extension_pb2: Any = import_module("envoy.config.core.v3.extension_pb2")
fault_pb2: Any = import_module("envoy.extensions.filters.http.fault.v3.fault_pb2")
file_log_pb2: Any = import_module("envoy.extensions.access_loggers.file.v3.file_pb2")
grpc_web_pb2: Any = import_module("envoy.extensions.filters.http.grpc_web.v3.grpc_web_pb2")
grpc_service_pb2: Any = import_module("envoy.config.core.v3.grpc_service_pb2")
header_mutation_pb2: Any = import_module("envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2")
hash_policy_pb2: Any = import_module("envoy.type.v3.hash_policy_pb2")
health_check_pb2: Any = import_module("envoy.config.core.v3.health_check_pb2")
http_rbac_pb2: Any = import_module("envoy.extensions.filters.http.rbac.v3.rbac_pb2")
http_connection_manager_pb2: Any = import_module(
    "envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2"
)
http_inspector_pb2: Any = import_module("envoy.extensions.filters.listener.http_inspector.v3.http_inspector_pb2")
http_protocol_options_pb2: Any = import_module("envoy.extensions.upstreams.http.v3.http_protocol_options_pb2")
jwt_authn_pb2: Any = import_module("envoy.extensions.filters.http.jwt_authn.v3.config_pb2")
listener_components_pb2: Any = import_module("envoy.config.listener.v3.listener_components_pb2")
listener_pb2: Any = import_module("envoy.config.listener.v3.listener_pb2")
matcher_pb2: Any = import_module("envoy.config.common.matcher.v3.matcher_pb2")
metadata_pb2: Any = import_module("envoy.type.matcher.v3.metadata_pb2")
mutation_rules_pb2: Any = import_module("envoy.config.common.mutation_rules.v3.mutation_rules_pb2")
http_status_pb2: Any = import_module("envoy.type.v3.http_status_pb2")
http_uri_pb2: Any = import_module("envoy.config.core.v3.http_uri_pb2")
network_ext_authz_pb2: Any = import_module("envoy.extensions.filters.network.ext_authz.v3.ext_authz_pb2")
network_rbac_pb2: Any = import_module("envoy.extensions.filters.network.rbac.v3.rbac_pb2")
original_dst_pb2: Any = import_module("envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2")
original_src_pb2: Any = import_module("envoy.extensions.filters.listener.original_src.v3.original_src_pb2")
outlier_detection_pb2: Any = import_module("envoy.config.cluster.v3.outlier_detection_pb2")
path_matcher_pb2: Any = import_module("envoy.type.matcher.v3.path_pb2")
percent_pb2: Any = import_module("envoy.type.v3.percent_pb2")
previous_hosts_pb2: Any = import_module("envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2")
previous_priorities_pb2: Any = import_module(
    "envoy.extensions.retry.priority.previous_priorities.v3.previous_priorities_config_pb2"
)
protocol_pb2: Any = import_module("envoy.config.core.v3.protocol_pb2")
proxy_protocol_pb2: Any = import_module("envoy.config.core.v3.proxy_protocol_pb2")
proxy_protocol_listener_pb2: Any = import_module(
    "envoy.extensions.filters.listener.proxy_protocol.v3.proxy_protocol_pb2"
)
range_pb2: Any = import_module("envoy.type.v3.range_pb2")
raw_buffer_pb2: Any = import_module("envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2")
rbac_pb2: Any = import_module("envoy.config.rbac.v3.rbac_pb2")
regex_pb2: Any = import_module("envoy.type.matcher.v3.regex_pb2")
route_components_pb2: Any = import_module("envoy.config.route.v3.route_components_pb2")
route_pb2: Any = import_module("envoy.config.route.v3.route_pb2")
router_pb2: Any = import_module("envoy.extensions.filters.http.router.v3.router_pb2")
secret_pb2: Any = import_module("envoy.extensions.transport_sockets.tls.v3.secret_pb2")
set_filter_state_pb2: Any = import_module("envoy.extensions.filters.http.set_filter_state.v3.set_filter_state_pb2")
sni_dynamic_forward_proxy_pb2: Any = import_module(
    "envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.sni_dynamic_forward_proxy_pb2"
)
stream_log_pb2: Any = import_module("envoy.extensions.access_loggers.stream.v3.stream_pb2")
string_pb2: Any = import_module("envoy.type.matcher.v3.string_pb2")
substitution_format_string_pb2: Any = import_module("envoy.config.core.v3.substitution_format_string_pb2")
tcp_proxy_pb2: Any = import_module("envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2")
tls_inspector_pb2: Any = import_module("envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2")
tls_pb2: Any = import_module("envoy.extensions.transport_sockets.tls.v3.tls_pb2")
upstream_proxy_protocol_pb2: Any = import_module(
    "envoy.extensions.transport_sockets.proxy_protocol.v3.upstream_proxy_protocol_pb2"
)
value_matcher_pb2: Any = import_module("envoy.type.matcher.v3.value_pb2")
value_pb2: Any = import_module("envoy.extensions.filters.common.set_filter_state.v3.value_pb2")
preserve_case_pb2: Any = import_module(
    "envoy.extensions.http.header_formatters.preserve_case.v3.preserve_case_pb2"
)
listener_proxy_protocol_pb2: Any = import_module(
    "envoy.extensions.filters.listener.proxy_protocol.v3.proxy_protocol_pb2"
)
wrr_locality_pb2: Any = import_module("envoy.extensions.load_balancing_policies.wrr_locality.v3.wrr_locality_pb2")
