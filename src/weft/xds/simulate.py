"""What Envoy would do with a request of the application, read from the very bytes that Envoy gets."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from weft.xds import names
from weft.xds.listeners_http import HTTP_FILTER, TCP_FILTER
from weft.xds.proto import (
    cluster_pb2,
    endpoint_pb2,
    fault_pb2,
    health_check_pb2,
    http_connection_manager_pb2,
    listener_pb2,
    percent_pb2,
    route_pb2,
    tcp_proxy_pb2,
)
from weft.xds.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resources
from weft.xds.route_policies import FAULT_FILTER

_SCALE = {
    percent_pb2.FractionalPercent.HUNDRED: 1,
    percent_pb2.FractionalPercent.TEN_THOUSAND: 100,
    percent_pb2.FractionalPercent.MILLION: 10_000,
}


@dataclass(frozen=True, slots=True)
class Request:
    """A connection to `address:port` and, if `http`, the request on it. Header names are lower-case.

    `host` is the Host header, with or without a port. `path` may carry a query.
    """

    address: str
    port: int
    host: str = ""
    path: str = "/"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    http: bool = True


@dataclass(frozen=True, slots=True)
class Share:
    """Where some of the requests go. No endpoints: they are answered 503."""

    cluster: str
    percent: float
    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """An injected answer (`status`) or wait (`delay`), for `percent` of the requests."""

    percent: float
    status: int = 0
    delay: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The way of a request. `status` is set where Envoy answers all of them itself, without a route: 404.

    `rule` is the path of the VirtualService in the API. Plain TCP has no `table`, `virtual_host` and `route`.
    `timeout` 0 means no limit.
    """

    listener: str
    table: str = ""
    virtual_host: str = ""
    route: str = ""
    rule: str = ""
    shares: tuple[Share, ...] = ()
    abort: Fault | None = None
    delay: Fault | None = None
    retries: int = 0
    timeout: timedelta = timedelta(0)
    status: int = 0


def simulate(request: Request, resources: Resources) -> Outcome:
    """What becomes of `request` in a proxy with these resources."""
    listener = _listener(request, resources)
    for chain in _chains(listener, request):
        for each in chain.filters:
            if each.name == TCP_FILTER:
                proxy = _unpack(each.typed_config, tcp_proxy_pb2.TcpProxy)
                return Outcome(listener.name, shares=(_share(proxy.cluster, 100.0, request, resources),))
            if each.name == HTTP_FILTER:
                manager = _unpack(each.typed_config, http_connection_manager_pb2.HttpConnectionManager)
                return _routed(listener.name, manager.rds.route_config_name, request, resources)
    raise LookupError(f"listener {listener.name} has no filter chain for the request")


def _listener(request: Request, resources: Resources) -> Any:
    listeners = resources[LISTENER]
    for name in (f"{request.address}_{request.port}", f"0.0.0.0_{request.port}", names.VIRTUAL_OUTBOUND):
        if name in listeners:
            return listener_pb2.Listener.FromString(listeners[name].body)
    raise LookupError("the proxy has no outbound listener")


def _chains(listener: Any, request: Request) -> Iterable[Any]:
    """The chains that take the connection, the most telling first."""
    taken = []
    for chain in listener.filter_chains:
        match = chain.filter_chain_match
        if match.HasField("destination_port") and match.destination_port.value != request.port:
            continue
        if match.application_protocols and not (request.http and "http/1.1" in match.application_protocols):
            continue
        taken.append(chain)
    return [*taken, *([listener.default_filter_chain] if listener.HasField("default_filter_chain") else [])]


def _routed(listener: str, table: str, request: Request, resources: Resources) -> Outcome:
    config = route_pb2.RouteConfiguration.FromString(resources[ROUTE][table].body)
    host = _virtual_host(config, request.host)
    if host is None:
        return Outcome(listener, table, status=404)
    for route in host.routes:
        if _matches(route.match, request):
            return _outcome(Outcome(listener, table, host.name), route, request, resources)
    return Outcome(listener, table, host.name, status=404)


def _outcome(found: Outcome, route: Any, request: Request, resources: Resources) -> Outcome:
    action = route.route
    abort, delay = _faults(route)
    istio = route.metadata.filter_metadata["istio"]
    return Outcome(
        found.listener,
        found.table,
        found.virtual_host,
        route.name,
        rule=istio.fields["config"].string_value,
        shares=tuple(_shares(action, request, resources)),
        abort=abort,
        delay=delay,
        retries=action.retry_policy.num_retries.value if action.HasField("retry_policy") else 0,
        timeout=action.timeout.ToTimedelta(),
    )


def _shares(action: Any, request: Request, resources: Resources) -> Iterable[Share]:
    if action.cluster:
        yield _share(action.cluster, 100.0, request, resources)
        return
    weights = action.weighted_clusters.clusters
    total = sum(each.weight.value for each in weights)
    for each in weights:
        yield _share(each.name, 100.0 * each.weight.value / total, request, resources)


