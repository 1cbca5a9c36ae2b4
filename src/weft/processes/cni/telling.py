"""What went wrong with a pod's traffic, told as Events of the pod, where `kubectl describe` shows them."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import aiohttp

from weft.adapters.kube import events
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import PODS, Kind

Json = dict[str, Any]

_COMPONENT: Final = "istio-cni"
_MOST: Final = 64
"""Events on their way; a node in such trouble has them in its log."""

log = logging.getLogger("weft.cni.events")


class Teller:
    """Give `run` a task. Best effort, as events are everywhere."""

    def __init__(self, kube: Kube, node: str, now: Callable[[], datetime], *, component: str = _COMPONENT) -> None:
        self._kube, self._now = kube, now
        self._reporter = events.Reporter(component, node, host=node)
        self._waiting: asyncio.Queue[Json] = asyncio.Queue(_MOST)

    def tell(self, subject: Mapping[str, Any], reason: str, message: str, *, kind: Kind = PODS) -> None:
        """Tell a warning about a pod, or another object in a namespace; returns at once."""
        new = events.event(kind, subject["metadata"], reason, message, self._now(), self._reporter)
        try:
            self._waiting.put_nowait(new)
        except asyncio.QueueFull:
            log.info("no event about %s: too many are waiting", subject["metadata"]["name"])

    async def run(self) -> None:
        """Write what is told, for ever."""
        while True:
            new = await self._waiting.get()
            try:
                await events.write(self._kube, new)
            except (ApiError, aiohttp.ClientError, OSError) as error:
                log.info("no event about %s: %s", new["involvedObject"]["name"], error)
