"""The services and endpoints of the cluster as they change: one picture for the service proxy and for DNS."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import ENDPOINTSLICES, SERVICES
from weft.adapters.kube.reflector import Applied, Change, Deleted, Replaced
from weft.cluster.network.objects import Service, Slice

Key = tuple[str, str]
T = TypeVar("T", Service, Slice)


@dataclass(frozen=True, slots=True)
class Picture:
    """All services and all IPv4 EndpointSlices at one moment, by namespace and name."""

    services: Mapping[Key, Service] = field(default_factory=dict)
    slices: Mapping[Key, Slice] = field(default_factory=dict)

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


def _key(one: Service | Slice) -> Key:
    return one.metadata.namespace, one.metadata.name


class Directory:
    """The latest picture in a slot. `run` keeps it; nothing is told before both kinds have been listed once."""

    def __init__(self) -> None:
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

    async def _services(self, kube: Kube, listed: set[type[Service | Slice]]) -> None:
        async for change in kube.reflect(SERVICES, decode=Service):
            self.picture = Picture(changed(self.picture.services, change), self.picture.slices)
            self._tell(listed, Service)

    async def _slices(self, kube: Kube, listed: set[type[Service | Slice]]) -> None:
        async for change in kube.reflect(ENDPOINTSLICES, decode=Slice):
            self.picture = Picture(self.picture.services, changed(self.picture.slices, change))
            self._tell(listed, Slice)

    def _tell(self, listed: set[type[Service | Slice]], kind: type[Service | Slice]) -> None:
        listed.add(kind)
        self.complete = len(listed) == 2
        if self.complete:
            for listener in self._listeners:
                listener()


def picture(services: Iterable[Service], slices: Iterable[Slice]) -> Picture:
    """A picture of these objects."""
    return Picture({one.key: one for one in services}, {_key(one): one for one in slices})
