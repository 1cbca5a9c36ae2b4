"""The VirtualServices: found by host for sidecars, by Gateway for gateways.

What they refer to is looked up in `resolution`.
"""

from collections.abc import Iterable, Iterator

from weft.base.names import host_matches, hosts_overlap
from weft.model.clients import Client, is_visible
from weft.model.delegates import with_delegates
from weft.model.routing_rule import RoutingRule


class VirtualServices:
    """Rules by the hosts that they name, delegates in their places. Not changed once made.

    `rules` are the rules as they were written, in order of precedence; `by_name` finds them by `name.namespace`;
    `merged` are those in force for sidecars, with the routes of their delegates; `hosts` are the hosts whose
    requests they route, sorted, and `wild_hosts` the wildcards among them; `*` is left out, as it names none.
    """

    def __init__(self, rules: Iterable[RoutingRule]) -> None:
        self.rules = tuple(sorted(rules, key=lambda rule: rule.precedence))
        self.by_name = {rule.full_name: rule for rule in self.rules}
        self._bound: dict[str, list[RoutingRule]] = {}
        self._exact: dict[str, list[RoutingRule]] = {}
        wild: dict[str, list[RoutingRule]] = {}
        with_hosts = [with_delegates(rule, self.by_name) for rule in self.rules if rule.hosts]
        self.merged = tuple(rule for rule in with_hosts if rule.in_mesh)
        for rule in with_hosts:
            for gateway in rule.gateways:
                self._bound.setdefault(gateway, []).append(rule)
        for rule in self.merged:
            for host in rule.hosts:
                (wild if host.startswith("*") else self._exact).setdefault(host, []).append(rule)
        self._streams = tuple(rule for rule in self.merged if rule.streams)
        routed = {host for rule in self.merged if rule.routes for host in rule.hosts}
        self.hosts = tuple(sorted(routed - {"*"}))
        self.wild_hosts = tuple(host for host in self.hosts if host.startswith("*"))
        # the longest wildcard is the closest
        self._wild = tuple(sorted(wild.items(), key=lambda item: (-len(item[0]), item[0])))

    def find(self, hostname: str, client: Client) -> RoutingRule | None:
        """The rule in force for requests to a host, as a client sees it: the closest host, then the oldest rule.

        One without routes of requests leaves them to the next.
        """
        return next((rule for rule in self.candidates(hostname) if rule.routes and _is_seen(rule, client)), None)

    def named(self, host: str, client: Client) -> RoutingRule | None:
        """The oldest rule with routes of requests, of those that a client sees and that name exactly this host.

        None for `*`, see `hosts`.
        """
        if host == "*":
            return None
        return next((rule for rule in self.namesakes(host) if rule.routes and _is_seen(rule, client)), None)

    def candidates(self, hostname: str) -> Iterator[RoutingRule]:
        """All rules that name a host, in order of precedence."""
        yield from self._exact.get(hostname, ())
        for pattern, rules in self._wild:
            if host_matches(pattern, hostname):
                yield from rules

    def with_streams(self, hostname: str, client: Client) -> tuple[RoutingRule, ...]:
        """The rules with routes of connections that name a host, as a client sees them, the oldest first.

        A service may be a wildcard itself (`*.example.com`): then rules for single hosts below it count too.
        """
        if not self._streams:
            return ()
        if hostname.startswith("*"):
            named = (rule for rule in self._streams if any(hosts_overlap(each, hostname) for each in rule.hosts))
        else:
            named = (rule for rule in self.candidates(hostname) if rule.streams)
        found = {id(rule): rule for rule in named if _is_seen(rule, client)}
        return tuple(sorted(found.values(), key=lambda rule: rule.precedence))

    def bound(self, gateway: str, namespace: str) -> tuple[RoutingRule, ...]:
        """The rules bound to a Gateway (`namespace/name`), as a namespace sees them, the oldest first."""
        return tuple(rule for rule in self._bound.get(gateway, ()) if is_visible(rule.export_to, namespace))

    def namesakes(self, host: str) -> tuple[RoutingRule, ...]:
        """The rules that name exactly this host or this wildcard, in order of precedence."""
        if host.startswith("*"):
            return next((tuple(rules) for pattern, rules in self._wild if pattern == host), ())
        return tuple(self._exact.get(host, ()))


def _is_seen(rule: RoutingRule, client: Client) -> bool:
    if not is_visible(rule.export_to, client.namespace):
        return False
    return client.imports is None or client.imports.rule(rule.hosts, rule.namespace)
