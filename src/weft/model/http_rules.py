"""The HTTP routes of a VirtualService, translated: conditions, destinations, and what becomes of requests."""

from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from weft.api import virtual_service as api
from weft.api.virtual_service_checks import MESH
from weft.base.claims import claim_path
from weft.base.durations import parse_duration
from weft.base.grpc_status import grpc_status
from weft.base.names import full_host
from weft.model.clients import Client, sorted_labels
from weft.model.gateway_names import gateway_path
from weft.model.routing import (
    UNCHANGED,
    Abort,
    Answer,
    CorsPolicy,
    Delay,
    HeaderChanges,
    Headers,
    HttpRoute,
    MatchKind,
    Redirect,
    RequestMatch,
    Retries,
    Rewrite,
    StringMatch,
)
from weft.model.services import Labels

_PREFIX = "%PREFIX()%"
"""Begins a redirect's uri that replaces only what the match took of the path."""


@dataclass(frozen=True, slots=True)
class Target:
    """A destination as written, with its host's full name. `port` 0 means that none is given."""

    field: str
    hostname: str
    written: str
    port: int
    subset: str
    weight: int
    headers: Headers = UNCHANGED


@dataclass(frozen=True, slots=True)
class Condition:
    """One entry of a route's `match`: what the request must be, and what its sender. `port` 0 means any.

    `gateways` are those by which the request may come, MESH for sidecars; none stands for all that the rule has.
    """

    request: RequestMatch
    port: int = 0
    labels: Labels = ()
    namespace: str = ""
    gateways: tuple[str, ...] = ()

    def may_hold(self, client: Client, port: int, gateway: str = MESH) -> bool:
        """Whether requests of this client to this port of `gateway` can match."""
        if self.port not in {0, port} or (self.gateways and gateway not in self.gateways):
            return False
        if gateway == MESH and (self.request.claims or self.request.without_claims):
            return False  # tokens are verified by the server's sidecar, and there is none yet where this is asked
        # a gateway that is named has no senders of its own to ask about (Istio, HTTPMatchRequest.gateways)
        named = gateway != MESH and bool(self.gateways)
        return named or (self.namespace in {"", client.namespace} and client.has(self.labels))


@dataclass(frozen=True, slots=True)
class RouteRule:
    """One entry of `spec.http`. `route` has everything but destinations, mirrors and matches.

    `conditions` None means that every request fits; an empty tuple that none can. The weight of a target in
    `mirrors` is of no account: its share of the requests stands beside it, in percent. `delegate` is the
    `name.namespace` of the VirtualService that has the routes, if not empty.
    """

    field: str
    conditions: tuple[Condition, ...] | None
    targets: tuple[Target, ...]
    route: HttpRoute
    mirrors: tuple[tuple[Target, float], ...] = ()
    delegate: str = ""

    def matches(self, client: Client, port: int, gateway: str = MESH) -> tuple[RequestMatch, ...] | None:
        """The conditions on requests of this client, () for all of them; None if none can fit."""
        if self.conditions is None:
            return ()
        return tuple(each.request for each in self.conditions if each.may_hold(client, port, gateway)) or None

    @property
    def references(self) -> Iterator[Target]:
        """All that the route names: destinations, and mirrors."""
        yield from self.targets
        yield from (target for target, _ in self.mirrors)


def route_rule(route: api.HttpRoute, index: int, namespace: str, domain: str) -> RouteRule:
    """Translate `spec.http[index]` of a VirtualService in `namespace` that has passed its checks."""
    field = f"spec.http[{index}]"
    return RouteRule(
        field=field,
        conditions=tuple(_condition(each, namespace) for each in route.match) if route.match else None,
        targets=tuple(_targets(route.route, field, namespace, domain)),
        mirrors=tuple(_mirrors(route, field, namespace, domain)),
        delegate=f"{route.delegate.name}.{route.delegate.namespace or namespace}" if route.delegate else "",
        route=HttpRoute(
            destinations=(),
            name=route.name,
            timeout=_limit(route.timeout),
            retries=retries_of(route.retries),
            abort=_abort(route.fault),
            delay=_delay(route.fault),
            outcome=_redirect(route.redirect) or _answer(route.direct_response),
            rewrite=_rewrite(route.rewrite),
            cors=_cors(route.cors_policy),
            headers=_headers(route.headers),
        ),
    )


