"""Which endpoints of a cluster get a request, how often each, and by which TLS, as Envoy chooses them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from weft.xds import protocols
from weft.xds.proto import (
    cluster_pb2,
    endpoint_pb2,
    health_check_pb2,
    http_protocol_options_pb2,
    tls_pb2,
    upstream_proxy_protocol_pb2,
)
from weft.xds.resource import CLUSTER, ENDPOINT, Resources
from weft.xds.simulate_match import Request
from weft.xds.understood import NotUnderstoodError, require

_OVERPROVISIONED = 140
"""In percent: a level counts as whole while 72 of 100 of its endpoints are healthy (Envoy's default)."""
_WHOLE = 100
_BY_LOCALITY = "envoy.load_balancing_policies.wrr_locality"


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """TLS towards an endpoint. `certificate` and `roots` name secrets; no roots: any certificate is taken.

    The endpoint's certificate must be for one of `names`, or for anything if there are none.
    """

    server_name: str = ""
    certificate: str = ""
    roots: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reached:
    """An endpoint that requests come to: `percent` of those of its cluster. No `tls`: in plaintext."""

    address: str
    percent: float
    locality: str = ""
    priority: int = 0
    tls: UpstreamTls | None = None


def reached(name: str, request: Request, resources: Resources) -> tuple[Reached, ...]:
    """The endpoints of a cluster that take part; none: the request is answered 503."""
    if name not in resources[CLUSTER]:
        return ()
    cluster = cluster_pb2.Cluster.FromString(resources[CLUSTER][name].body)
    require(cluster, f"cluster {name}")
    if cluster.type == cluster_pb2.Cluster.ORIGINAL_DST:
        port = cluster.original_dst_lb_config.upstream_port_override.value or request.port
        return (Reached(f"{request.address}:{port}", 100.0, tls=_tls(cluster, None, request)),)
    if cluster.HasField("cluster_type"):
        return (Reached(_asked_for(request), 100.0, tls=_tls(cluster, None, request)),)
    assignment = cluster.load_assignment
    if cluster.type == cluster_pb2.Cluster.EDS:
        told = resources[ENDPOINT].get(name)
        assignment = endpoint_pb2.ClusterLoadAssignment.FromString(told.body if told else b"")
        require(assignment, f"endpoints of {name}")
    _refuse_zones(cluster, assignment)
    return tuple(_shared(cluster, assignment, request))


def _refuse_zones(cluster: Any, assignment: Any) -> None:
    zones = cluster.common_lb_config.zone_aware_lb_config
    if zones.routing_enabled.value and len({each.locality.zone for each in assignment.endpoints}) > 1:
        why = "what stays in the client's zone depends on how its own workload is spread"
        raise NotUnderstoodError(f"cluster {cluster.name}: the simulator does not follow zones: {why}")


def _shared(cluster: Any, assignment: Any, request: Request) -> Iterator[Reached]:
    levels: dict[int, list[Any]] = {}
    for each in assignment.endpoints:
        levels.setdefault(each.priority, []).append(each)
    threshold = cluster.common_lb_config.healthy_panic_threshold.value
    named = [each.typed_extension_config.name for each in cluster.load_balancing_policy.policies]
    weighted = cluster.common_lb_config.HasField("locality_weighted_lb_config") or named[:1] == [_BY_LOCALITY]
    for priority, load, panics in _loads(levels, threshold):
        for locality, share in _localities(levels[priority], weighted=weighted, panics=panics):
            usable = [each for each in locality.lb_endpoints if panics or _is_healthy(each)]
            total = sum(_weight(each) for each in usable)
            for each in usable:
                yield Reached(
                    address=place(each.endpoint.address),
                    percent=load * share * _weight(each) / total,
                    locality=_place(locality.locality),
                    priority=priority,
                    tls=_tls(cluster, each, request),
                )


def _loads(levels: dict[int, list[Any]], threshold: float) -> Iterator[tuple[int, float, bool]]:
    """The levels that get requests: priority, percent of them, and whether the level is in panic.

    Envoy, "Priority levels": each level takes what it is healthy for, the next one what is left.
    """
    health: dict[int, float] = {}
    parts: dict[int, float] = {}
    for priority, localities in sorted(levels.items()):
        endpoints = [each for locality in localities for each in locality.lb_endpoints]
        parts[priority] = sum(map(_is_healthy, endpoints)) / len(endpoints) if endpoints else 0.0
        health[priority] = min(_WHOLE, int(_OVERPROVISIONED * parts[priority]))
    total = min(_WHOLE, sum(health.values()))
    sizes = {priority: sum(len(each.lb_endpoints) for each in level) for priority, level in levels.items()}
    if not total:
        # nobody is healthy: nobody is asked, or in panic everybody
        for priority in sorted(levels) if threshold else ():
            yield priority, 100.0 * sizes[priority] / sum(sizes.values()), True
        return
    left = float(_WHOLE)
    for priority in sorted(levels):
        load = min(left, health[priority] * _WHOLE / total)
        left -= load
        if load > 0:
            yield priority, load, total < _WHOLE and _WHOLE * parts[priority] < threshold


def _localities(localities: list[Any], *, weighted: bool, panics: bool) -> Iterable[tuple[Any, float]]:
    """Localities with their part of the requests, 0 to 1."""
    found: list[tuple[Any, float]] = []
    for each in localities:
        usable = [one for one in each.lb_endpoints if panics or _is_healthy(one)]
        if weighted:
            available = min(1.0, _OVERPROVISIONED / 100 * len(usable) / max(1, len(each.lb_endpoints)))
            found.append((each, each.load_balancing_weight.value * available))
        else:
            found.append((each, sum(map(_weight, usable))))
    total = sum(weight for _, weight in found)
    return [(each, weight / total) for each, weight in found if weight]


def _is_healthy(endpoint: Any) -> bool:
    return bool(endpoint.health_status != health_check_pb2.UNHEALTHY)


def _weight(endpoint: Any) -> int:
    return int(endpoint.load_balancing_weight.value) or 1


def _asked_for(request: Request) -> str:
    """The host that a cluster of the dynamic forward proxy leads to: that of the request, or of the connection."""
    if request.http:
        return request.host if ":" in request.host else f"{request.host}:80"
    return f"{request.server_name}:{request.port}"


def place(address: Any) -> str:
    """An endpoint's address as people write it."""
    if address.HasField("pipe"):
        return f"unix://{address.pipe.path}"
    where = address.socket_address
    return f"{where.address}:{where.port_value}"


def _place(locality: Any) -> str:
    return f"{locality.region}/{locality.zone}/{locality.sub_zone}".rstrip("/")


def _tls(cluster: Any, endpoint: Any, request: Request) -> UpstreamTls | None:
    socket = cluster.transport_socket if cluster.HasField("transport_socket") else None
    if endpoint is not None:
        labels = endpoint.metadata.filter_metadata["envoy.transport_socket_match"].fields
        socket = next(
            (
                each.transport_socket
                for each in cluster.transport_socket_matches
                if all(labels[key] == value for key, value in each.match.fields.items())
            ),
            socket,
        )
    if socket is None:
        return None
    packed = socket.typed_config
    if packed.Is(upstream_proxy_protocol_pb2.ProxyProtocolUpstreamTransport.DESCRIPTOR):
        wrapped = upstream_proxy_protocol_pb2.ProxyProtocolUpstreamTransport.FromString(packed.value)
        packed = wrapped.transport_socket.typed_config
    if not packed.Is(tls_pb2.UpstreamTlsContext.DESCRIPTOR):
        return None
    return _context(tls_pb2.UpstreamTlsContext.FromString(packed.value), cluster, request)


def _context(context: Any, cluster: Any, request: Request) -> UpstreamTls:
    common = context.common_tls_context
    validation = common.combined_validation_context
    names = tuple(
        each.matcher.exact or f"{each.matcher.prefix}*"
        for each in validation.default_validation_context.match_typed_subject_alt_names
    )
    server_name, by_request = context.sni, False
    packed = cluster.typed_extension_protocol_options[protocols.HTTP_OPTIONS]
    options = http_protocol_options_pb2.HttpProtocolOptions.FromString(packed.value)
    if request.http and options.upstream_http_protocol_options.auto_sni:
        server_name = request.host.partition(":")[0]
        by_request = options.upstream_http_protocol_options.auto_san_validation
    if (context.auto_sni_san_validation or by_request) and server_name:
        names = (server_name,)
    certificates = common.tls_certificate_sds_secret_configs
    return UpstreamTls(
        server_name=server_name,
        certificate=certificates[0].name if certificates else "",
        roots=validation.validation_context_sds_secret_config.name,
        names=names,
    )
