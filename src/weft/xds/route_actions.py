"""What a route does with a request: forward it, changed and copied where asked, or send the client elsewhere."""

from collections.abc import Iterable
from typing import Any

from google.protobuf import duration_pb2, wrappers_pb2

from weft.model.routing import (
    Destination,
    HeaderChanges,
    Headers,
    HttpRoute,
    Mirror,
    Redirect,
    Rewrite,
    Unresolved,
)
from weft.xds import encode, names
from weft.xds.proto import base_pb2, regex_pb2, route_components_pb2
from weft.xds.route_policies import DEFAULT_RETRIES, percent, retry_policy

_NO_LIMIT = duration_pb2.Duration()
_ROUTE: Any = route_components_pb2
_REDIRECTS = {
    301: _ROUTE.RedirectAction.MOVED_PERMANENTLY,
    302: _ROUTE.RedirectAction.FOUND,
    303: _ROUTE.RedirectAction.SEE_OTHER,
    307: _ROUTE.RedirectAction.TEMPORARY_REDIRECT,
    308: _ROUTE.RedirectAction.PERMANENT_REDIRECT,
}
_PORTS = {"http": 80, "https": 443}


def forward(route: HttpRoute) -> Any:
    """The RouteAction: destinations with their shares, limits, retries, rewrites and mirrors."""
    limit = _NO_LIMIT if route.timeout is None else encode.duration(route.timeout)
    action = _ROUTE.RouteAction(timeout=limit, max_grpc_timeout=limit)
    _clusters(action, route.destinations)
    retries = DEFAULT_RETRIES if route.retries is None else route.retries
    if retries.attempts > 0:
        action.retry_policy.CopyFrom(retry_policy(retries))
    if route.rewrite is not None:
        _rewrite(action, route.rewrite)
    if route.headers.authority:
        action.host_rewrite_literal = route.headers.authority
    action.request_mirror_policies.extend(_mirror(each) for each in route.mirrors)
    return action


def redirect(to: Redirect) -> Any:
    """The RedirectAction; Envoy keeps what it is not told to change."""
    action = _ROUTE.RedirectAction(
        host_redirect=to.authority,
        port_redirect=_PORTS.get(to.scheme or "http", 0) if to.port_of_scheme else to.port,
        response_code=_REDIRECTS[to.status],
    )
    if to.scheme:
        action.scheme_redirect = to.scheme
    if to.path:
        action.path_redirect = to.path
    elif to.prefix:
        action.prefix_rewrite = to.prefix
    return action


def change_headers(message: Any, headers: Headers) -> None:
    """Write header changes into a Route or into one of its weighted clusters."""
    message.request_headers_to_add.extend(_added(headers.request))
    message.request_headers_to_remove.extend(headers.request.remove)
    message.response_headers_to_add.extend(_added(headers.response))
    message.response_headers_to_remove.extend(headers.response.remove)


def _clusters(action: Any, targets: tuple[Destination | Unresolved, ...]) -> None:
    match targets:
        case ():
            action.cluster = names.BLACK_HOLE
        case (only,) if not (isinstance(only, Destination) and only.headers != Headers()):
            action.cluster = _cluster(only)
        case _ if not any(each.weight for each in targets):
            action.cluster = names.BLACK_HOLE  # Envoy refuses weights that sum to nothing
        case _:
            for each in targets:
                _weighted(action.weighted_clusters.clusters.add(), each)


def _weighted(share: Any, target: Destination | Unresolved) -> None:
    share.name = _cluster(target)
    share.weight.CopyFrom(wrappers_pb2.UInt32Value(value=target.weight))
    if isinstance(target, Destination):
        change_headers(share, target.headers)
        if target.headers.authority:
            share.host_rewrite_literal = target.headers.authority


def _cluster(target: Destination | Unresolved) -> str:
    match target:
        case Destination():
            return names.outbound_cluster(target.hostname, target.port, target.subset)
        case Unresolved():
            return names.BLACK_HOLE  # it has no endpoint: 503


def _rewrite(action: Any, rewrite: Rewrite) -> None:
    if rewrite.pattern:
        action.regex_rewrite.pattern.CopyFrom(regex_pb2.RegexMatcher(regex=rewrite.pattern))
        action.regex_rewrite.substitution = rewrite.substitution
    elif rewrite.path:
        action.prefix_rewrite = rewrite.path
    if rewrite.authority:
        action.host_rewrite_literal = rewrite.authority


def _mirror(mirror: Mirror) -> Any:
    share = base_pb2.RuntimeFractionalPercent(default_value=percent(mirror.percentage))
    return _ROUTE.RouteAction.RequestMirrorPolicy(cluster=_cluster(mirror.destination), runtime_fraction=share)


def _added(changes: HeaderChanges) -> Iterable[Any]:
    option = base_pb2.HeaderValueOption
    for pairs, how in (
        (changes.set, option.OVERWRITE_IF_EXISTS_OR_ADD),
        (changes.add, option.APPEND_IF_EXISTS_OR_ADD),
    ):
        for name, value in pairs:
            header = base_pb2.HeaderValue(key=name, value=value)
            yield option(header=header, append_action=how, keep_empty_value=not value)