def _targets(
    destinations: tuple[api.HttpDestination, ...], field: str, namespace: str, domain: str
) -> Iterator[Target]:
    for index, each in enumerate(destinations):
        yield _target(
            each.destination,
            f"{field}.route[{index}].destination",
            namespace,
            domain,
            weight=100 if len(destinations) == 1 else each.weight or 0,
            headers=_headers(each.headers),
        )


def _mirrors(route: api.HttpRoute, field: str, namespace: str, domain: str) -> Iterator[tuple[Target, float]]:
    if route.mirror is not None:
        whole = route.mirror_percent if route.mirror_percent is not None else route.mirror_percent_old
        share = route.mirror_percentage.value if route.mirror_percentage else 100.0 if whole is None else whole
        yield _target(route.mirror, f"{field}.mirror", namespace, domain), float(share)
    for index, each in enumerate(route.mirrors):
        share = each.percentage.value if each.percentage else 100.0
        yield _target(each.destination, f"{field}.mirrors[{index}].destination", namespace, domain), share


def _target(
    to: api.Destination,
    field: str,
    namespace: str,
    domain: str,
    *,
    weight: int = 100,
    headers: Headers = UNCHANGED,
) -> Target:
    return Target(
        field=field,
        hostname=full_host(to.host, namespace, domain),
        written=to.host,
        port=to.port.number if to.port else 0,
        subset=to.subset,
        weight=weight,
        headers=headers,
    )


def _condition(match: api.HttpMatch, namespace: str) -> Condition:
    request = RequestMatch(
        name=match.name,
        stat_prefix=match.stat_prefix or "",
        uri=_compare(match.uri, ignore_case=match.ignore_uri_case),
        method=_compare(match.method),
        authority=_compare(match.authority),
        scheme=_compare(match.scheme),
        headers=_compared(match.headers),
        without_headers=_compared(match.without_headers),
        claims=_of_claims(match.headers),
        without_claims=_of_claims(match.without_headers),
        query=tuple((name, _comparison(each)) for name, each in sorted(match.query_params.items())),
    )
    gateways = tuple(gateway_path(each, namespace) for each in match.gateways)
    return Condition(
        request, match.port or 0, sorted_labels(match.source_labels), match.source_namespace, gateways
    )


def _compared(headers: Mapping[str, api.StringMatch]) -> tuple[tuple[str, StringMatch], ...]:
    found = ((name.lower(), each) for name, each in headers.items() if not claim_path(name))
    return tuple(sorted((name, _comparison(each)) for name, each in found))


def _of_claims(headers: Mapping[str, api.StringMatch]) -> tuple[tuple[tuple[str, ...], StringMatch], ...]:
    """What is asked of a token's claims, which rules write among the headers."""
    paths = ((claim_path(name), each) for name, each in headers.items())
    return tuple(sorted((path, _comparison(each)) for path, each in paths if path))


def _compare(match: api.StringMatch | None, *, ignore_case: bool = False) -> StringMatch | None:
    return None if match is None else _comparison(match, ignore_case=ignore_case)


def _comparison(match: api.StringMatch, *, ignore_case: bool = False) -> StringMatch:
    if match.exact is not None:
        return StringMatch(MatchKind.EXACT, match.exact, ignore_case)
    if match.prefix is not None:
        return StringMatch(MatchKind.PREFIX, match.prefix, ignore_case)
    if match.regex is not None:
        # ignoreUriCase holds for exact and prefix only (Istio, HTTPMatchRequest)
        return StringMatch(MatchKind.REGEX, match.regex)
    return StringMatch(MatchKind.PRESENT)


def _limit(text: str | None) -> timedelta | None:
    """Read a duration; none at all and 0s both mean that there is no limit."""
    return parse_duration(text) or None if text is not None else None


