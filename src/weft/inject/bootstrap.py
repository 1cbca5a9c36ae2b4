"""Envoy's bootstrap: who it is, how it reaches its agent, and the listeners that need no control plane."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weft.api.proxy_settings import ProxySettings
from weft.inject import stats
from weft.inject.node import Node

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_CONNECTION_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
_COMPRESSOR = "envoy.extensions.filters.http.compressor.v3.Compressor"
_LOOPBACK = "127.0.0.1"
_LOCAL_CLUSTER = "local_cluster"
_LOCALITY_LABELS = ("topology.istio.io/locality", "istio-locality")
_FLAGS: Mapping[str, Any] = {"re2.max_program_size.error_level": 32768}


@dataclass(frozen=True, slots=True)
class ProxyPorts:
    """The ports of a sidecar besides those of captured traffic. All of them are Istio's."""

    admin: int = 15000
    status: int = 15020
    readiness: int = 15021
    metrics: int = 15090
    dns: int = 15053


@dataclass(frozen=True, slots=True)
class Sockets:
    """The Unix sockets on which the agent serves Envoy."""

    xds: str = "/etc/istio/proxy/XDS"
    sds: str = "/etc/istio/proxy/SDS"


_NO_SETTINGS = ProxySettings()


def bootstrap(
    node: Node, ports: ProxyPorts, sockets: Sockets, settings: ProxySettings = _NO_SETTINGS
) -> dict[str, Any]:
    """The bootstrap as JSON (envoy.config.bootstrap.v3.Bootstrap)."""
    annotations = node.metadata.get("ANNOTATIONS") or {}
    compressed = settings.stats_compression is not False
    return {
        "node": {
            "id": node.id,
            "cluster": node.cluster,
            "locality": _locality(node.metadata),
            "metadata": dict(node.metadata),
        },
        **({"cluster_manager": {"local_cluster_name": _LOCAL_CLUSTER}} if _discovers_itself(node) else {}),
        "layered_runtime": {
            "layers": [
                {"name": "global config", "static_layer": _runtime(settings.runtime_values or {})},
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
        "stats_config": stats.config(settings, annotations, node.id.rpartition(".svc.")[2]),
        **stats.intervals(annotations),
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
                *([_own_workload()] if _discovers_itself(node) else []),
            ],
            "listeners": [
                _listener(ports.metrics, "stats", "/stats/prometheus", "prometheus_stats", compressed=compressed),
                _listener(ports.readiness, "agent", "/healthz/ready", "agent"),
            ],
        },
    }


def _locality(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Where the pod is, as far as its labels say; dots stand for slashes there."""
    labels = metadata.get("LABELS") or {}
    written = next((str(labels[each]) for each in _LOCALITY_LABELS if labels.get(each)), "")
    parts = (written if "/" in written else written.replace(".", "/")).split("/", 2)
    return {name: part for name, part in zip(("region", "zone", "sub_zone"), parts, strict=False) if part}


def _discovers_itself(node: Node) -> bool:
    return str(node.metadata.get("ENABLE_SELF_DISCOVERY", "")).lower() == "true"


def _own_workload() -> dict[str, Any]:
    """The cluster by whose zones Envoy balances between zones; its endpoints come from the control plane."""
    return {
        "name": _LOCAL_CLUSTER,
        "type": "EDS",
        "connect_timeout": "1s",
        "eds_cluster_config": {
            "eds_config": {"ads": {}, "resource_api_version": "V3"},
            "service_name": _LOCAL_CLUSTER,
        },
    }


def _runtime(values: Mapping[str, str]) -> dict[str, Any]:
    """The usual flags and the pod's own over them; an empty value takes one away."""
    flags = {**_FLAGS, **{name: _flag(value) for name, value in values.items()}}
    return {name: value for name, value in flags.items() if value != ""}


def _flag(value: str) -> bool | float | str:
    """Envoy has no flags that are text: what looks like a number or a truth is one."""
    if value in {"true", "false"}:
        return value == "true"
    try:
        number = float(value)
    except ValueError:
        return value
    return int(number) if number.is_integer() else number


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


def _listener(port: int, prefix: str, path: str, cluster: str, *, compressed: bool = False) -> dict[str, Any]:
    # matched as Istio's table shows it, and led to that one path: left as it is, "…/../.." would lead anybody to
    # the rest of Envoy's own interface
    only = {"pattern": {"regex": "^/.*$"}, "substitution": path}
    route = {"match": {"prefix": path}, "route": {"cluster": cluster, "regex_rewrite": only}}
    manager = {
        **_typed(_CONNECTION_MANAGER),
        "codec_type": "AUTO",
        "stat_prefix": prefix,
        "route_config": {"virtual_hosts": [{"name": "backend", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            *(_compressor(*each) for each in _COMPRESSIONS if compressed),
            {"name": "envoy.filters.http.router", "typed_config": _typed(_ROUTER)},
        ],
    }
    name = "envoy.filters.network.http_connection_manager"
    return {
        "address": _address("0.0.0.0", port),
        "filter_chains": [{"filters": [{"name": name, "typed_config": manager}]}],
    }


def _compressor(name: str, library: str) -> dict[str, Any]:
    """One way to compress metrics; Envoy takes the one that the client prefers."""
    common = {"min_content_length": 100, "content_type": ["text/plain", "application/openmetrics-text"]}
    return {
        "name": f"envoy.filters.http.compressor.{name}",
        "typed_config": {
            **_typed(_COMPRESSOR),
            "response_direction_config": {"common_config": common},
            "compressor_library": {"name": name, "typed_config": _typed(library)},
        },
    }


_COMPRESSIONS = (
    ("gzip", "envoy.extensions.compression.gzip.compressor.v3.Gzip"),
    ("brotli", "envoy.extensions.compression.brotli.compressor.v3.Brotli"),
    ("zstd", "envoy.extensions.compression.zstd.compressor.v3.Zstd"),
)


def _address(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"protocol": "TCP", "address": address, "port_value": port}}


def _typed(name: str) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/{name}"}
