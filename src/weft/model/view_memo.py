"""Service views, kept for as long as nothing that they depend on has changed.

Two stages: a client's list skips the services that no change can have touched; for the others, all that goes into
a view is compared with what went into it before. The second stage alone would do, the first saves time.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from weft.base.names import host_matches, hosts_overlap
from weft.model.clients import Client
from weft.model.external_authorization import Provider, service_of
from weft.model.kubernetes import Workload
from weft.model.registry import Registered
from weft.model.resolution import Directory, host_routes
from weft.model.router_memo import RouterMemo
from weft.model.routing_rule import RoutingRule
from weft.model.services import InboundPort, Proxy
from weft.model.stream_resolution import stream_routes
from weft.model.unregistered import HostMemo, Hosts
from weft.model.view import HostView, PortView, ServiceView

_MAX_CLIENTS = 4096
_MAX_PROXIES = 16_384
_MAX_ALIKE = 16
"""How many different views of one service are kept to be shared."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A service in a client's list, and the other hosts that its routes lead to."""

    view: ServiceView
    targets: frozenset[str]


@dataclass(frozen=True, slots=True)
class Rules:
    """The VirtualServices in force for one host and client: the one for requests, and those for connections."""

    requests: RoutingRule | None
    connections: tuple[RoutingRule, ...]

    @property
    def all(self) -> tuple[RoutingRule, ...]:
        """Each of them once."""
        first = self.requests
        return self.connections if first is None else (first, *(r for r in self.connections if r is not first))

    @property
    def targets(self) -> frozenset[str]:
        """The hosts that they lead to."""
        return frozenset().union(*(rule.targets for rule in self.all))


@dataclass(frozen=True, slots=True, eq=False)
class _Listed:
    """What a client saw of one directory. `reached` are further services that its routes lead to.

    `unregistered` are the hosts without a service, `hosts` their views.
    """

    directory: Directory
    entries: dict[str, _Entry]
    views: tuple[ServiceView, ...]
    reached: tuple[ServiceView, ...]
    unregistered: Hosts
    hosts: tuple[HostView, ...]


