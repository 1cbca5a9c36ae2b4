"""The cluster's objects, followed into the store."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from weft.adapters.kube import kinds
from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import Kind
from weft.adapters.kube.reflector import Applied, Change, Deleted, Replaced
from weft.api.decode import KUBERNETES
from weft.model.store import Store

FOLLOWED: tuple[Kind, ...] = (
    kinds.SERVICES,
    kinds.ENDPOINTSLICES,
    kinds.PODS,
    kinds.VIRTUALSERVICES,
    kinds.DESTINATIONRULES,
    kinds.PROXYCONFIGS,
)

_PATIENCE = 10.0

log = logging.getLogger("weft.watch")


class Watching:
    """Keeps a store true. `changed` is called after each change, but not before everything has been read once."""

    def __init__(self, kube: Kube, store: Store, changed: Callable[[], None]) -> None:
        self._kube, self._store, self._changed = kube, store, changed
        self._unread = {kind.kind for kind in FOLLOWED}

    async def run(self) -> None:
        """Follow every kind, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._complain())
            for kind in FOLLOWED:
                tasks.create_task(self._follow(kind))

    async def _complain(self) -> None:
        while self._unread:
            await asyncio.sleep(_PATIENCE)
            if self._unread:
                missing = ", ".join(sorted(self._unread))
                log.warning(
                    "still waiting for a list of %s. Are the CRDs installed, and may we read them?", missing
                )

    async def _follow(self, kind: Kind) -> None:
        # of Kubernetes' objects we read some fields; users' rules stay as written until they are checked
        shape: Any = KUBERNETES.get(kind.kind, dict)
        changes: Any = self._kube.reflect(kind, decode=shape)
        async for change in changes:
            self._take(kind.kind, change)

    def _take(self, kind: str, change: Change[Any]) -> None:
        try:
            match change:
                case Replaced(objects):
                    self._store.replace(kind, objects)
                case Applied(one):
                    self._store.apply(kind, one)
                case Deleted(one):
                    self._store.delete(kind, *_key(one))
        except Exception:
            # our bug with one object must not end the service for all others
            log.exception("a change of %s could not be taken in", kind)
        if isinstance(change, Replaced):
            self._unread.discard(kind)
        if not self._unread:
            self._changed()


def _key(obj: Any) -> tuple[str, str]:
    if isinstance(obj, dict):
        return str(obj["metadata"].get("namespace", "")), str(obj["metadata"]["name"])
    return obj.metadata.namespace, obj.metadata.name
