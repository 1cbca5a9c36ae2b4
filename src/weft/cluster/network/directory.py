"""The services and endpoints of the cluster as they change: one picture for the service proxy and for DNS."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import ENDPOINTSLICES, NODES, SERVICES
from weft.adapters.kube.reflector import Applied, Change, Deleted, Replaced
from weft.cluster.network.objects import Meta, Named, Service, Slice

Key = tuple[str, str]
_ZONE = "topology.kubernetes.io/zone"


class Identified(Protocol):
    """An object with a name."""

    @property
    def metadata(self) -> Meta:
        """Its name and labels."""


T = TypeVar("T", bound=Identified)


@dataclass(frozen=True, slots=True)
class Picture:
    """All services and all IPv4 EndpointSlices at one moment, by namespace and name."""

    services: Mapping[Key, Service] = field(default_factory=dict)
    slices: Mapping[Key, Slice] = field(default_factory=dict)
    zone: str = ""
    """The zone of the node that looks, by its label."""

    def of(self, service: Key) -> list[Slice]:
        """The slices of one service, in the order of their names."""
        return self.by_service().get(service, [])

    def by_service(self) -> dict[Key, list[Slice]]:
        """The slices of each service, in the order of their names."""
        grouped: dict[Key, list[Slice]] = {}
        for _, one in sorted(self.slices.items()):
            grouped.setdefault(one.service, []).append(one)
        return grouped


def changed(known: Mapping[Key, T], change: Change[T]) -> dict[Key, T]:
    """The objects after a change."""
    match change:
        case Replaced(objects):
            return {_key(one): one for one in objects}
        case Applied(one):
            return {**known, _key(one): one}
        case Deleted(one):
            return {key: value for key, value in known.items() if key != _key(one)}


def _key(one: Identified) -> Key:
    return one.metadata.namespace, one.metadata.name


class Directory:
    """The latest picture in a slot. `run` keeps it; nothing is told before both kinds have been listed once.

    `node` is who looks; without it the picture knows no zone.
    """

    def __init__(self, node: str = "") -> None:
        self._node = node
        self.picture = Picture()
        self.complete = False
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each change, from the moment that the picture is complete."""
        self._listeners.append(listener)
        if self.complete:
            listener()

    async def run(self, kube: Kube) -> None:
        """Follow the API server, for ever."""
        listed: set[type[Service | Slice]] = set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._services(kube, listed))
            group.create_task(self._slices(kube, listed))
            if self._node:
                group.create_task(self._zone(kube, listed))

    async def _services(self, kube: Kube, listed: set[type[Service | Slice]]) -> None:
        async for change in kube.reflect(SERVICES, decode=Service):
            self.picture = replace(self.picture, services=changed(self.picture.services, change))
            listed.add(Service)
            self._tell(listed)

    async def _slices(self, kube: Kube, listed: set[type[Service | Slice]]) -> None:
        async for change in kube.reflect(ENDPOINTSLICES, decode=Slice):
            self.picture = replace(self.picture, slices=changed(self.picture.slices, change))
            listed.add(Slice)
            self._tell(listed)

    async def _zone(self, kube: Kube, listed: set[type[Service | Slice]]) -> None:
        async for change in kube.reflect(NODES, fields=f"metadata.name={self._node}", decode=Named):
            match change:
                case Replaced(objects):
                    found = list(objects)
                case Applied(one):
                    found = [one]
                case Deleted():
                    found = []
            zone = next(((one.metadata.labels or {}).get(_ZONE, "") for one in found), "")
            if zone != self.picture.zone:
                self.picture = replace(self.picture, zone=zone)
                self._tell(listed)

    def _tell(self, listed: set[type[Service | Slice]]) -> None:
        self.complete = len(listed) == 2
        if self.complete:
            for listener in self._listeners:
                listener()


def picture(services: Iterable[Service], slices: Iterable[Slice]) -> Picture:
    """A picture of these objects."""
    return Picture({one.key: one for one in services}, {_key(one): one for one in slices})
