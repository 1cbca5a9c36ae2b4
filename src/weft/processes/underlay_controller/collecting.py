"""Addresses of what is gone go back: by what happens to pods and nodes, and by a look through all of them."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import aiohttp
import msgspec
from aiohttp import web

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import NODES, PODS, SPIDERENDPOINTS
from weft.adapters.kube.reflector import Applied, Change, Deleted, Replaced
from weft.processes.cni.metrics import Registry
from weft.processes.underlay.ipam_endpoints import Endpoints
from weft.processes.underlay.ipam_pools import PoolBusyError, Pools
from weft.processes.underlay_controller import counting, looking
from weft.processes.underlay_controller.looking import PodObject
from weft.underlay.addresses import NotAddressesError
from weft.underlay.ipam import collecting
from weft.underlay.ipam.allocation import Release, Want
from weft.underlay.ipam.collecting import Act, Clash, Drop, Free, Note, Rules, Take
from weft.underlay.ipam.endpoints import Subject
from weft.underlay.ipam.pool_status import UnreadableStatusError

Json = dict[str, Any]

_BETWEEN: Final = 1.0
"""Seconds at least between two looks: many pods may end at once."""
_GONE: Final = 404
_AT_ONCE: Final = 32
"""Endpoints that are written at the same time."""
_TROUBLE: Final = (ApiError, aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError)
_FAULTS: Final = (PoolBusyError, UnreadableStatusError, NotAddressesError)
_DONE: Final[Mapping[type[Act], str]] = {
    Free: "freed",
    Take: "taken",
    Drop: "endpointsDeleted",
    Note: "endpointsCorrected",
    Clash: "conflicts",
}

log = logging.getLogger("weft.underlay.ipam.collecting")


@dataclass(frozen=True, slots=True)
class Orders:
    """What is collected, and how often all is looked through, in seconds. `enabled`: at all, but when asked."""

    rules: Rules
    interval: float = 600.0
    enabled: bool = True


class Collector:
    """Give `run` a task. `now` gives the time, `monotonic` seconds."""

    def __init__(
        self,
        kube: Kube,
        known: Pools,
        orders: Orders,
        registry: Registry,
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._kube, self._pools, self._orders = kube, known, orders
        self._now, self._monotonic = now, monotonic
        self._endpoints = Endpoints(kube)
        self._doubts: Mapping[Act, datetime] = {}
        self._due: dict[str, float] = {}
        self._look_at = 0.0
        self._news = asyncio.Event()
        self._turn = asyncio.Lock()
        self._counts = registry.counter("spiderpool_ip_gc_counts", "Addresses given back for who was gone.")
        counting.register(registry, known.states)
        self._failed = registry.counter("spiderpool_ip_gc_failure_counts", "Addresses that could not be.")

    async def run(self) -> None:
        """Follow pods and nodes, and collect, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pools.run())
            if self._orders.enabled:
                group.create_task(self._follow_pods())
                group.create_task(self._follow_nodes())
                group.create_task(self._turns())

    async def collect(self) -> Json:
        """Look through all once, and act. What was done, each with its reason, and what could not be."""
        async with self._turn:
            await self._pools.synced.wait()
            world = await looking.world(self._kube, self._pools.states(), self._orders.rules)
            plan = collecting.decide(world, self._orders.rules, self._doubts, self._now())
            self._doubts = plan.doubts
            told: Json = {"freed": []}
            limit = asyncio.Semaphore(_AT_ONCE)
            for act, trouble in await asyncio.gather(*(self._done(act, limit) for act in plan.acts)):
                self._tell(told, act, trouble)
            if later := [_line(act) for act in plan.doubts if isinstance(act, Free)]:
                told["later"] = later
            return told

    async def answer(self, _: web.Request) -> web.Response:
        """`POST /v1/gc`: collect now."""
        try:
            return web.json_response(await self.collect())
        except _TROUBLE as error:
            raise web.HTTPBadGateway(text=f"the API server does not help: {error}\n") from error

    def _tell(self, told: Json, act: Act, trouble: str) -> None:
        line = _line(act) | ({"error": trouble} if trouble else {})
        told.setdefault("failed" if trouble else _DONE[type(act)], []).append(line)
        log.log(
            logging.WARNING if trouble or isinstance(act, Clash) else logging.INFO,
            "%s: %s",
            "failed" if trouble else _DONE[type(act)],
            ", ".join(f"{key} {value}" for key, value in line.items()),
        )
        if isinstance(act, Free):
            (self._failed if trouble else self._counts).add()

    async def _done(self, act: Act, limit: asyncio.Semaphore) -> tuple[Act, str]:
        """Do one thing; the text says why it could not be done."""
        try:
            match act:
                case Free():
                    await self._pools.ask(act.pool, Release(act.holder.uid, address=act.address))
                case Take():
                    await self._pools.ask(act.pool, Want(act.holder, takes_over=True, only=act.address))
                case Drop():
                    async with limit:
                        await self._drop(act)
                case Note():
                    async with limit:
                        await self._note(act)
        except (*_FAULTS, *_TROUBLE) as error:
            return act, f"{type(error).__name__}: {error}"
        return act, ""

    async def _drop(self, act: Drop) -> None:
        try:
            await self._kube.delete(SPIDERENDPOINTS, act.name, act.namespace, version=act.version)
        except ApiError as error:
            if error.code != _GONE:
                raise

    async def _note(self, act: Note) -> None:
        whose = Subject(act.namespace, act.name, act.pod.uid, act.pod.owner)
        known = await self._endpoints.find(act.namespace, act.name)
        await self._endpoints.note(whose, act.pod.node, act.entry, known)

    async def _turns(self) -> None:
        """Look when something has happened that leaves addresses behind, and at intervals."""
        while True:
            self._news.clear()
            now = self._monotonic()
            waits = [self._look_at, *self._due.values()]
            if (wait := min(waits) - now) > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._news.wait()
                continue
            due = {uid for uid, at in self._due.items() if at <= now}
            for uid in due:
                del self._due[uid]
            if now >= self._look_at or not due.isdisjoint(self._holders()):
                await self._look()
            await asyncio.sleep(_BETWEEN)

    async def _look(self) -> None:
        is_done = False
        try:
            is_done = "failed" not in await self.collect()
        except _TROUBLE as error:
            log.warning("addresses are not looked through: %s: %s", type(error).__name__, error)
        # what is in doubt is looked at again in time, and what has failed is tried again
        soon = min(self._orders.interval, self._orders.rules.doubt.total_seconds())
        wait = self._orders.interval if is_done and not self._doubts else soon
        self._look_at = self._monotonic() + wait

    def _holders(self) -> set[str]:
        return {holder.uid for _, state in self._pools.states() for holder in state.taken.values()}

    async def _follow_pods(self) -> None:
        changes: AsyncIterator[Change[PodObject]] = self._kube.reflect(PODS, decode=PodObject)
        async for change in changes:
            match change:
                case Replaced(objects):
                    for pod in objects:
                        self._consider(pod)
                    self._look_soon()
                case Applied(pod):
                    self._consider(pod)
                case Deleted(pod):
                    self._wait_for(pod, self._orders.rules.delay.total_seconds())

    def _consider(self, pod: PodObject) -> None:
        found = looking.pod(pod)
        delay = self._orders.rules.delay.total_seconds()
        if found.ended:
            self._wait_for(pod, delay)
        elif found.until is not None:
            left = (found.until - self._now()).total_seconds()
            self._wait_for(pod, max(0.0, left) + delay + 1)

    def _wait_for(self, pod: PodObject, seconds: float) -> None:
        self._due[pod.metadata.uid] = self._monotonic() + seconds
        self._news.set()

    def _look_soon(self) -> None:
        self._look_at = self._monotonic()
        self._news.set()

    async def _follow_nodes(self) -> None:
        changes: AsyncIterator[Change[looking.Named]] = self._kube.reflect(NODES, decode=looking.Named)
        async for change in changes:
            if isinstance(change, Deleted):
                self._look_soon()


def _line(act: Act) -> Json:
    match act:
        case Free() | Take():
            whose = {"pod": act.holder.pod, "uid": act.holder.uid}
            return {"ip": str(act.address), "pool": act.pool, **whose, "reason": act.why}
        case Drop():
            return {"endpoint": f"{act.namespace}/{act.name}", "uid": act.uid, "reason": act.why}
    return {"endpoint": f"{act.namespace}/{act.name}", "reason": act.why}
