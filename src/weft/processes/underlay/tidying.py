"""Networks of containers that are gone without anybody's saying so: older runtimes do not collect them."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from weft.processes.cni.calls import CallError
from weft.processes.cni.pods import has_uid
from weft.processes.underlay.meta import Meta
from weft.processes.underlay.plugins import Surroundings
from weft.underlay.networks.delegates import Record

_EVERY: Final = 600.0
"""Seconds between looks."""

log = logging.getLogger("weft.underlay.networks.asked")


class Tidier:
    """Give `run` a task."""

    def __init__(self, around: Surroundings, meta: Meta, every: float = _EVERY) -> None:
        self._around, self._meta, self._every = around, meta, every

    async def run(self) -> None:
        """Look, as soon as the node's pods are known, and again, for ever."""
        await self._around.pods.synced.wait()
        while True:
            for record in await self._meta.records():
                if self._is_over(record):
                    await self._take_away(record)
            await asyncio.sleep(self._every)

    def _is_over(self, record: Record) -> bool:
        """Whether neither its pod nor its network namespace is there: either might still need what it has."""
        if not record.sandbox or (self._around.settings.places.root / record.sandbox.lstrip("/")).exists():
            return False
        return not any(_is(pod, record) for pod in self._around.pods.all())

    async def _take_away(self, record: Record) -> None:
        try:
            await self._meta.forget(record)
        except CallError as error:
            log.warning("what is left of pod %s/%s stays: %s", record.namespace, record.name, error.msg)
        else:
            log.info("took away what was left of pod %s/%s", record.namespace, record.name)


def _is(pod: Mapping[str, Any], record: Record) -> bool:
    metadata = pod["metadata"]
    named = (metadata["namespace"], metadata["name"]) == (record.namespace, record.name)
    return named and has_uid(pod, record.uid)
