"""What went wrong with a pod's traffic, told as Events of the pod, where `kubectl describe` shows them."""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import aiohttp

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import EVENTS

Json = dict[str, Any]

_COMPONENT: Final = "istio-cni"
_LONGEST: Final = 1024
_MOST: Final = 64
"""Events on their way; a node in such trouble has them in its log."""

log = logging.getLogger("weft.cni.events")


class Teller:
    """Give `run` a task. Best effort, as events are everywhere."""

    def __init__(self, kube: Kube, node: str, now: Callable[[], datetime]) -> None:
        self._kube, self._node, self._now = kube, node, now
        self._waiting: asyncio.Queue[Json] = asyncio.Queue(_MOST)

    def tell(self, pod: Mapping[str, Any], reason: str, message: str) -> None:
        """Tell a warning about a pod; returns at once."""
        try:
            self._waiting.put_nowait(event(pod, reason, message, self._now(), self._node))
        except asyncio.QueueFull:
            log.info("no event about %s: too many are waiting", pod["metadata"]["name"])

    async def run(self) -> None:
        """Write what is told, for ever."""
        while True:
            new = await self._waiting.get()
            try:
                await self._write(new)
            except (ApiError, aiohttp.ClientError, OSError) as error:
                log.info("no event about pod %s: %s", new["involvedObject"]["name"], error)

    async def _write(self, new: Json) -> None:
        name, namespace = new["metadata"]["name"], new["metadata"]["namespace"]
        try:
            await self._kube.create(EVENTS, new)
        except ApiError as error:
            if error.code != 409:
                raise
            known = await self._kube.get(EVENTS, name, namespace)
            again = {"count": known.get("count", 1) + 1, "lastTimestamp": new["lastTimestamp"]}
            await self._kube.patch(EVENTS, name, again, namespace)


def event(pod: Mapping[str, Any], reason: str, message: str, now: datetime, node: str) -> Json:
    """The Event that warns of a pod. Its name follows from what it says: said again it is counted up."""
    metadata = pod["metadata"]
    digest = hashlib.sha256(f"{metadata['uid']} {reason} {message}".encode()).hexdigest()[:16]
    moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "metadata": {"name": f"{metadata['name'][:200]}.{digest}", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
        "type": "Warning",
        "reason": reason,
        "message": message[:_LONGEST],
        "count": 1,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "source": {"component": _COMPONENT, "host": node},
        "reportingComponent": _COMPONENT,
        "reportingInstance": node,
    }
