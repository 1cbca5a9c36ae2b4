"""What Envoy would do with a request, of the application or to it, read from the very bytes that Envoy gets."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from weft.xds import names, simulate_ext_authz, simulate_rbac
from weft.xds.authorization import NETWORK_RBAC
from weft.xds.external_authorization import NETWORK_FILTER as EXT_AUTHZ
from weft.xds.listeners_http import HTTP_FILTER, TCP_FILTER
from weft.xds.proto import (
    base_pb2,
    fault_pb2,
    http_connection_manager_pb2,
    listener_pb2,
    network_ext_authz_pb2,
    percent_pb2,
    route_components_pb2,
    route_pb2,
    tcp_proxy_pb2,
)
from weft.xds.resource import LISTENER, ROUTE, Resources
from weft.xds.route_policies import FAULT_FILTER
from weft.xds.simulate_chains import filter_chain
from weft.xds.simulate_changes import REDIRECTS, UNCHANGED, Changes, changes, location, path
from weft.xds.simulate_endpoints import Reached, UpstreamTls, reached
from weft.xds.simulate_filters import filtered
from weft.xds.simulate_match import ClientCertificate, ProviderAnswer, Request, matches, virtual_host
from weft.xds.simulate_path import path_seen
from weft.xds.simulate_rbac import Metadata, Names
from weft.xds.simulate_tls import handshake
from weft.xds.simulate_tokens import changed_by_filters
from weft.xds.understood import NotUnderstoodError, require

__all__ = [
    "Changes",
    "ClientCertificate",
    "Fault",
    "NotUnderstoodError",
    "Outcome",
    "ProviderAnswer",
    "Reached",
    "Request",
    "Share",
    "UpstreamTls",
    "simulate",
]

_HOST: Any = route_components_pb2.VirtualHost
_SCALE = {
    percent_pb2.FractionalPercent.HUNDRED: 1,
    percent_pb2.FractionalPercent.TEN_THOUSAND: 100,
    percent_pb2.FractionalPercent.MILLION: 10_000,
}


@dataclass(frozen=True, slots=True)
class Share:
    """Where some of the requests go. Nobody is reached: they are answered 503.

    `headers` and `host` are changes for these requests only; see `Changes`.
    """

    cluster: str
    percent: float
    reached: tuple[Reached, ...]
    headers: Changes = UNCHANGED
    host: str = ""

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The addresses that requests come to."""
        return tuple(each.address for each in self.reached)


@dataclass(frozen=True, slots=True)
class Fault:
    """An injected answer (`status`, or a gRPC status) or wait (`delay`), for `percent` of the requests."""

    percent: float
    status: int = 0
    grpc_status: int | None = None
    delay: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The way of a request. `status` is set where Envoy answers all of them itself: 404 where no route fits.

    `rule` is the path of the VirtualService in the API. Plain TCP has no `table`, `virtual_host` and `route`.
    `timeout` 0 means no limit. `path` and `host` are what the destination sees, `location` and `body` what the
    client does, `mirrors` get copies. `chain` is the filter chain; `refused` says why the connection is closed
    before a byte of it goes anywhere, `protocol` what client and proxy agreed on by ALPN. `tunnel` is what the
    destination is asked to connect to, as a proxy. `denied` is what denied it: the rule of a policy, or that none
    allows it. `tried` are the verdicts of policies in a dry run, by the prefix of their statistics. `asked` are
    the clusters of providers that are asked, in order.
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
    path: str = ""
    host: str = ""
    headers: Changes = UNCHANGED
    mirrors: tuple[Share, ...] = ()
    location: str = ""
    body: bytes = b""
    chain: str = ""
    refused: str = ""
    protocol: str = ""
    tunnel: str = ""
    denied: str = ""
    tried: tuple[tuple[str, bool], ...] = ()
    asked: tuple[str, ...] = ()