class ViewMemo:
    """Remembers service views by host and client, across snapshots."""

    def __init__(self) -> None:
        self.routers = RouterMemo()
        self._hosts = HostMemo()
        self._views: dict[tuple[str, Client, int], tuple[tuple[Any, ...], ServiceView]] = {}
        self._listed: dict[Client, _Listed] = {}
        self._touched: tuple[Directory, Directory, frozenset[str]] | None = None
        self._pruned: Directory | None = None
        self._grouped: tuple[Directory | None, dict[str, tuple[Registered, ...]]] = (None, {})
        self._alike: dict[str, list[ServiceView]] = {}
        self._inbound: dict[Proxy, tuple[tuple[Any, ...], tuple[InboundPort, ...]]] = {}

    def services(self, directory: Directory, client: Client) -> tuple[ServiceView, ...]:
        """All services that a client sees, sorted by hostname; the same tuple for as long as they are the same."""
        last = self._listed.get(client)
        if last is not None and last.directory is directory:
            return last.views
        self._prune(directory)
        entries = self._first(directory, client) if last is None else self._next(directory, client, last)
        views = tuple(entry.view for entry in entries.values())
        # nothing this client sees has changed: it keeps the very tuple that it had
        if last is not None and len(views) == len(last.views) and all(map(_same, views, last.views)):
            views = last.views
        unregistered = (
            self._hosts.first(directory, client, entries.keys())
            if last is None
            else self._hosts.next(
                directory, client, entries.keys(), last.unregistered, self._changes(last.directory, directory)
            )
        )
        hosts = tuple(each.view for each in unregistered.values())
        if last is not None and hosts == last.hosts:
            hosts = last.hosts
        reached = () if client.imports is None else self._reached(directory, client, entries, unregistered)
        self._listed[client] = _Listed(directory, entries, views, reached, unregistered, hosts)
        return views

    def reached(self, directory: Directory, client: Client) -> tuple[ServiceView, ...]:
        """The services that a client does not see, but to which the routes of those lead that it sees."""
        self.services(directory, client)
        return self._listed[client].reached

    def besides(
        self,
        directory: Directory,
        client: Client,
        known: tuple[ServiceView, ...],
        providers: tuple[Provider, ...],
    ) -> tuple[ServiceView, ...]:
        """The services of providers that are not among the known with the port that is asked, each once."""
        if not providers:
            return ()
        seen = {(view.service.hostname, port.number) for view in known for port in view.service.ports}
        unseen = (each for each in providers if (each.host, each.port) not in seen)
        found = {each.host: service_of(each, client.namespace, directory.services) for each in unseen}
        return tuple(
            self._entry(directory, each, client).view
            for _, each in sorted(found.items())
            if isinstance(each, Registered)
        )

    def hosts(self, directory: Directory, client: Client) -> tuple[HostView, ...]:
        """The hosts without a service that rules route for a client, sorted; the same tuple while they are."""
        self.services(directory, client)
        return self._listed[client].hosts

    def of_namespace(self, directory: Directory, namespace: str) -> tuple[Registered, ...]:
        """The services that live in a namespace, sorted by hostname; the same tuple while they are the same."""
        if self._grouped[0] is not directory:
            groups: dict[str, list[Registered]] = {}
            for each in (one for shared in directory.services.values() for one in shared.all):
                groups.setdefault(each.service.namespace, []).append(each)
            before = self._grouped[1]
            self._grouped = (
                directory,
                {name: _kept(before.get(name, ()), tuple(group)) for name, group in groups.items()},
            )
        return self._grouped[1].get(namespace, ())

    def inbound(
        self,
        proxy: Proxy,
        services: tuple[Registered, ...],
        workload: Workload | None,
        work_out: Callable[[Proxy, tuple[Registered, ...], Workload | None], tuple[InboundPort, ...]],
    ) -> tuple[InboundPort, ...]:
        """What `work_out` says of a proxy, worked out anew only once the services or the workload are others."""
        known = self._inbound.get(proxy)
        if known is not None and known[0][0] is services and known[0][1] is workload:
            return known[1]
        if len(self._inbound) >= _MAX_PROXIES:
            self._inbound.clear()
        found = work_out(proxy, services, workload)
        self._inbound[proxy] = ((services, workload), found)
        return found

    def _first(self, directory: Directory, client: Client) -> dict[str, _Entry]:
        return {
            hostname: self._entry(directory, seen, client)
            for hostname, each in directory.services.items()
            if (seen := each.seen_from(client.namespace, client.imports)) is not None
        }

    def _next(self, directory: Directory, client: Client, last: _Listed) -> dict[str, _Entry]:
        touched = self._changes(last.directory, directory)
        led = {name for name, entry in last.entries.items() if not touched.isdisjoint(entry.targets)}
        entries = dict(last.entries)
        for hostname in touched | led:
            each = directory.services.get(hostname)
            seen = None if each is None else each.seen_from(client.namespace, client.imports)
            if seen is None:
                entries.pop(hostname, None)
            else:
                entries[hostname] = self._entry(directory, seen, client)
        same = entries.keys() == last.entries.keys()
        return entries if same else dict(sorted(entries.items()))

    def _reached(
        self, directory: Directory, client: Client, entries: Mapping[str, _Entry], unregistered: Hosts
    ) -> tuple[ServiceView, ...]:
        outside = replace(client, imports=None)
        targets = (
            *(each.targets for each in entries.values()),
            *(each.targets for each in unregistered.values()),
        )
        hosts = sorted(frozenset().union(*targets).difference(entries))
        found = ((host, directory.services.get(host)) for host in hosts)
        seen = (each.seen_from(client.namespace) for _, each in found if each is not None)
        return tuple(self._entry(directory, each, outside).view for each in seen if each is not None)

    def _changes(self, old: Directory, new: Directory) -> frozenset[str]:
        known = self._touched
        if known is None or known[0] is not old or known[1] is not new:
            known = (old, new, touched_hosts(old, new))
            self._touched = known
        return known[2]

    def _entry(self, directory: Directory, registered: Registered, client: Client) -> _Entry:
        service = registered.service
        rules = Rules(
            directory.virtual_services.find(service.hostname, client),
            directory.virtual_services.with_streams(service.hostname, client),
        )
        if client.labels:
            client = client.narrowed(directory.label_keys(service, rules.all, client.namespace))
        port = client.imports.port if client.imports else 0
        # what a client sees besides makes no difference to one service, so clients with several Sidecars share it
        client = client if client.imports is None else replace(client, imports=None)
        key = (service.hostname, client, port)
        inputs = _inputs(directory, registered, rules, client)
        kept = self._views.get(key)
        if kept is None or kept[0] != inputs:
            made = service_view(directory, registered, rules, client)
            kept = (inputs, self._shared(_only(made, port) if port else made))
            self._views[key] = kept
        return _Entry(kept[1], rules.targets)

    def _shared(self, made: ServiceView) -> ServiceView:
        """The same view that another client has, if it is equal: what is built of it is then built once."""
        alike = self._alike.setdefault(made.service.hostname, [])
        for index, each in enumerate(alike):
            if each == made:
                alike.insert(0, alike.pop(index))
                return each
        alike.insert(0, made)
        del alike[_MAX_ALIKE:]
        return made

    def _prune(self, directory: Directory) -> None:
        """Drop what belongs to services that are gone, and everything once there are too many clients."""
        last, self._pruned = self._pruned, directory
        if last is None or last is directory:
            return
        if len(self._listed) > _MAX_CLIENTS:
            self._listed.clear()
            self._views.clear()
        if any(name not in directory.services for name in last.services):
            for key in [key for key in self._views if key[0] not in directory.services]:
                del self._views[key]
            for name in [name for name in self._alike if name not in directory.services]:
                del self._alike[name]


