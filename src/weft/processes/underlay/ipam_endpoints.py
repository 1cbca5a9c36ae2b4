"""SpiderEndpoints, read and written: what each pod has, for people and for the next time the pod asks."""

import asyncio
from typing import Any, Final

import msgspec

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import SPIDERENDPOINTS
from weft.api.spider_endpoint import IPAllocation, SpiderEndpoint
from weft.underlay.ipam import endpoints
from weft.underlay.ipam.endpoints import Subject

Json = dict[str, Any]

_AT_ONCE: Final = 16
"""Requests at the same time: a hundred pods of a node that begin at once are not to open a hundred connections."""
_TRIES: Final = 8
_WAIT: Final = 0.01  # seconds, growing with each try


class Endpoints:
    """All methods raise what the client raises."""

    def __init__(self, kube: Kube) -> None:
        self._kube, self._turn = kube, asyncio.Semaphore(_AT_ONCE)

    async def find(self, namespace: str, name: str) -> SpiderEndpoint | None:
        """An endpoint, if it is there."""
        try:
            async with self._turn:
                return msgspec.convert(await self._kube.get(SPIDERENDPOINTS, name, namespace), SpiderEndpoint)
        except ApiError as error:
            if error.code != 404:
                raise
            return None

    async def note(self, whose: Subject, node: str, entry: IPAllocation, known: SpiderEndpoint | None) -> None:
        """Write what an interface has on a node. `known` is the endpoint as it was last seen."""
        for tries in range(_TRIES):
            before = endpoints.current(known, whose)
            now = endpoints.with_entry(before, entry, whose.uid, node)
            document = endpoints.document(whose, now)
            try:
                async with self._turn:
                    await self._write(whose, document, known)
            except ApiError as error:
                # another has made, changed or deleted it since
                if error.code not in {404, 409} or tries == _TRIES - 1:
                    raise
                await asyncio.sleep(_WAIT * (tries + 1))
                known = await self.find(whose.namespace, whose.name)
            else:
                return

    async def _write(self, whose: Subject, document: Json, known: SpiderEndpoint | None) -> None:
        if known is None:
            await self._kube.create(SPIDERENDPOINTS, document)
        elif known.status != msgspec.convert(document, SpiderEndpoint).status:
            held = {"metadata": {"resourceVersion": known.metadata.resource_version}}
            patch = held | {"status": document["status"]}
            await self._kube.patch(SPIDERENDPOINTS, whose.name, patch, whose.namespace)

    async def drop(self, found: SpiderEndpoint) -> None:
        """Delete an endpoint, unless it has changed since."""
        meta = found.metadata
        try:
            async with self._turn:
                await self._kube.delete(
                    SPIDERENDPOINTS, meta.name, meta.namespace, uid=meta.uid, version=meta.resource_version
                )
        except ApiError as error:
            if error.code not in {404, 409}:
                raise
