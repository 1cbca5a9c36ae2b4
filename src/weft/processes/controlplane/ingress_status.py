"""Where Ingresses are served, told in their status: the addresses of the gateway's Service."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

import aiohttp
import msgspec

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import INGRESSES
from weft.api.kubernetes import LoadBalancer
from weft.model.registered import Key

_PAUSE = 5.0  # seconds before a write that failed is tried again

log = logging.getLogger("weft.ingress")

Wanted = Callable[[], Iterable[tuple[Key, LoadBalancer]]]
"""The Ingresses whose status is not what it should be, and what it should be."""


class IngressStatus:
    """Keeps the status of Ingresses true. Several istiods write the same, so that it does not matter who does."""

    def __init__(self, kube: Kube, wanted: Wanted) -> None:
        self._kube, self._wanted = kube, wanted
        self._looked = asyncio.Event()

    def look(self) -> None:
        """Something may have changed; returns at once."""
        self._looked.set()

    async def run(self) -> None:
        """Write what is not true, for ever."""
        while True:
            await self._looked.wait()
            self._looked.clear()
            for (namespace, name), balancer in tuple(self._wanted()):
                try:
                    await self._write(namespace, name, balancer)
                except (ApiError, aiohttp.ClientError, OSError, TimeoutError) as error:
                    log.warning("the status of Ingress %s/%s is not written: %s", namespace, name, error)
                    await asyncio.sleep(_PAUSE)
                    self._looked.set()

    async def _write(self, namespace: str, name: str, balancer: LoadBalancer) -> None:
        status: dict[str, Any] = {
            "loadBalancer": {"ingress": [_told(each) for each in balancer.ingress or ()] or None}
        }
        try:
            await self._kube.patch(INGRESSES, name, {"status": status}, namespace, subresource="status")
        except ApiError as error:
            if error.code != 404:  # it is gone, and its status with it
                raise


def _told(address: Any) -> dict[str, str]:
    """An address without the fields that it does not have."""
    return {key: value for key, value in msgspec.to_builtins(address).items() if value}
