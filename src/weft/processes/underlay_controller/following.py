"""Objects of one kind, as the API server tells of them, kept for whoever decides on them."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, Final, Generic, TypeVar

import aiohttp

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import Kind
from weft.adapters.kube.reflector import Applied, Change, Deleted, Replaced

T = TypeVar("T")

_LOOK: Final = 10.0
"""Seconds between looks for a kind that may come later."""

log = logging.getLogger("weft.underlay.following")


class Followed(Generic[T]):
    """Give `run` a task. `objects` are by namespace and name; whoever `wakes` is woken when they change.

    A kind that `may_lack` its definition is there with no objects until it has one: `present` tells.
    """

    def __init__(
        self,
        kube: Kube,
        kind: Kind,
        shape: type[T],
        *wakes: asyncio.Event,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        may_lack: bool = False,
    ) -> None:
        self._kube, self._kind, self._shape, self._wakes = kube, kind, shape, wakes
        self._namespace, self._labels, self._fields, self._may_lack = namespace, labels, fields, may_lack
        self.objects: dict[tuple[str, str], T] = {}
        self.present = not may_lack
        self.synced = asyncio.Event()

    def wake(self, *wakes: asyncio.Event) -> "Followed[T]":
        """Wake these as well."""
        self._wakes = (*self._wakes, *wakes)
        return self

    @property
    def all(self) -> tuple[T, ...]:
        """The objects, by namespace and name."""
        return tuple(self.objects[key] for key in sorted(self.objects))

    async def run(self) -> None:
        """Keep up, for ever."""
        while self._may_lack and not await self._is_there():
            self.synced.set()
            await asyncio.sleep(_LOOK)
        self.present = True
        changes: AsyncIterator[Change[Any]] = self._kube.reflect(
            self._kind, decode=self._shape, namespace=self._namespace, labels=self._labels, fields=self._fields
        )
        async for change in changes:
            self._take(change)
            self.synced.set()
            for each in self._wakes:
                each.set()

    async def _is_there(self) -> bool:
        try:
            await self._kube.fetch(self._kind.path(), {"limit": "1"})
        except ApiError as error:
            if error.code == 403:
                log.warning("%s count as none, for we may not list them: %s", self._kind.plural, error)
            if error.code in {403, 404}:
                return False
            log.warning("%s cannot be listed: %s", self._kind.plural, error)
        except (aiohttp.ClientError, OSError) as error:
            log.warning("%s cannot be listed: %s", self._kind.plural, error)
        return True  # the watch goes on trying

    def _take(self, change: Change[Any]) -> None:
        match change:
            case Replaced(objects):
                self.objects = {_key(each): each for each in objects}
            case Applied(one):
                self.objects[_key(one)] = one
            case Deleted(one):
                self.objects.pop(_key(one), None)


def _key(obj: Any) -> tuple[str, str]:
    metadata = obj["metadata"] if isinstance(obj, dict) else obj.metadata
    if isinstance(metadata, dict):
        return metadata.get("namespace", ""), metadata["name"]
    return metadata.namespace, metadata.name