def _share(name: str, percent: float, request: Request, resources: Resources) -> Share:
    return Share(name, percent, tuple(_endpoints(name, request, resources)))


def _endpoints(name: str, request: Request, resources: Resources) -> Iterable[str]:
    if name not in resources[CLUSTER]:
        return
    cluster = cluster_pb2.Cluster.FromString(resources[CLUSTER][name].body)
    if cluster.type == cluster_pb2.Cluster.ORIGINAL_DST:
        yield f"{request.address}:{request.port}"
        return
    if cluster.type == cluster_pb2.Cluster.EDS:
        told = resources[ENDPOINT].get(name)
        assignment = endpoint_pb2.ClusterLoadAssignment.FromString(told.body) if told else None
    else:
        assignment = cluster.load_assignment
    for locality in assignment.endpoints if assignment is not None else ():
        for each in locality.lb_endpoints:
            if each.health_status != health_check_pb2.UNHEALTHY:
                where = each.endpoint.address.socket_address
                yield f"{where.address}:{where.port_value}"


def _faults(route: Any) -> tuple[Fault | None, Fault | None]:
    if FAULT_FILTER not in route.typed_per_filter_config:
        return None, None
    fault = _unpack(route.typed_per_filter_config[FAULT_FILTER], fault_pb2.HTTPFault)
    abort = delay = None
    if fault.HasField("abort"):
        abort = Fault(_percent(fault.abort.percentage), status=fault.abort.http_status)
    if fault.HasField("delay"):
        delay = Fault(_percent(fault.delay.percentage), delay=fault.delay.fixed_delay.ToTimedelta())
    return abort, delay


def _percent(fraction: Any) -> float:
    return float(fraction.numerator / _SCALE[fraction.denominator])


def _virtual_host(config: Any, authority: str) -> Any | None:
    """The virtual host of a Host header: its whole name first, then the longest wildcard."""
    host = authority.lower()
    if config.ignore_port_in_host_matching:
        host = re.sub(r":\d+$", "", host)
    ranked = [
        (rank, virtual_host)
        for virtual_host in config.virtual_hosts
        for domain in virtual_host.domains
        if (rank := _domain_rank(domain.lower(), host)) is not None
    ]
    return max(ranked, key=lambda each: each[0])[1] if ranked else None


def _domain_rank(domain: str, host: str) -> tuple[int, int] | None:
    if domain == host:
        return 3, len(domain)
    if domain == "*":
        return 0, 1
    if domain.startswith("*") and host.endswith(domain[1:]) and len(host) >= len(domain):
        return 2, len(domain)
    if domain.endswith("*") and host.startswith(domain[:-1]) and len(host) >= len(domain):
        return 1, len(domain)
    return None


def _matches(match: Any, request: Request) -> bool:
    headers = {":method": request.method, ":authority": request.host, ":scheme": "http", **dict(request.headers)}
    _, _, query = request.path.partition("?")
    parameters = dict(pair.partition("=")[::2] for pair in query.split("&") if pair)
    return (
        _path_matches(match, request.path.partition("?")[0])
        and all(_header_matches(each, headers.get(each.name)) for each in match.headers)
        and all(_parameter_matches(each, parameters.get(each.name)) for each in match.query_parameters)
    )


def _path_matches(match: Any, path: str) -> bool:
    kind = match.WhichOneof("path_specifier")
    if kind == "safe_regex":
        return re.fullmatch(match.safe_regex.regex, path) is not None
    wanted: str = getattr(match, kind)
    if match.HasField("case_sensitive") and not match.case_sensitive.value:
        wanted, path = wanted.lower(), path.lower()
    return bool(path == wanted) if kind == "path" else path.startswith(wanted)


def _header_matches(matcher: Any, value: str | None) -> bool:
    if matcher.HasField("present_match"):
        return bool(((value is not None) == matcher.present_match) != matcher.invert_match)
    if value is None:
        if not matcher.treat_missing_header_as_empty:
            return False
        value = ""
    return bool(_string_matches(matcher.string_match, value) != matcher.invert_match)


def _parameter_matches(matcher: Any, value: str | None) -> bool:
    if matcher.HasField("present_match"):
        return bool((value is not None) == matcher.present_match)
    return value is not None and _string_matches(matcher.string_match, value)


def _string_matches(matcher: Any, value: str) -> bool:
    kind = matcher.WhichOneof("match_pattern")
    if kind == "safe_regex":
        return re.fullmatch(matcher.safe_regex.regex, value) is not None
    wanted: str = getattr(matcher, kind)
    if matcher.ignore_case:
        wanted, value = wanted.lower(), value.lower()
    return bool(value.startswith(wanted) if kind == "prefix" else value == wanted)


def _unpack(packed: Any, message: Any) -> Any:
    return message.FromString(packed.value)