def touched_hosts(old: Directory, new: Directory) -> frozenset[str]:
    """The services that are new, gone or changed, and the hosts that a new, gone or changed rule names."""
    if old.mesh != new.mesh:
        rules = (old.virtual_services, new.virtual_services)
        return frozenset((*old.services, *new.services, *(host for each in rules for host in each.hosts)))
    touched = {name for name, each in new.services.items() if old.services.get(name) is not each}
    touched.update(name for name in old.services if name not in new.services)
    named = {
        host for rule in _changed(old.virtual_services.merged, new.virtual_services.merged) for host in rule.hosts
    }
    named |= {rule.host for rule in _changed(old.destination_rules.rules, new.destination_rules.rules)}
    wild = [name for name in new.services if name.startswith("*")]
    touched |= named
    for host in named:
        if host.startswith("*"):
            touched.update(name for name in new.services if hosts_overlap(host, name))
        else:
            touched.update(name for name in wild if host_matches(name, host))
    return frozenset(touched)


def _changed(old: tuple[Any, ...], new: tuple[Any, ...]) -> Iterable[Any]:
    if old is new:
        return ()
    before, after = {id(each): each for each in old}, {id(each): each for each in new}
    return [each for key, each in (before | after).items() if key not in before or key not in after]


def service_view(directory: Directory, registered: Registered, rules: Rules, client: Client) -> ServiceView:
    """Resolve one service for one client."""
    service = registered.service
    traffic = directory.traffic(service, client)
    return ServiceView(
        service=service,
        traffic=traffic,
        near=directory.destination_rules.near(service, traffic, client),
        ports=tuple(
            PortView(
                port.number,
                endpoints,
                host_routes(service, port, rules.requests, client, directory),
                stream_routes(service, port, rules.connections, client, directory),
            )
            for port, endpoints in zip(service.ports, registered.endpoints, strict=True)
        ),
    )


def _only(view: ServiceView, number: int) -> ServiceView:
    """The service with a single one of its ports."""
    ports = tuple(port for port in view.service.ports if port.number == number)
    service = replace(view.service, ports=ports)
    return replace(view, service=service, ports=tuple(port for port in view.ports if port.number == number))


def _inputs(directory: Directory, registered: Registered, rules: Rules, client: Client) -> tuple[Any, ...]:
    """All that a service view is made of. Tuples compare by identity first, so that equal inputs cost little."""
    service = registered.service
    policy = directory.traffic_rules(service, client)
    settings = directory.mesh
    mesh = (settings.pool, settings.outliers, settings.retries, settings.locality, settings.zones)
    if not rules.all:
        return (registered, policy, mesh)
    return (registered, policy, mesh, rules, *directory.looked_up(rules.targets, client))


def _kept(before: tuple[Registered, ...], now: tuple[Registered, ...]) -> tuple[Registered, ...]:
    same = len(before) == len(now) and all(one is other for one, other in zip(before, now, strict=True))
    return before if same else now


def _same(one: ServiceView, other: ServiceView) -> bool:
    return one is other
