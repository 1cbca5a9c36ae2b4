"""Delegation: a VirtualService with hosts leaves some of its routes to another one that has none.

A route of the delegate holds where both its own match and one of the delegating route's do; what it does not say
itself, it takes from the delegating route (Istio, VirtualService, Delegate).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from weft.model.clients import is_visible
from weft.model.http_rules import Condition, RouteRule
from weft.model.routing import UNCHANGED, Headers, HttpRoute, MatchKind, RequestMatch, StringMatch
from weft.model.routing_rule import RoutingRule


@dataclass(frozen=True, slots=True)
class NoDelegate:
    """Why a delegating route leads nowhere."""

    reason: str
    hint: str


def find(route: RouteRule, rule: RoutingRule, rules: Mapping[str, RoutingRule]) -> RoutingRule | NoDelegate:
    """The VirtualService that `route` of `rule` delegates to; `rules` are all, by `name.namespace`."""
    found = rules.get(route.delegate)
    if found is None:
        hint = "Create it, or correct the name."
        return NoDelegate(f"VirtualService {route.delegate} not found", hint)
    if found.hosts:
        return NoDelegate(f"VirtualService {route.delegate} has hosts of its own", "Take its spec.hosts out.")
    if not is_visible(found.export_to, rule.namespace):
        hint = "Widen its exportTo."
        return NoDelegate(f'VirtualService {route.delegate} is not exported to "{rule.namespace}"', hint)
    if any(each.delegate for each in found.routes):
        hint = "Let it hold the routes itself."
        return NoDelegate(f"VirtualService {route.delegate} delegates itself", hint)
    return found


def with_delegates(rule: RoutingRule, rules: Mapping[str, RoutingRule]) -> RoutingRule:
    """The rule with the routes of its delegates in place of those that delegate; one without delegate stays."""
    if not any(route.delegate for route in rule.routes):
        return rule
    routes: list[RouteRule] = []
    for route in rule.routes:
        found = find(route, rule, rules) if route.delegate else None
        if isinstance(found, RoutingRule):
            routes += (each for each in (_joined(route, inner) for inner in found.routes) if each is not None)
        else:
            routes.append(route)
    keys = {key for route in routes for each in route.conditions or () for key, _ in each.labels}
    return replace(
        rule,
        routes=tuple(routes),
        label_keys=frozenset((*keys, *rule.streams.label_keys)),
        targets=frozenset(
            (*(target.hostname for route in routes for target in route.references), *rule.streams.hostnames)
        ),
    )


def _joined(outer: RouteRule, inner: RouteRule) -> RouteRule | None:
    conditions = _conditions(outer, inner)
    if conditions == ():
        return None
    return replace(
        inner,
        conditions=conditions,
        mirrors=inner.mirrors or outer.mirrors,
        route=_filled(inner.route, outer.route),
    )


def _filled(inner: HttpRoute, outer: HttpRoute) -> HttpRoute:
    return replace(
        inner,
        name="-".join(name for name in (outer.name, inner.name) if name),
        timeout=inner.timeout or outer.timeout,
        retries=inner.retries or outer.retries,
        abort=inner.abort or outer.abort,
        delay=inner.delay or outer.delay,
        rewrite=inner.rewrite or outer.rewrite,
        cors=inner.cors or outer.cors,
        headers=_both(outer.headers, inner.headers),
    )


def _both(outer: Headers, inner: Headers) -> Headers:
    return inner if inner != UNCHANGED else outer


def _conditions(outer: RouteRule, inner: RouteRule) -> tuple[Condition, ...] | None:
    if outer.conditions is None or inner.conditions is None:
        return inner.conditions if outer.conditions is None else outer.conditions
    return tuple(_pairs(outer.conditions, inner.conditions))


def _pairs(outer: tuple[Condition, ...], inner: tuple[Condition, ...]) -> Iterator[Condition]:
    for one in outer:
        for other in inner:
            both = _and(one, other)
            if both is not None:
                yield both


def _and(one: Condition, other: Condition) -> Condition | None:
    """What holds where both do; None where that cannot be, or cannot be said to Envoy."""
    labels = dict(one.labels) | dict(other.labels)
    gateways = tuple(
        each for each in one.gateways or other.gateways if not other.gateways or each in other.gateways
    )
    differ = (
        one.port and other.port and one.port != other.port,
        one.namespace and other.namespace and one.namespace != other.namespace,
        not set(one.labels) <= set(labels.items()),
        one.gateways and other.gateways and not gateways,
    )
    request = _request(one.request, other.request)
    if any(differ) or request is None:
        return None
    return Condition(
        request,
        one.port or other.port,
        tuple(sorted(labels.items())),
        one.namespace or other.namespace,
        gateways,
    )


def _request(one: RequestMatch, other: RequestMatch) -> RequestMatch | None:
    parts: dict[str, StringMatch | None] = {}
    for name in ("uri", "method", "authority", "scheme"):
        pair: tuple[StringMatch | None, StringMatch | None] = (getattr(one, name), getattr(other, name))
        wanted, further = pair
        if wanted is not None and further is not None:
            narrower = _narrower(wanted, further)
            if narrower is None:
                return None
            parts[name] = narrower
        else:
            parts[name] = wanted or further
    return RequestMatch(
        name="-".join(name for name in (one.name, other.name) if name),
        stat_prefix=other.stat_prefix or one.stat_prefix,
        headers=tuple(dict.fromkeys((*one.headers, *other.headers))),
        without_headers=tuple(dict.fromkeys((*one.without_headers, *other.without_headers))),
        query=tuple(dict.fromkeys((*one.query, *other.query))),
        claims=tuple(dict.fromkeys((*one.claims, *other.claims))),
        without_claims=tuple(dict.fromkeys((*one.without_claims, *other.without_claims))),
        **parts,
    )


def _narrower(one: StringMatch, other: StringMatch) -> StringMatch | None:
    """The one of two comparisons that holds only where the other does too."""
    if one == other:
        return one
    for narrow, wide in ((one, other), (other, one)):
        if wide.kind is MatchKind.PREFIX and narrow.kind in {MatchKind.PREFIX, MatchKind.EXACT}:
            ignored = wide.ignore_case
            value, prefix = (text.lower() if ignored else text for text in (narrow.value, wide.value))
            if value.startswith(prefix) and (ignored or not narrow.ignore_case):
                return narrow
    return None