def simulate(request: Request, resources: Resources) -> Outcome:
    """What becomes of `request` in a proxy with these resources.

    Raises NotUnderstoodError where something on its way is not known to the simulator, LookupError where the proxy
    lacks what it refers to.
    """
    listener = _listener(request, resources)
    if listener is None:
        return Outcome("", refused=f"nothing listens at {request.address}:{request.port}")
    require(listener, f"listener {listener.name}", ("filter_chains", "default_filter_chain"))
    chain = filter_chain(listener, request)
    if chain is None:
        return Outcome(listener.name, refused="no filter chain takes the connection")
    require(chain, f"listener {listener.name}, filter chain {chain.name}")
    agreed = handshake(chain, request)
    found = Outcome(listener.name, chain=chain.name, refused=agreed.refused, protocol=agreed.protocol)
    if found.refused:
        return found
    peer = simulate_rbac.identity(request.certificate) if agreed.ended else ()
    found = _let_in(found, chain.filters, request, peer)
    if found.denied:
        return found
    for each in chain.filters:
        if each.name == TCP_FILTER:
            proxy = _unpack(each.typed_config, tcp_proxy_pb2.TcpProxy)
            rule = chain.metadata.filter_metadata["istio"].fields["config"].string_value
            shares = tuple(_connected(proxy, request, resources))
            return replace(found, rule=rule, shares=shares, tunnel=_tunnel(proxy))
        if each.name == HTTP_FILTER:
            if request.tls and not agreed.ended:
                return replace(found, refused="the client speaks TLS to a port of plaintext HTTP")
            manager = _unpack(each.typed_config, http_connection_manager_pb2.HttpConnectionManager)
            return _handled(manager, found, request, peer, resources)
    raise LookupError(f"listener {listener.name}: filter chain {chain.name} has no last filter")


def _let_in(found: Outcome, filters: Iterable[Any], request: Request, peer: Names) -> Outcome:
    """What policies and the providers that they ask say of a connection."""
    metadata: Metadata = {}
    for each in filters:
        if each.name == NETWORK_RBAC:
            verdict = simulate_rbac.of_connection(each.typed_config, request, peer)
            metadata[NETWORK_RBAC] = metadata.get(NETWORK_RBAC, {}) | verdict.metadata
            found = replace(found, denied=verdict.denied, tried=(*found.tried, *verdict.tried))
        elif each.name == EXT_AUTHZ:
            found = _decided(found, _unpack(each.typed_config, network_ext_authz_pb2.ExtAuthz), request, metadata)
        if found.denied:
            return replace(found, refused=f"the connection is denied: {found.denied}")
    return found


def _decided(found: Outcome, config: Any, request: Request, metadata: Metadata) -> Outcome:
    """What a provider says of a connection, if it is asked."""
    by = simulate_ext_authz.asked_by(config, metadata)
    if not by:
        return found
    cluster = simulate_ext_authz.cluster_of(config)
    said = simulate_ext_authz.answer(cluster, request).status
    passes = said == 200 or (not said and config.failure_mode_allow)
    return replace(found, asked=(*found.asked, cluster), denied="" if passes else by)


def _handled(manager: Any, found: Outcome, request: Request, peer: Names, resources: Resources) -> Outcome:
    """What a connection manager does with a request of `peer`."""
    table = manager.rds.route_config_name or manager.route_config.name
    path = path_seen(manager, request.path)
    if path is None:
        return replace(found, table=table, status=400)
    asked = replace(request, path=path)
    passed = filtered(manager, asked, peer)
    found = replace(found, denied=passed.denied, tried=passed.tried, asked=passed.asked)
    if passed.status:
        told = Changes(response_set=passed.to_client) if passed.to_client else UNCHANGED
        return replace(found, table=table, status=passed.status, body=passed.body, headers=told)
    outcome = _routed(found, _table(manager, found, resources), passed.routed, resources)
    headers = changed_by_filters(asked, passed.request, outcome.headers)
    if passed.to_client:
        headers = replace(headers, response_add=(*passed.to_client, *headers.response_add))
    return replace(outcome, headers=headers)


def _connected(proxy: Any, request: Request, resources: Resources) -> Iterable[Share]:
    """Where connections go by a TcpProxy."""
    weights = proxy.weighted_clusters.clusters
    if not weights:
        yield _share(proxy.cluster, 100.0, request, resources)
    total = sum(each.weight for each in weights)
    for each in weights:
        yield _share(each.name, 100.0 * each.weight / total, request, resources)


def _tunnel(proxy: Any) -> str:
    through = proxy.tunneling_config
    return f"{'POST' if through.use_post else 'CONNECT'} {through.hostname}" if through.hostname else ""


