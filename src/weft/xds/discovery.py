"""How a cluster finds its endpoints: told by the control plane, as the client dialled, or by the DNS.

A proxy that asks the DNS for many hosts can drown it: answers are kept for as long as they say themselves,
failures are asked for again ever more slowly, and proxies do not all ask at the same moment.
"""

from datetime import timedelta
from enum import Enum, auto
from typing import Any, Final

from google.protobuf import duration_pb2

from weft.xds import encode
from weft.xds.proto import (
    cluster_pb2,
    config_source_pb2,
    dns_cache_pb2,
    dynamic_forward_proxy_cluster_pb2,
    dynamic_forward_proxy_filter_pb2,
    endpoint_pb2,
    sni_dynamic_forward_proxy_pb2,
)

HTTP_FILTER: Final = "envoy.filters.http.dynamic_forward_proxy"
SNI_FILTER: Final = "envoy.filters.network.sni_dynamic_forward_proxy"
_DYNAMIC: Final = "envoy.clusters.dynamic_forward_proxy"
_CACHE: Final = "dynamic_dns"
"""One cache for all hosts that clients choose: a name is asked for once, whoever leads to it."""
_FIRST_RETRY, _LAST_RETRY = timedelta(seconds=1), timedelta(seconds=60)
_JITTER: Final = timedelta(seconds=1)

_LB: Any = cluster_pb2.Cluster


class Discovery(Enum):
    """How endpoints are found."""

    EDS = auto()
    DIALLED = auto()
    DNS = auto()
    DNS_ROUND_ROBIN = auto()
    DYNAMIC_DNS = auto()

    @property
    def brings_endpoints(self) -> bool:
        """Whether the cluster itself names its endpoints, for the DNS to find."""
        return self in {Discovery.DNS, Discovery.DNS_ROUND_ROBIN}


def told(cluster: Any) -> None:
    """Endpoints come by EDS."""
    cluster.type = _LB.EDS
    cluster.eds_cluster_config.CopyFrom(_LB.EdsClusterConfig(eds_config=aggregated(), service_name=cluster.name))


def as_dialled(cluster: Any, port: int = 0) -> None:
    """The endpoint is the address that the client dialled; at `port`, if not 0."""
    cluster.type = _LB.ORIGINAL_DST
    cluster.lb_policy = _LB.CLUSTER_PROVIDED
    cluster.ClearField("load_balancing_policy")
    if port:
        cluster.original_dst_lb_config.upstream_port_override.value = port


def by_dns(cluster: Any, localities: list[Any], refresh: timedelta, *, each_address: bool, ipv6: bool) -> None:
    """Endpoints are what the DNS says of names: `each_address` of it, or the next one for each connection."""
    if not localities:
        cluster.type = _LB.STATIC  # nobody to ask for
        return
    cluster.type = _LB.STRICT_DNS if each_address else _LB.LOGICAL_DNS
    cluster.dns_lookup_family = _LB.V6_ONLY if ipv6 else _LB.V4_ONLY
    cluster.respect_dns_ttl = True
    cluster.dns_refresh_rate.CopyFrom(encode.duration(refresh))
    cluster.dns_jitter.CopyFrom(encode.duration(_JITTER))
    cluster.dns_failure_refresh_rate.CopyFrom(
        _LB.RefreshRate(base_interval=encode.duration(_FIRST_RETRY), max_interval=encode.duration(_LAST_RETRY))
    )
    cluster.load_assignment.CopyFrom(
        endpoint_pb2.ClusterLoadAssignment(cluster_name=cluster.name, endpoints=localities)
    )


def by_request(cluster: Any) -> None:
    """The endpoint is the host that each request or connection names."""
    cluster.ClearField("type")
    cluster.lb_policy = _LB.CLUSTER_PROVIDED
    cluster.cluster_type.name = _DYNAMIC
    config = dynamic_forward_proxy_cluster_pb2.ClusterConfig(
        dns_cache_config=_cache(), allow_insecure_cluster_options=True
    )
    cluster.cluster_type.typed_config.CopyFrom(encode.packed(config))


def http_filter() -> Any:
    """The HTTP filter that looks up the host of requests to such a cluster; it lets others pass."""
    return dynamic_forward_proxy_filter_pb2.FilterConfig(dns_cache_config=_cache())


def sni_filter(port: int) -> Any:
    """The network filter that looks up the server name of a connection, to be dialled at `port`."""
    return sni_dynamic_forward_proxy_pb2.FilterConfig(dns_cache_config=_cache(), port_value=port)


def aggregated() -> Any:
    """The source of everything that comes by the aggregated stream."""
    return config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(),
        resource_api_version=config_source_pb2.ApiVersion.V3,
        initial_fetch_timeout=duration_pb2.Duration(),
    )


def _cache() -> Any:
    return dns_cache_pb2.DnsCacheConfig(
        name=_CACHE,
        dns_lookup_family=_LB.V4_PREFERRED,
        dns_failure_refresh_rate=_LB.RefreshRate(
            base_interval=encode.duration(_FIRST_RETRY), max_interval=encode.duration(_LAST_RETRY)
        ),
    )
