"""Envoy's bootstrap: who it is, how it reaches its agent, and the listeners that need no control plane."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weft.inject.node import Node

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_CONNECTION_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
_LOOPBACK = "127.0.0.1"

# Clusters dominate a proxy's memory, and most of that is statistics: keep the ones people ask for
_KEPT_STATS: tuple[tuple[str, str], ...] = (
    ("prefix", "reporter="),
    ("prefix", "cluster_manager"),
    ("prefix", "listener_manager"),
    ("prefix", "server"),
    ("prefix", "cluster.xds-grpc"),
    ("prefix", "wasm"),
    ("suffix", "rbac.allowed"),
    ("suffix", "rbac.denied"),
    ("suffix", "shadow_allowed"),
    ("suffix", "shadow_denied"),
    ("suffix", "downstream_cx_active"),
    ("suffix", "ssl.handshake"),
    ("suffix", "ssl.fail_verify_san"),
    ("suffix", "ssl.fail_verify_error"),
    ("contains", "istio_"),
    ("contains", ".fault."),
    ("suffix", "upstream_rq_retry"),
)


_DEFAULT_TAGS = (
    *("http_conn_manager_prefix", "listener_address", "response_code", "response_code_class", "tcp_prefix"),
    *("rds_route_config", "virtual_host"),
)


@dataclass(frozen=True, slots=True)
class ProxyPorts:
    """The ports of a sidecar besides those of captured traffic. All of them are Istio's."""

    admin: int = 15000
    status: int = 15020
    readiness: int = 15021
    metrics: int = 15090


@dataclass(frozen=True, slots=True)
class Sockets:
    """The Unix sockets on which the agent serves Envoy."""

    xds: str = "/etc/istio/proxy/XDS"
    sds: str = "/var/run/secrets/workload-spiffe-uds/socket"


def bootstrap(node: Node, ports: ProxyPorts, sockets: Sockets) -> dict[str, Any]:
    """The bootstrap as JSON (envoy.config.bootstrap.v3.Bootstrap)."""
    return {
        "node": {"id": node.id, "cluster": node.cluster, "locality": {}, "metadata": dict(node.metadata)},
        "layered_runtime": {
            "layers": [
                {"name": "global config", "static_layer": {"re2.max_program_size.error_level": 32768}},
                {"name": "admin", "admin_layer": {}},
            ]
        },
        "bootstrap_extensions": [
            {
                "name": "envoy.bootstrap.internal_listener",
                "typed_config": _typed("envoy.extensions.bootstrap.internal_listener.v3.InternalListener"),
            }
        ],
        "overload_manager": {"resource_monitors": [_unlimited_connections()]},
        "stats_config": {
            "use_all_default_tags": False,
            "stats_tags": _tags(node),
            "stats_matcher": {"inclusion_list": {"patterns": [{kind: text} for kind, text in _KEPT_STATS]}},
        },
        "admin": {"address": _address(_LOOPBACK, ports.admin)},
        "dynamic_resources": {
            "lds_config": _ads(),
            "cds_config": _ads(),
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "set_node_on_first_message_only": True,
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": _envoy_grpc()}],
            },
        },
        "static_resources": {
            "clusters": [
                _cluster("prometheus_stats", _address(_LOOPBACK, ports.admin)),
                _cluster("agent", _address(_LOOPBACK, ports.status)),
                _grpc(_cluster("sds-grpc", {"pipe": {"path": sockets.sds}})),
                _grpc(_cluster("xds-grpc", {"pipe": {"path": sockets.xds}})),
            ],
            "listeners": [
                _listener(ports.metrics, "stats", "/stats/prometheus", "prometheus_stats"),
                _listener(ports.readiness, "agent", "/healthz/ready", "agent"),
            ],
        },
    }


def _tags(node: Node) -> list[dict[str, str]]:
    """What becomes a label of a metric. Envoy's own rule for clusters would cut names at their first dot."""
    domain = re.escape(node.id.rpartition(".svc.")[2])
    cluster = {"tag_name": "cluster_name", "regex": rf"^cluster\.((.+?(\..+?\.svc\.{domain})?)\.)"}
    return [cluster, *({"tag_name": f"envoy.{name}"} for name in _DEFAULT_TAGS)]


def _unlimited_connections() -> dict[str, Any]:
    """What Envoy does anyway; said, it spares every pod's log a warning."""
    monitor = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    return {
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typed_config": {**_typed(monitor), "max_active_downstream_connections": 2**31 - 1},
    }


def _ads() -> dict[str, Any]:
    # wait for the control plane without end: a proxy without configuration must not become ready
    return {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}


def _envoy_grpc() -> dict[str, Any]:
    # by default Envoy may wait 30 s before it asks again; a restarted istiod should find its proxies soon
    back_off = {"base_interval": "0.2s", "max_interval": "3s"}
    return {"cluster_name": "xds-grpc", "retry_policy": {"retry_back_off": back_off}}


def _cluster(name: str, address: Mapping[str, Any]) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": address}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _grpc(cluster: dict[str, Any]) -> dict[str, Any]:
    options = {**_typed(_HTTP_OPTIONS), "explicit_http_config": {"http2_protocol_options": {}}}
    return {**cluster, "typed_extension_protocol_options": {_HTTP_OPTIONS: options}}


def _listener(port: int, prefix: str, path: str, cluster: str) -> dict[str, Any]:
    route = {"match": {"prefix": path}, "route": {"cluster": cluster}}
    manager = {
        **_typed(_CONNECTION_MANAGER),
        "codec_type": "AUTO",
        "stat_prefix": prefix,
        "route_config": {"virtual_hosts": [{"name": "backend", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": _typed(_ROUTER)}],
    }
    name = "envoy.filters.network.http_connection_manager"
    return {
        "address": _address("0.0.0.0", port),
        "filter_chains": [{"filters": [{"name": name, "typed_config": manager}]}],
    }


def _address(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"protocol": "TCP", "address": address, "port_value": port}}


def _typed(name: str) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/{name}"}
