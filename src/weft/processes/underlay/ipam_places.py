"""What pools are chosen by besides the pod: labels of this node, labels and annotations of namespaces."""

import asyncio
from collections.abc import AsyncIterator

import msgspec

from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import NAMESPACES, NODES, Kind
from weft.adapters.kube.reflector import Applied, Change, Deleted, Replaced
from weft.api.underlay_shape import Object, ObjectMeta


class Places:
    """Give `run` a task, and ask."""

    def __init__(self, kube: Kube, node: str) -> None:
        self._kube, self._node = kube, node
        self._namespaces: dict[str, ObjectMeta] = {}
        self._nodes: dict[str, ObjectMeta] = {}

    async def run(self) -> None:
        """Follow namespaces and this node, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(NAMESPACES, "", self._namespaces))
            group.create_task(self._follow(NODES, f"metadata.name={self._node}", self._nodes))

    async def namespace(self, name: str) -> ObjectMeta:
        """A namespace, asked for where the watch has not told of it. Raises what the client raises."""
        return await self._get(NAMESPACES, name, self._namespaces)

    async def node(self) -> ObjectMeta:
        """This node, likewise."""
        return await self._get(NODES, self._node, self._nodes)

    async def _get(self, kind: Kind, name: str, known: dict[str, ObjectMeta]) -> ObjectMeta:
        if name in known:
            return known[name]
        return msgspec.convert(await self._kube.get(kind, name), Object).metadata

    async def _follow(self, kind: Kind, fields: str, known: dict[str, ObjectMeta]) -> None:
        changes: AsyncIterator[Change[Object]] = self._kube.reflect(kind, decode=Object, fields=fields)
        async for change in changes:
            match change:
                case Replaced(objects):
                    known.clear()
                    known.update({each.metadata.name: each.metadata for each in objects})
                case Applied(obj):
                    known[obj.metadata.name] = obj.metadata
                case Deleted(obj):
                    known.pop(obj.metadata.name, None)