def retries_of(retries: api.Retries | None) -> Retries | None:
    """Translate when a failed request is sent again."""
    if retries is None:
        return None
    return Retries(
        retries.attempts,
        _limit(retries.per_try_timeout),
        retries.retry_on,
        backoff=_limit(retries.backoff),
        elsewhere=retries.retry_ignore_previous_hosts is not False,
        other_localities=bool(retries.retry_remote_localities),
    )


def _abort(fault: api.Fault | None) -> Abort | None:
    abort = fault.abort if fault else None
    if abort is None or abort.percentage is None or not abort.percentage.value:
        return None
    if abort.grpc_status is not None:
        return Abort(abort.percentage.value, grpc_status=grpc_status(abort.grpc_status))
    return None if abort.http_status is None else Abort(abort.percentage.value, abort.http_status)


def _delay(fault: api.Fault | None) -> Delay | None:
    delay = fault.delay if fault else None
    duration = _limit(delay.fixed_delay) if delay else None
    if delay is None or duration is None:
        return None
    share = delay.percentage.value if delay.percentage else float(delay.percent or 0)
    return Delay(share, duration) if share else None


def _redirect(redirect: api.Redirect | None) -> Redirect | None:
    if redirect is None:
        return None
    path = redirect.uri or ""
    whole = "" if path.startswith(_PREFIX) else path
    return Redirect(
        path=whole,
        prefix="" if whole else redirect.prefix_rewrite or path.removeprefix(_PREFIX),
        authority=redirect.authority or "",
        scheme=redirect.scheme or "",
        port=redirect.port or 0,
        port_of_scheme=redirect.derive_port == "FROM_PROTOCOL_DEFAULT",
        status=redirect.redirect_code or 301,
    )


def _answer(response: api.DirectResponse | None) -> Answer | None:
    if response is None:
        return None
    body = response.body or api.Body()
    return Answer(response.status, b64decode(body.bytes) if body.bytes else (body.string or "").encode())


def _rewrite(rewrite: api.Rewrite | None) -> Rewrite | None:
    if rewrite is None:
        return None
    regex = rewrite.uri_regex_rewrite or api.RegexRewrite()
    return Rewrite(rewrite.uri or "", regex.match, regex.rewrite, rewrite.authority or "")


def _cors(policy: api.CorsPolicy | None) -> CorsPolicy | None:
    if policy is None:
        return None
    plain = (StringMatch(MatchKind.EXACT, origin) for origin in policy.allow_origin)
    return CorsPolicy(
        allow_origins=(*(_comparison(each) for each in policy.allow_origins), *map(_any_origin, plain)),
        allow_methods=policy.allow_methods,
        allow_headers=policy.allow_headers,
        expose_headers=policy.expose_headers,
        max_age=parse_duration(policy.max_age) if policy.max_age is not None else None,
        allow_credentials=policy.allow_credentials,
        forward_others=policy.unmatched_preflights != "IGNORE",
    )


def _any_origin(origin: StringMatch) -> StringMatch:
    """In the old field `allowOrigin`, an asterisk means every origin."""
    return StringMatch(MatchKind.REGEX, ".*") if origin.value == "*" else origin


def _headers(headers: api.Headers | None) -> Headers:
    if headers is None:
        return UNCHANGED
    request = headers.request or api.HeaderChanges()
    hosts = [value for name, value in (*request.set.items(), *request.add.items()) if _is_host(name)]
    return Headers(_changes(request), _changes(headers.response or api.HeaderChanges()), "".join(hosts[:1]))


def _changes(changes: api.HeaderChanges) -> HeaderChanges:
    return HeaderChanges(_pairs(changes.set), _pairs(changes.add), tuple(name.lower() for name in changes.remove))


def _pairs(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    # the host is no header to Envoy: see Headers.authority
    kept: Iterable[tuple[str, str]] = ((n.lower(), v) for n, v in headers.items() if not _is_host(n))
    return tuple(sorted(kept))


def _is_host(name: str) -> bool:
    return name.lower() in {"host", ":authority"}
