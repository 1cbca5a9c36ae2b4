"""What the kernel's look-up of a route answers, by what was observed of a network namespace.

As in fib_rules.c, fib_trie.c and route.c of Linux: rules in the order of their priorities, each names a table; in
it the longest prefix that is usable wins, of equal ones the smallest metric. Where no source is asked for, it is
chosen after the route.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from weft.underlay.addresses import Address
from weft.underlay.observed import LOCAL as LOCAL_TABLE
from weft.underlay.observed import MAIN, Observed, Route, Rule
from weft.underlay.paths import sources

LOOPBACK: Final = "lo"
LOCAL: Final = "local"
UNICAST: Final = "unicast"
_TABLES: Final = {LOCAL_TABLE: "local", MAIN: "main", 253: "default"}
_REFUSING: Final = frozenset({"blackhole", "unreachable", "prohibit"})
"""What `ip` answers of them: invalid argument, no route to host, permission denied."""


@dataclass(frozen=True, slots=True)
class Query:
    """A packet for which a route is looked up. `incoming` is how it came in: what is sent here comes in by `lo`.

    `outgoing` is the only interface that it may leave by, if it is bound to one.
    """

    destination: Address
    source: Address | None = None
    mark: int = 0
    incoming: str = LOOPBACK
    outgoing: str = ""


@dataclass(frozen=True, slots=True)
class Passed:
    """A rule that did not decide, and why."""

    rule: Rule
    why: str


@dataclass(frozen=True, slots=True)
class Way:
    """The rule and the route that decide. `source` is the packet's, or the address that it is given here."""

    rule: Rule
    route: Route
    source: Address | None
    passed: tuple[Passed, ...] = ()


@dataclass(frozen=True, slots=True)
class NoWay:
    """The packet cannot be sent. `kind` is that of the rule or route that refuses it, "" where there is none."""

    why: str
    kind: str = ""
    passed: tuple[Passed, ...] = ()


def look_up(observed: Observed, query: Query) -> Way | NoWay:
    """The way of a packet."""
    passed: list[Passed] = []
    for rule in sorted(observed.rules, key=lambda each: each.priority):
        if rule.version != query.destination.version:
            continue
        if why := _unmatched(rule, query):
            passed.append(Passed(rule, why))
            continue
        if rule.action in _REFUSING:
            return NoWay(f"rule {rule.priority} says {rule.action}", rule.action, tuple(passed))
        if rule.action != "table":
            why = f"rule {rule.priority} says {rule.action}, which is not followed here"
            return NoWay(why, rule.action, tuple(passed))
        route = next(_usable(observed, rule.table, query), None)
        if route is None or route.kind == "throw":
            told = "has no route for it" if route is None else "sends it on to the next rule"
            passed.append(Passed(rule, f"table {table_name(rule.table)} {told}"))
            continue
        if route.kind in _REFUSING:
            why = f"the route {route.destination} of table {table_name(rule.table)} says {route.kind}"
            return NoWay(why, route.kind, tuple(passed))
        source = query.source or sources.choose(observed, route, query.destination)
        return Way(rule, route, source, tuple(passed))
    return NoWay("no table has a route for it (network is unreachable)", "", tuple(passed))


def table_name(number: int) -> str:
    """As `ip` shows it."""
    return _TABLES.get(number, str(number))


def _unmatched(rule: Rule, query: Query) -> str:
    """Why a rule is not about a packet; "" where it is."""
    why = _differs(rule, query)
    if not rule.inverted:
        return why
    return "" if why else "it is what the rule is not about"


def _differs(rule: Rule, query: Query) -> str:
    if rule.source and not _is_within(query.source, rule.source):
        return f"it is not from {rule.source.removesuffix('/32').removesuffix('/128')}"
    if rule.destination and not _is_within(query.destination, rule.destination):
        return f"it is not to {rule.destination}"
    if rule.mark and (query.mark & (rule.mask or 0xFFFFFFFF)) != rule.mark:
        return f"it does not carry mark {rule.mark:#x}"
    if rule.incoming and rule.incoming != query.incoming:
        return f"it does not come in by {rule.incoming}"
    if rule.outgoing and rule.outgoing != query.outgoing:
        return f"it is not bound to {rule.outgoing}"
    return ""


def _is_within(address: Address | None, subnet: str) -> bool:
    network = read(subnet)
    # a packet whose source is not chosen yet is from 0.0.0.0
    return network.prefixlen == 0 if address is None else address in network


def _usable(observed: Observed, table: int, query: Query) -> Iterator[Route]:
    """Routes of a table for a packet, the best first."""
    fitting = [
        (network.prefixlen, route)
        for route in observed.table(table)
        if query.destination in (network := read(route.destination)) and query.outgoing in {"", route.device}
    ]
    fitting.sort(key=lambda each: (-each[0], each[1].metric))
    return (route for _, route in fitting)


@lru_cache(4096)
def read(subnet: str) -> IPv4Network | IPv6Network:
    """A network from its text; observed values repeat them."""
    return ip_network(subnet)
