"""VirtualServices, translated once and found by host. What they refer to is looked up in `resolution`."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from weft.api import virtual_service as api
from weft.api.virtual_service_checks import MESH
from weft.base.durations import parse_duration
from weft.base.names import full_host, host_matches
from weft.model.clients import Client, exported_to, is_visible, sorted_labels
from weft.model.routing import Abort, Delay, HttpRoute, MatchKind, RequestMatch, Retries, StringMatch
from weft.model.rule import Rule
from weft.model.services import Labels


@dataclass(frozen=True, slots=True)
class Target:
    """A destination as written, with its host's full name. `port` 0 means that none is given."""

    field: str
    hostname: str
    written: str
    port: int
    subset: str
    weight: int


@dataclass(frozen=True, slots=True)
class Condition:
    """One entry of a route's `match`: what the request must be, and what its sender. `port` 0 means any."""

    request: RequestMatch
    port: int = 0
    labels: Labels = ()
    namespace: str = ""

    def may_hold(self, client: Client, port: int) -> bool:
        """Whether requests of this client to this port can match."""
        return self.port in {0, port} and self.namespace in {"", client.namespace} and client.has(self.labels)


@dataclass(frozen=True, slots=True)
class RouteRule:
    """One entry of `spec.http`. `route` has everything but destinations and matches.

    `conditions` None means that every request fits; an empty tuple that none can.
    """

    field: str
    conditions: tuple[Condition, ...] | None
    targets: tuple[Target, ...]
    route: HttpRoute

    def matches(self, client: Client, port: int) -> tuple[RequestMatch, ...] | None:
        """The conditions on requests of this client, () for all of them; None if none can fit."""
        if self.conditions is None:
            return ()
        return tuple(each.request for each in self.conditions if each.may_hold(client, port)) or None


@dataclass(frozen=True, slots=True)
class RoutingRule(Rule):
    """A VirtualService with full host names.

    `label_keys` are the labels that it asks of clients, `targets` the hosts that its routes lead to.
    """

    hosts: tuple[str, ...]
    written_hosts: tuple[str, ...]
    export_to: frozenset[str]
    in_mesh: bool
    routes: tuple[RouteRule, ...]
    label_keys: frozenset[str]
    targets: frozenset[str]


def routing_rule(source: api.VirtualService, domain: str) -> RoutingRule:
    """Translate a VirtualService that has passed its checks."""
    meta, spec = source.metadata, source.spec
    routes = tuple(_route(route, index, meta.namespace, domain) for index, route in enumerate(spec.http))
    keys = {key for route in routes for each in route.conditions or () for key, _ in each.labels}
    return RoutingRule(
        name=meta.name,
        namespace=meta.namespace,
        created=meta.creation_timestamp or "",
        hosts=tuple(full_host(host, meta.namespace, domain) for host in spec.hosts),
        written_hosts=spec.hosts,
        export_to=exported_to(spec.export_to, meta.namespace),
        in_mesh=not spec.gateways or MESH in spec.gateways,
        routes=routes,
        label_keys=frozenset(keys),
        targets=frozenset(target.hostname for route in routes for target in route.targets),
    )


class VirtualServices:
    """The VirtualServices that sidecars obey, found by host. Not changed once made."""

    def __init__(self, rules: Iterable[RoutingRule]) -> None:
        self.rules = tuple(sorted((rule for rule in rules if rule.in_mesh), key=lambda rule: rule.precedence))
        self._exact: dict[str, list[RoutingRule]] = {}
        wild: dict[str, list[RoutingRule]] = {}
        for rule in self.rules:
            for host in rule.hosts:
                (wild if host.startswith("*") else self._exact).setdefault(host, []).append(rule)
        # the longest wildcard is the closest
        self._wild = tuple(sorted(wild.items(), key=lambda item: (-len(item[0]), item[0])))

    def find(self, hostname: str, namespace: str) -> RoutingRule | None:
        """The rule in force for a host, as a namespace sees it: the closest host, then the oldest rule."""
        return next((rule for rule in self.candidates(hostname) if is_visible(rule.export_to, namespace)), None)

    def candidates(self, hostname: str) -> Iterator[RoutingRule]:
        """All rules that name a host, in order of precedence."""
        yield from self._exact.get(hostname, ())
        for pattern, rules in self._wild:
            if host_matches(pattern, hostname):
                yield from rules

    def namesakes(self, host: str) -> tuple[RoutingRule, ...]:
        """The rules that name exactly this host or this wildcard, in order of precedence."""
        if host.startswith("*"):
            return next((tuple(rules) for pattern, rules in self._wild if pattern == host), ())
        return tuple(self._exact.get(host, ()))


def _route(route: api.HttpRoute, index: int, namespace: str, domain: str) -> RouteRule:
    field = f"spec.http[{index}]"
    conditions = [_condition(match) for match in route.match if not match.gateways or MESH in match.gateways]
    return RouteRule(
        field=field,
        conditions=tuple(each for each in conditions if each is not None) if route.match else None,
        targets=tuple(_targets(route.route, field, namespace, domain)),
        route=HttpRoute(
            destinations=(),
            name=route.name,
            timeout=_limit(route.timeout),
            retries=_retries(route.retries),
            abort=_abort(route.fault),
            delay=_delay(route.fault),
        ),
    )


def _targets(
    destinations: tuple[api.HttpDestination, ...], field: str, namespace: str, domain: str
) -> Iterator[Target]:
    for index, each in enumerate(destinations):
        to = each.destination
        yield Target(
            field=f"{field}.route[{index}].destination",
            hostname=full_host(to.host, namespace, domain),
            written=to.host,
            port=to.port.number if to.port else 0,
            subset=to.subset,
            weight=100 if len(destinations) == 1 else each.weight or 0,
        )


def _condition(match: api.HttpMatch) -> Condition | None:
    """Translate a match; None if it can never hold: tokens' claims (`@request.auth…`) exist at gateways only."""
    if any(name.startswith("@") for name in (*match.headers, *match.without_headers)):
        return None
    request = RequestMatch(
        name=match.name,
        uri=_compare(match.uri, ignore_case=match.ignore_uri_case),
        method=_compare(match.method),
        authority=_compare(match.authority),
        scheme=_compare(match.scheme),
        headers=_compared(match.headers),
        without_headers=_compared(match.without_headers),
        query=tuple((name, _comparison(each)) for name, each in sorted(match.query_params.items())),
    )
    return Condition(request, match.port or 0, sorted_labels(match.source_labels), match.source_namespace)


def _compared(headers: Mapping[str, api.StringMatch]) -> tuple[tuple[str, StringMatch], ...]:
    return tuple(sorted((name.lower(), _comparison(each)) for name, each in headers.items()))


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


def _retries(retries: api.Retries | None) -> Retries | None:
    if retries is None:
        return None
    return Retries(retries.attempts, _limit(retries.per_try_timeout), retries.retry_on)


def _abort(fault: api.Fault | None) -> Abort | None:
    abort = fault.abort if fault else None
    if abort is None or abort.http_status is None or abort.percentage is None or not abort.percentage.value:
        return None
    return Abort(abort.percentage.value, abort.http_status)


def _delay(fault: api.Fault | None) -> Delay | None:
    delay = fault.delay if fault else None
    duration = _limit(delay.fixed_delay) if delay else None
    if delay is None or duration is None:
        return None
    share = delay.percentage.value if delay.percentage else float(delay.percent or 0)
    return Delay(share, duration) if share else None
