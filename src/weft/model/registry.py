"""The services of the mesh, kept up to date one object at a time.

A change marks the services that it touches; only those are made anew, and a service that comes out equal stays the
very same object, so that everything built on it can be kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from weft.api import kubernetes as api
from weft.model.kubernetes import SERVICE_NAME, Listing, Workload, endpoints, listing, pods_of, workload
from weft.model.services import Endpoint, Service

T = TypeVar("T")
Key = tuple[str, str]
"""Namespace and name."""


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
        self._registered: dict[Key, Registered] = {}
        self._dirty: set[Key] = set()
        self._published: Mapping[str, Registered] = {}
        self._published_workloads: Mapping[Key, Workload] = {}
        self._workloads_changed = False

    def put_service(self, key: Key, source: api.Service | None) -> None:
        """Take in a Service, or its deletion (None)."""
        new = None if source is None else listing(source, self._domain)
        if _put(self._listings, key, new):
            self._dirty.add(key)

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
        if not _put(self._workloads, key, None if source is None else workload(source, self._trust_domain)):
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

    def _join(self, key: Key) -> Registered | None:
        listed = self._listings.get(key)
        if listed is None:
            return None
        slices = [self._slices[each] for each in sorted(self._slices_of.get(key, ()))]
        made = endpoints(listed, slices, lambda namespace, name: self._workloads.get((namespace, name)))
        return Registered(listed, made)

    def _link(self, key: Key, source: api.EndpointSlice, *, link: bool) -> None:
        service = _service_of(key, source)
        self._dirty.add(service)
        _relate(self._slices_of, service, key, link=link)
        for pod in pods_of((source,)):
            _relate(self._users_of, pod, key, link=link)


def _put(table: dict[Key, T], key: Key, value: T | None) -> bool:
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
