"""The services of the mesh, kept up to date one object at a time.

A change marks the services that it touches; only those are made anew, and a service that comes out equal stays the
very same object, so that everything built on it can be kept.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from weft.api import kubernetes as api
from weft.api.service_entry import ServiceEntry
from weft.api.workload_entry import WorkloadEntry
from weft.base.names import service_host, spiffe_id
from weft.model.clients import EVERYWHERE, exported_to
from weft.model.entry_services import EntryServices
from weft.model.kubernetes import (
    SERVICE_NAME,
    Listing,
    Places,
    Workload,
    endpoints,
    is_pod_ready,
    listing,
    nearness,
    pods_of,
    workload,
)
from weft.model.locality import Nearness, locality, node_locality
from weft.model.peer_authentications import PeerAuthentications, PeerMode
from weft.model.registered import Key, Registered
from weft.model.service_entries import entry_rule
from weft.model.services import Endpoint
from weft.model.tables import put, relate
from weft.model.workload_entries import EntryWorkload, entry_workload

__all__ = ["Key", "Registered", "Registry"]


class Registry:
    """Services, EndpointSlices and Pods, ServiceEntries and WorkloadEntries, joined."""

    def __init__(self, domain: str, trust_domain: str) -> None:
        self._domain = domain
        self._trust_domain = trust_domain
        self._listings: dict[Key, Listing] = {}
        self._listings_in: dict[str, set[Key]] = {}
        self._slices: dict[Key, api.EndpointSlice] = {}
        self._slices_of: dict[Key, set[Key]] = {}
        self._users_of: dict[Key, set[Key]] = {}
        self._workloads: dict[Key, Workload] = {}
        self._services: dict[Key, api.Service] = {}
        self._nodes: dict[str, str] = {}
        self._nearness: dict[str, Nearness] = {}
        self._entries = EntryServices()
        self._sources: dict[Key, ServiceEntry] = {}
        self._entry_sources: dict[Key, WorkloadEntry] = {}
        self._kubernetes: dict[str, Registered] = {}
        self._registered: dict[str, Registered] = {}
        self._dirty: set[Key] = set()
        self._export: tuple[str, ...] = (EVERYWHERE,)
        self._peers = PeerAuthentications((), "")
        self._stale: set[str] = set()
        self._published: Mapping[str, Registered] = {}
        self._published_workloads: Mapping[Key, Workload] = {}
        self._workloads_changed = False
        self._entries_changed = False
        self._published_entries: tuple[ServiceEntry, ...] = ()

    def configure(self, export: tuple[str, ...], trust_domain: str) -> None:
        """Take in the exportTo of services that have none, and the trust domain of identities."""
        if export != self._export:
            self._export = export
            self._stale |= set(self._registered)
        if trust_domain != self._trust_domain:
            self._trust_domain = trust_domain
            self._rename()

    def _rename(self) -> None:
        """Give all workloads identities of the trust domain that there is now."""
        for key, pod in list(self._workloads.items()):
            named = spiffe_id(self._trust_domain, pod.namespace, pod.service_account)
            self._put_workload(key, replace(pod, identity=named), ready=self._entries.is_ready(key))
        for key, source in self._sources.items():
            self._entries.put_rule(key, entry_rule(source, self._trust_domain))
        for key, entry in self._entry_sources.items():
            self._put_entry(key, entry)

    def put_peers(self, peers: PeerAuthentications) -> None:
        """Take in what workloads ask of their callers. Services without a workload that it touches stay."""
        touched, self._peers = peers.touched(self._peers), peers
        self._stale |= {
            host
            for host, shared in self._registered.items()
            if touched is None or any(each.namespace in touched for each in _endpoints(shared))
        }

    def put_service(self, key: Key, source: api.Service | None) -> None:
        """Take in a Service, or its deletion (None)."""
        put(self._services, key, source)
        self._list(key)

    def put_namespace(self, key: Key, source: api.Namespace | None) -> None:
        """Take in a Namespace, or its deletion (None), for what its Services prefer."""
        name = key[1]
        wanted = Nearness.ANY if source is None else nearness(source.metadata.annotations, "", Nearness.ANY)
        if put(self._nearness, name, wanted if wanted is not Nearness.ANY else None):
            for service in [each for each in self._services if each[0] == name]:
                self._list(service)

    def put_node(self, key: Key, source: api.Node | None) -> None:
        """Take in a Node, or its deletion (None), for where it is."""
        name = key[1]
        place = "" if source is None else node_locality(source.metadata.labels or {})
        if not put(self._nodes, name, place or None):
            return
        for pod, found in [each for each in self._workloads.items() if each[1].node == name]:
            moved = replace(found, locality=locality(dict(found.labels), place))
            self._put_workload(pod, moved, ready=self._entries.is_ready(pod))
        for slice_key, each in self._slices.items():
            if any(endpoint.node_name == name for endpoint in each.endpoints or ()):
                self._dirty.add(_service_of(slice_key, each))

    def put_slice(self, key: Key, source: api.EndpointSlice | None) -> None:
        """Take in an EndpointSlice, or its deletion (None)."""
        old = self._slices.get(key)
        if not put(self._slices, key, source):
            return
        for each, link in ((old, False), (source, True)):
            if each is not None:
                self._link(key, each, link=link)

    def put_pod(self, key: Key, source: api.Pod | None) -> None:
        """Take in a Pod, or its deletion (None)."""
        if source is None:
            self._put_workload(key, None, ready=False)
        else:
            node = self._nodes.get(source.spec.node_name, "")
            self._put_workload(key, workload(source, self._trust_domain, node), ready=is_pod_ready(source))

    def _put_workload(self, key: Key, pod: Workload | None, *, ready: bool) -> None:
        for each in self._entries.put_pod(key, pod, ready=ready):
            self._touch_selectors(each)
        if not put(self._workloads, key, pod):
            return
        self._workloads_changed = True
        for slice_key in self._users_of.get(key, ()):
            self._dirty.add(_service_of(slice_key, self._slices[slice_key]))

    def put_service_entry(self, key: Key, source: ServiceEntry | None) -> None:
        """Take in a ServiceEntry, or its deletion (None)."""
        self._entries_changed |= put(self._sources, key, source)
        self._entries.put_rule(key, None if source is None else entry_rule(source, self._trust_domain))

    def put_workload_entry(self, key: Key, source: WorkloadEntry | None) -> None:
        """Take in a WorkloadEntry, or its deletion (None)."""
        put(self._entry_sources, key, source)
        self._put_entry(key, source)

    def _put_entry(self, key: Key, source: WorkloadEntry | None) -> None:
        new = None if source is None else entry_workload(source, self._trust_domain)
        for each in self._entries.put_workload(key, new):
            self._touch_selectors(each)

    def knows(self, kind: str, key: Key) -> bool:
        """Whether a Service, EndpointSlice or Pod of this name has been taken in."""
        tables: dict[str, Mapping[Key, object]] = {
            "Service": self._listings,
            "EndpointSlice": self._slices,
            "Pod": self._workloads,
            "ServiceEntry": self._sources,
            "WorkloadEntry": self._entries.workloads,
        }
        return key in tables.get(kind, {})

    def services(self) -> Mapping[str, Registered]:
        """All services by hostname, sorted; the same mapping as before if none has changed."""
        hosts = {service_host(name, namespace, self._domain) for namespace, name in self._dirty}
        for key in self._dirty:
            put(self._kubernetes, service_host(key[1], key[0], self._domain), self._join(key))
        self._dirty.clear()
        hosts |= self._entries.dirty | self._stale
        self._stale.clear()
        self._entries.dirty.clear()
        changed = False
        for host in hosts:
            changed |= put(self._registered, host, self._of_host(host))
        if changed:
            self._published = dict(sorted(self._registered.items()))
        return self._published

    def entries(self) -> tuple[ServiceEntry, ...]:
        """All ServiceEntries; the same tuple as before if none has changed."""
        if self._entries_changed:
            self._published_entries = tuple(self._sources.values())
            self._entries_changed = False
        return self._published_entries

    def workloads(self) -> Mapping[Key, Workload]:
        """All pods; the same mapping as before if none has changed."""
        if self._workloads_changed:
            self._published_workloads = dict(self._workloads)
            self._workloads_changed = False
        return self._published_workloads

    def _list(self, key: Key) -> None:
        source = self._services.get(key)
        prefers = self._nearness.get(key[0], Nearness.ANY)
        if put(self._listings, key, None if source is None else listing(source, self._domain, prefers)):
            self._dirty.add(key)
            relate(self._listings_in, key[0], key, link=source is not None)

    def _join(self, key: Key) -> Registered | None:
        listed = self._listings.get(key)
        if listed is None:
            return None
        slices = [self._slices[each] for each in sorted(self._slices_of.get(key, ()))]
        made = endpoints(listed, slices, Places(self._workloads, self._nodes))
        selected = self._entries.selected(key[0], listed.selector) if listed.selector else ()
        return Registered(listed, _with_entries(listed, made, selected))

    def _of_host(self, host: str) -> Registered | None:
        own = self._kubernetes.get(host)
        own = None if own is None else self._in_force(own)
        entries = tuple(map(self._in_force, self._entries.of(host)))
        if own is not None and entries:
            return replace(own, others=entries, left_out=self._entries.hides(host))
        if own is None and entries:
            return replace(entries[0], others=entries[1:]) if entries[1:] else entries[0]
        return own

    def _in_force(self, each: Registered) -> Registered:
        """The service as it is seen: exported, and with mTLS only where its endpoints take it."""
        exported = self._exported(each)
        if not self._peers.disables:
            return exported
        found = tuple(tuple(map(self._as_it_takes, endpoints)) for endpoints in exported.endpoints)
        return replace(exported, endpoints=found)

    def _as_it_takes(self, endpoint: Endpoint) -> Endpoint:
        if not endpoint.mutual_tls:
            return endpoint
        mode = self._peers.modes(endpoint.namespace, endpoint.labels).at(endpoint.port)
        return replace(endpoint, mutual_tls=False) if mode is PeerMode.DISABLE else endpoint

    def _exported(self, each: Registered) -> Registered:
        """The service with the namespaces that see it, where it does not say so itself."""
        listed = each.listing
        if listed.export_to:
            return each
        export = exported_to(self._export, listed.service.namespace)
        return replace(each, listing=replace(listed, export_to=export))

    def _touch_selectors(self, entry: EntryWorkload) -> None:
        """Mark the Services whose selectors fit a WorkloadEntry."""
        labels = set(entry.labels)
        for key in self._listings_in.get(entry.namespace, ()):
            selector = self._listings[key].selector
            if selector and set(selector) <= labels:
                self._dirty.add(key)

    def _link(self, key: Key, source: api.EndpointSlice, *, link: bool) -> None:
        service = _service_of(key, source)
        self._dirty.add(service)
        relate(self._slices_of, service, key, link=link)
        for pod in pods_of((source,)):
            relate(self._users_of, pod, key, link=link)


def _endpoints(shared: Registered) -> Iterator[Endpoint]:
    for each in shared.all:
        for found in each.endpoints:
            yield from found


def _with_entries(
    listed: Listing, found: tuple[tuple[Endpoint, ...], ...], entries: tuple[EntryWorkload, ...]
) -> tuple[tuple[Endpoint, ...], ...]:
    """The endpoints of each port with those of the WorkloadEntries that the Service selects.

    An entry's port is the one that it gives under the name of the Service's port, or of its target port; a numeric
    target needs none.
    """
    told = [each for each in entries if each.is_told]
    if not told:
        return found
    joined = []
    for port, target, known in zip(listed.service.ports, listed.targets, found, strict=True):
        names = (port.name, *((target,) if isinstance(target, str) else ()))
        fallback = target if isinstance(target, int) else 0
        more = [each.endpoint(number) for each in told if (number := each.port(*names) or fallback)]
        joined.append(tuple(sorted((*known, *more), key=lambda each: (each.address, each.port))))
    return tuple(joined)


def _service_of(key: Key, source: api.EndpointSlice) -> Key:
    return key[0], (source.metadata.labels or {}).get(SERVICE_NAME, "")
