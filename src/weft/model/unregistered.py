"""Hosts that no service has and a VirtualService routes nonetheless; remembered, as the views of services are.

As in Istio, requests to them are routed on port 80, and on no other.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from weft.base.names import host_matches
from weft.model.clients import Client
from weft.model.resolution import Directory, http_routes
from weft.model.routing import HostRoutes
from weft.model.view import HostView
from weft.model.virtual_services import VirtualServices

PORT: Final = 80
"""Without a service there is none to say which ports are the host's: HTTP's own is taken."""

_MAX_VIEWS = 16_384
_MAX_ALIKE = 16
"""How many different views of one host are kept to be shared."""


@dataclass(frozen=True, slots=True)
class Unregistered:
    """A host in a client's list, and the hosts of the services that its routes lead to."""

    view: HostView
    targets: frozenset[str]


Hosts = Mapping[str, Unregistered]


class HostMemo:
    """Remembers the views of such hosts by client, across snapshots."""

    def __init__(self) -> None:
        self._views: dict[tuple[str, Client], tuple[tuple[Any, ...], HostView | None]] = {}
        self._alike: dict[str, list[HostView]] = {}
        self._rules: VirtualServices | None = None

    def first(self, directory: Directory, client: Client, services: Collection[str]) -> Hosts:
        """All hosts that the rules in a client's sight name, less those of the services that it sees; sorted."""
        return self._updated(directory, client, services, {}, directory.virtual_services.hosts)

    def next(
        self, directory: Directory, client: Client, services: Collection[str], last: Hosts, touched: frozenset[str]
    ) -> Hosts:
        """The same after a change of the services and rules of some hosts."""
        rules = directory.virtual_services
        if not (last or rules.hosts):
            return last
        led = {host for host, each in last.items() if not touched.isdisjoint(each.targets)}
        # a wildcard is taken by the first service below it, and free again without the last
        above = {wild for wild in rules.wild_hosts if any(host_matches(wild, name) for name in touched)}
        return self._updated(directory, client, services, last, touched | led | above)

    def _updated(
        self, directory: Directory, client: Client, services: Collection[str], last: Hosts, hosts: Iterable[str]
    ) -> Hosts:
        if client.imports is not None and client.imports.port not in {0, PORT}:
            return last
        self._prune(directory.virtual_services)
        entries = dict(last)
        for host in hosts:
            found = (
                None if _is_registered(host, directory, client, services) else self._entry(directory, client, host)
            )
            if found is None:
                entries.pop(host, None)
            else:
                entries[host] = found
        return entries if entries.keys() == last.keys() else dict(sorted(entries.items()))

    def _entry(self, directory: Directory, client: Client, host: str) -> Unregistered | None:
        rule = directory.virtual_services.named(host, client)
        if rule is None:
            return None
        # which rule it is was the last to depend on what the client imports
        client = replace(client.narrowed(directory.rule_label_keys((rule,), client.namespace)), imports=None)
        inputs = (rule, directory.mesh.retries, *directory.looked_up(rule.targets, client))
        key = (host, client)
        kept = self._views.get(key)
        if kept is None or kept[0] != inputs:
            routes = http_routes(rule, PORT, client, directory)
            kept = (inputs, self._shared(HostView(host, HostRoutes(routes, rule.full_name))) if routes else None)
            self._views[key] = kept
        view = kept[1]
        return None if view is None else Unregistered(view, rule.targets)

    def _shared(self, made: HostView) -> HostView:
        """The same view that another client has, if it is equal: what is built of it is then built once."""
        alike = self._alike.setdefault(made.hostname, [])
        found = next((each for each in alike if each == made), made)
        self._alike[made.hostname] = [found, *(each for each in alike if each is not found)][:_MAX_ALIKE]
        return found

    def _prune(self, rules: VirtualServices) -> None:
        """Drop what belongs to hosts that no rule names any more, and everything once there is too much."""
        if rules is self._rules:
            return
        self._rules = rules
        hosts = set(rules.hosts) if len(self._views) <= _MAX_VIEWS else set()
        for key in [key for key in self._views if key[0] not in hosts]:
            del self._views[key]
        for host in [host for host in self._alike if host not in hosts]:
            del self._alike[host]


def _is_registered(host: str, directory: Directory, client: Client, services: Collection[str]) -> bool:
    """Whether rules for a host hold on the ports of services: of one with its name, or of those below a wildcard.

    Like Istio, a wildcard is left to the services below it as soon as one of them has the port.
    """
    if host in services:
        return True
    if not host.startswith("*"):
        return False
    below = (directory.services[name] for name in services if host_matches(host, name))
    seen = (each.seen_from(client.namespace, client.imports) for each in below)
    return any(port.number == PORT for each in seen if each is not None for port in each.service.ports)
