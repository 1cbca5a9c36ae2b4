"""Pools: how many addresses each has, and the end of those that are deleted."""

import asyncio
from typing import Final

import msgspec

from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import SPIDERIPPOOLS
from weft.api.spider_ippool import SpiderIPPool, allocations
from weft.processes.underlay_controller import finalizing, working
from weft.processes.underlay_controller.following import Followed
from weft.underlay.admission.pool_checks import addresses

_MOST: Final = 2**63 - 1
"""The largest number that the field holds: a /64 has more addresses."""


class Pools:
    """Give `run` a task."""

    def __init__(self, kube: Kube, pools: Followed[SpiderIPPool]) -> None:
        self._kube, self._wake = kube, asyncio.Event()
        self._pools = pools.wake(self._wake)

    async def run(self) -> None:
        """Count and let go, for ever."""
        await self._pools.synced.wait()
        await working.keep("pools", self._wake, self._look)

    async def _look(self) -> None:
        await working.each(self._pools.all, self._keep)

    async def _keep(self, pool: SpiderIPPool) -> None:
        if pool.metadata.deletion_timestamp:
            if not _in_use(pool):
                await finalizing.release(self._kube, SPIDERIPPOOLS, pool.metadata)
            return
        await finalizing.hold(self._kube, SPIDERIPPOOLS, pool.metadata)
        if change := _counts(pool):
            # only numbers: who has which address is never written from here
            await self._kube.patch(SPIDERIPPOOLS, pool.metadata.name, {"status": change}, subresource="status")


def _in_use(pool: SpiderIPPool) -> bool:
    try:
        return bool(allocations(pool.status.allocated_ips))
    except msgspec.DecodeError:
        return True


def _counts(pool: SpiderIPPool) -> dict[str, int]:
    """The numbers of a pool that are not as they should be."""
    total = min(addresses(pool.spec).size, _MOST)
    change = {} if pool.status.total_ip_count == total else {"totalIPCount": total}
    return change if pool.status.allocated_ip_count is not None else change | {"allocatedIPCount": 0}
