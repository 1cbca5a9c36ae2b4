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
from weft.api.resources import RESOURCES
from weft.model.store import MESH, Store

FOLLOWED: tuple[Kind, ...] = (
    kinds.NAMESPACES,
    kinds.NODES,
    kinds.SERVICES,
    kinds.ENDPOINTSLICES,
    kinds.PODS,
    kinds.NAMESPACES,
    kinds.INGRESSES,
    kinds.INGRESSCLASSES,
    *(kinds.ISTIO[name] for name in RESOURCES),
)

_PATIENCE = 10.0

log = logging.getLogger("weft.watch")


class Watching:
    """Keeps a store true. `changed` is called after each change, but not before everything has been read once."""

    def __init__(self, kube: Kube, store: Store, changed: Callable[[], None], namespace: str, mesh: str) -> None:
        self._kube, self._store, self._changed = kube, store, changed
        self._namespace, self._mesh = namespace, mesh
        self._unread = {MESH, *(kind.kind for kind in FOLLOWED)}
        self._again = asyncio.Event()

    async def run(self) -> None:
        """Follow every kind, for ever; anew when namespaces count of which objects were passed over."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._complain())
            tasks.create_task(self._settings())
            for kind in FOLLOWED:
                if not kind.namespaced:
                    tasks.create_task(self._follow(kind))
            while True:
                following = [tasks.create_task(self._follow(each)) for each in FOLLOWED if each.namespaced]
                await self._again.wait()
                self._again.clear()
                for task in following:
                    task.cancel()
                await asyncio.wait(following)

    async def _complain(self) -> None:
        while self._unread:
            await asyncio.sleep(_PATIENCE)
            if self._unread:
                missing = ", ".join(sorted(self._unread))
                log.warning(
                    "still waiting for a list of %s. Are the CRDs installed, and may we read them?", missing
                )

    async def _settings(self) -> None:
        """Follow the ConfigMap of the mesh's settings, one object of its namespace."""
        only = f"metadata.name={self._mesh}"
        changes: Any = self._kube.reflect(kinds.CONFIGMAPS, namespace=self._namespace, fields=only)
        async for change in changes:
            self._take(MESH, change)

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
        if self._store.missed:
            self._store.missed = False
            self._again.set()
        if not self._unread:
            self._changed()


def _key(obj: Any) -> tuple[str, str]:
    if isinstance(obj, dict):
        return str(obj["metadata"].get("namespace", "")), str(obj["metadata"]["name"])
    return obj.metadata.namespace, obj.metadata.name
