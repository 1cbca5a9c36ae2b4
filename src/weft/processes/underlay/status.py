"""What networks a pod has, written on the pod: it is there when the pod runs."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import PODS
from weft.underlay.networks import network_status
from weft.underlay.networks.network_status import Attached

_WAIT: Final = 1.0
"""Seconds that ADD waits for it: more than it takes, and little beside what comes before a pod runs."""
_TRIES: Final = 8
_FIRST_DELAY: Final = 0.1

log = logging.getLogger("weft.underlay.status")


class Statuses:
    """Writes annotations; `close` when no more come."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._running: set[asyncio.Task[None]] = set()

    async def write(self, pod: Mapping[str, Any], attached: Sequence[Attached]) -> None:
        """Write it now, or go on behind the caller's back where the API server is slow."""
        task = asyncio.create_task(self._write(pod, network_status.written(attached)))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await asyncio.wait((task,), timeout=_WAIT)

    async def _write(self, pod: Mapping[str, Any], text: str) -> None:
        metadata = pod["metadata"]
        name, namespace = metadata["name"], metadata["namespace"]
        # another pod of that name is none of ours: the server compares the UID
        patch = {"metadata": {"uid": metadata["uid"], "annotations": {network_status.ANNOTATION: text}}}
        delay = _FIRST_DELAY
        for _ in range(_TRIES):
            try:
                await self._kube.patch(PODS, name, patch, namespace, subresource="status")
            except ApiError as error:
                if error.code == 404 or (error.code == 409 and "uid" in str(error).lower()):
                    return
                told = str(error)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                told = str(error) or type(error).__name__
            else:
                return
            log.info("the networks of pod %s/%s are not told yet: %s", namespace, name, told)
            await asyncio.sleep(delay)
            delay *= 2
        log.warning("the networks of pod %s/%s are not told (%s)", namespace, name, network_status.ANNOTATION)