def _listener(request: Request, resources: Resources) -> Any | None:
    """The listener of the dialled address, that of its port, or the one of a sidecar that takes the rest."""
    listeners = resources[LISTENER]
    last = names.VIRTUAL_INBOUND if request.inbound else names.VIRTUAL_OUTBOUND
    for name in (f"{request.address}_{request.port}", f"0.0.0.0_{request.port}", last):
        if name in listeners:
            found = listener_pb2.Listener.FromString(listeners[name].body)
            if not request.inbound or found.traffic_direction == base_pb2.INBOUND:
                return found
    return None


def _table(manager: Any, found: Outcome, resources: Resources) -> Any:
    """The route table of a connection manager: one by name, or its own."""
    if manager.HasField("route_config"):
        return manager.route_config
    table = manager.rds.route_config_name
    if table not in resources[ROUTE]:
        raise LookupError(f"listener {found.listener}: the proxy has no route table {table}")
    return route_pb2.RouteConfiguration.FromString(resources[ROUTE][table].body)


def _routed(found: Outcome, config: Any, request: Request, resources: Resources) -> Outcome:
    table = config.name
    require(config, f"route table {table}", ("virtual_hosts",))
    host = virtual_host(config, request.host)
    if host is None:
        return replace(found, table=table, status=404)
    found = replace(found, table=table, virtual_host=host.name)
    require(host, f"route table {table}, virtual host {host.name}", ("routes",))
    if host.require_tls == _HOST.ALL and not request.tls:
        return replace(found, status=301, location=f"https://{request.host}{request.path}")
    for route in host.routes:
        require(route.match, f"virtual host {host.name}, route {route.name}")
        if matches(route.match, request):
            require(route, f"virtual host {host.name}, route {route.name}")
            return _outcome(found, route, request, resources)
    return replace(found, status=404)


def _outcome(found: Outcome, route: Any, request: Request, resources: Resources) -> Outcome:
    abort, delay = _faults(route)
    found = replace(
        found,
        route=route.name,
        rule=route.metadata.filter_metadata["istio"].fields["config"].string_value,
        abort=abort,
        delay=delay,
        headers=changes(route),
    )
    match route.WhichOneof("action"):
        case "redirect":
            to = route.redirect
            return replace(found, status=REDIRECTS[to.response_code], location=location(route, request))
        case "direct_response":
            answer = route.direct_response
            return replace(found, status=answer.status, body=answer.body.inline_bytes)
        case _:
            return _forwarded(found, route, request, resources)


def _forwarded(found: Outcome, route: Any, request: Request, resources: Resources) -> Outcome:
    action = route.route
    return replace(
        found,
        shares=tuple(_shares(action, request, resources)),
        retries=action.retry_policy.num_retries.value if action.HasField("retry_policy") else 0,
        timeout=action.timeout.ToTimedelta(),
        path=path(route, request),
        host=action.host_rewrite_literal or request.host,
        mirrors=tuple(
            _share(each.cluster, _percent(each.runtime_fraction.default_value), request, resources)
            for each in action.request_mirror_policies
        ),
    )


def _shares(action: Any, request: Request, resources: Resources) -> Iterable[Share]:
    if action.cluster:
        yield _share(action.cluster, 100.0, request, resources)
        return
    weights = action.weighted_clusters.clusters
    total = sum(each.weight.value for each in weights)
    for each in weights:
        share = _share(each.name, 100.0 * each.weight.value / total, request, resources)
        yield replace(share, headers=changes(each), host=each.host_rewrite_literal)


def _share(name: str, percent: float, request: Request, resources: Resources) -> Share:
    return Share(name, percent, reached(name, request, resources))


def _faults(route: Any) -> tuple[Fault | None, Fault | None]:
    if FAULT_FILTER not in route.typed_per_filter_config:
        return None, None
    fault = _unpack(route.typed_per_filter_config[FAULT_FILTER], fault_pb2.HTTPFault)
    abort = delay = None
    if fault.HasField("abort"):
        grpc = fault.abort.grpc_status if fault.abort.WhichOneof("error_type") == "grpc_status" else None
        abort = Fault(_percent(fault.abort.percentage), fault.abort.http_status, grpc)
    if fault.HasField("delay"):
        delay = Fault(_percent(fault.delay.percentage), delay=fault.delay.fixed_delay.ToTimedelta())
    return abort, delay


def _percent(fraction: Any) -> float:
    return float(fraction.numerator / _SCALE[fraction.denominator])


def _unpack(packed: Any, message: Any) -> Any:
    return message.FromString(packed.value)
