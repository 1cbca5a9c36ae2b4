"""Addresses for hosts that have none, written into the status of their ServiceEntries.

Each istiod computes the same from the same, and a write holds only for the version of the entry that it was
computed from: two of them do each other no harm.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

import aiohttp

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import SERVICEENTRIES
from weft.api.service_entry import AllocatedAddress, ServiceEntry
from weft.model.allocation import Key, allocation

_AGAIN = 1.0

log = logging.getLogger("weft.allocating")


class Allocator:
    """Keeps `status.addresses` true. `entries` gives the ServiceEntries as they are known now."""

    def __init__(self, kube: Kube, entries: Callable[[], Iterable[ServiceEntry]]) -> None:
        self._kube, self._entries = kube, entries
        self._changed = asyncio.Event()
        self._last: Iterable[ServiceEntry] = ()

    def look(self) -> None:
        """The entries may have changed; returns at once."""
        entries = self._entries()
        if entries is not self._last:
            self._last = entries
            self._changed.set()

    async def run(self) -> None:
        """Write what is missing, for ever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            versions = {_key(each): each.metadata.resource_version for each in self._last}
            wanted = allocation(self._last)
            written = [await self._write(key, versions[key], addresses) for key, addresses in wanted.items()]
            if not all(written):
                await asyncio.sleep(_AGAIN)
                self._changed.set()

    async def _write(self, key: Key, version: str, addresses: tuple[AllocatedAddress, ...]) -> bool:
        """Write one status; whether there is nothing left to do about this version of the entry."""
        namespace, name = key
        listed = [{"host": each.host, "value": each.value} for each in addresses]
        patch = {"metadata": {"resourceVersion": version}, "status": {"addresses": listed or None}}
        try:
            await self._kube.patch(SERVICEENTRIES, name, patch, namespace, subresource="status")
        except ApiError as error:
            if error.code in {404, 409}:
                return True  # it is gone, or has moved on: then it comes again
            log.warning("addresses of ServiceEntry %s/%s not written: %s", namespace, name, error)
            return False
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            log.warning("addresses of ServiceEntry %s/%s not written: %s", namespace, name, error)
            return False
        log.info("ServiceEntry %s/%s: %s", namespace, name, ", ".join(each.value for each in addresses) or "none")
        return True


def _key(entry: ServiceEntry) -> Key:
    return entry.metadata.namespace, entry.metadata.name
