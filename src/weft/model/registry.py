"""The services of the mesh, kept up to date one object at a time.

A change marks the services that it touches; only those are made anew, and a service that comes out equal stays the
very same object, so that everything built on it can be kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from weft.api import kubernetes as api
from weft.model.kubernetes import (
    SERVICE_NAME,
    Listing,
    Places,
    Workload,
    endpoints,
    listing,
    nearness,
    pods_of,
    workload,
)
from weft.model.locality import Nearness, locality, node_locality
from weft.model.services import Endpoint, Service

Key = tuple[str, str]
"""Namespace and name."""
T = TypeVar("T")
K = TypeVar("K", Key, str)


@dataclass(frozen=True, slots=True)
class Registered:
    """A service with its endpoints, one tuple for each port in order."""

    listing: Listing
    endpoints: tuple[tuple[Endpoint, ...], ...]

    @property
    def service(self) -> Service:
        """The service itself."""
        return self.listing.service


class Registry:
    """Services, EndpointSlices and Pods, joined."""

    def __init__(self, domain: str, trust_domain: str) -> None:
        self._domain = domain
        self._trust_domain = trust_domain
        self._listings: dict[Key, Listing] = {}
        self._slices: dict[Key, api.EndpointSlice] = {}
        self._slices_of: dict[Key, set[Key]] = {}
        self._users_of: dict[Key, set[Key]] = {}
        self._workloads: dict[Key, Workload] = {}
        self._services: dict[Key, api.Service] = {}
        self._nodes: dict[str, str] = {}
        self._nearness: dict[str, Nearness] = {}
        self._registered: dict[Key, Registered] = {}
        self._dirty: set[Key] = set()
        self._published: Mapping[str, Registered] = {}
        self._published_workloads: Mapping[Key, Workload] = {}
        self._workloads_changed = False

    def put_service(self, key: Key, source: api.Service | None) -> None:
        """Take in a Service, or its deletion (None)."""
        _put(self._services, key, source)
        self._list(key)

    def put_namespace(self, key: Key, source: api.Namespace | None) -> None:
        """Take in a Namespace, or its deletion (None), for what its Services prefer."""
        name = key[1]
        wanted = Nearness.ANY if source is None else nearness(source.metadata.annotations, "", Nearness.ANY)
        if _put(self._nearness, name, wanted if wanted is not Nearness.ANY else None):
            for service in [each for each in self._services if each[0] == name]:
                self._list(service)

    def put_node(self, key: Key, source: api.Node | None) -> None:
        """Take in a Node, or its deletion (None), for where it is."""
        name = key[1]
        place = "" if source is None else node_locality(source.metadata.labels or {})
        if not _put(self._nodes, name, place or None):
            return
        for pod, found in [each for each in self._workloads.items() if each[1].node == name]:
            self._put_workload(pod, replace(found, locality=locality(dict(found.labels), place)))
        for slice_key, each in self._slices.items():
            if any(endpoint.node_name == name for endpoint in each.endpoints or ()):
                self._dirty.add(_service_of(slice_key, each))

    def put_slice(self, key: Key, source: api.EndpointSlice | None) -> None:
        """Take in an EndpointSlice, or its deletion (None)."""
        old = self._slices.get(key)
        if not _put(self._slices, key, source):
            return
        for each, link in ((old, False), (source, True)):
            if each is not None:
                self._link(key, each, link=link)

    def put_pod(self, key: Key, source: api.Pod | None) -> None:
        """Take in a Pod, or its deletion (None)."""
        if source is None:
            self._put_workload(key, None)
        else:
            node = self._nodes.get(source.spec.node_name, "")
            self._put_workload(key, workload(source, self._trust_domain, node))

    def _put_workload(self, key: Key, new: Workload | None) -> None:
        if not _put(self._workloads, key, new):
            return
        self._workloads_changed = True
        for slice_key in self._users_of.get(key, ()):
            self._dirty.add(_service_of(slice_key, self._slices[slice_key]))

    def knows(self, kind: str, key: Key) -> bool:
        """Whether a Service, EndpointSlice or Pod of this name has been taken in."""
        tables: dict[str, Mapping[Key, object]] = {
            "Service": self._listings,
            "EndpointSlice": self._slices,
            "Pod": self._workloads,
        }
        return key in tables.get(kind, {})

    def services(self) -> Mapping[str, Registered]:
        """All services by hostname, sorted; the same mapping as before if none has changed."""
        changed = False
        for key in self._dirty:
            changed |= _put(self._registered, key, self._join(key))
        self._dirty.clear()
        if changed:
            ordered = sorted(self._registered.values(), key=lambda each: each.service.hostname)
            self._published = {each.service.hostname: each for each in ordered}
        return self._published

    def workloads(self) -> Mapping[Key, Workload]:
        """All pods; the same mapping as before if none has changed."""
        if self._workloads_changed:
            self._published_workloads = dict(self._workloads)
            self._workloads_changed = False
        return self._published_workloads

    def _list(self, key: Key) -> None:
        source = self._services.get(key)
        prefers = self._nearness.get(key[0], Nearness.ANY)
        if _put(self._listings, key, None if source is None else listing(source, self._domain, prefers)):
            self._dirty.add(key)

    def _join(self, key: Key) -> Registered | None:
        listed = self._listings.get(key)
        if listed is None:
            return None
        slices = [self._slices[each] for each in sorted(self._slices_of.get(key, ()))]
        return Registered(listed, endpoints(listed, slices, Places(self._workloads, self._nodes)))

    def _link(self, key: Key, source: api.EndpointSlice, *, link: bool) -> None:
        service = _service_of(key, source)
        self._dirty.add(service)
        _relate(self._slices_of, service, key, link=link)
        for pod in pods_of((source,)):
            _relate(self._users_of, pod, key, link=link)


def _put(table: dict[K, T], key: K, value: T | None) -> bool:
    """Set or drop a value; whether that changed anything."""
    old = table.get(key)
    if old == value:
        return False
    if value is None:
        del table[key]
    else:
        table[key] = value
    return True


def _relate(table: dict[Key, set[Key]], one: Key, other: Key, *, link: bool) -> None:
    if link:
        table.setdefault(one, set()).add(other)
        return
    table.get(one, set()).discard(other)
    if not table.get(one):
        table.pop(one, None)


def _service_of(key: Key, source: api.EndpointSlice) -> Key:
    return key[0], (source.metadata.labels or {}).get(SERVICE_NAME, "")
