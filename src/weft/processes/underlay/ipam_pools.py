"""Pools as this process knows them, and the one place that writes who has which of their addresses.

Every process of the cluster writes the same objects, each write over the revision that was read. So that many pods
cost few writes, all that waits for a pool goes into one; who was overtaken reads again and decides anew.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import aiohttp
import msgspec

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import SPIDERIPPOOLS, SPIDERRESERVEDIPS
from weft.adapters.kube.reflector import Applied, Change, Deleted, Replaced
from weft.api.spider_ippool import SpiderIPPool
from weft.api.spider_reserved_ip import SpiderReservedIP
from weft.processes.underlay.ipam_meters import Meters
from weft.underlay.addresses import NOTHING, Address, NotAddressesError, Ranges
from weft.underlay.ipam import allocation, pool_status, pools
from weft.underlay.ipam.allocation import Given, Holder, Outcome, Refused, Request, State, Want
from weft.underlay.ipam.pool_status import UnreadableStatusError
from weft.underlay.ipam.pools import Pool

_MOST: Final = 1000
"""Requests in one write."""
_TRIES: Final = 60
_FIRST_WAIT, _LAST_WAIT = 0.004, 0.5  # seconds before we read again what somebody else has written
_PATIENCE: Final = 30.0
"""Seconds in which a write has to succeed."""

log = logging.getLogger("weft.underlay.ipam.pools")


class PoolBusyError(Exception):
    """A pool could not be written: others did all the time, or the API server does not answer."""


@dataclass(slots=True)
class _Entry:
    """A pool as it was last seen. What is costly to read is read when it is asked for."""

    obj: SpiderIPPool
    pool: Pool | None = None
    why: str = ""
    state: State | None = None

    def read(self) -> State:
        if self.state is None:
            self.state = pool_status.read(self.obj.metadata.name, self.obj.status)
        return self.state


@dataclass(slots=True)
class _Waiting:
    request: Request
    done: "asyncio.Future[Outcome]"
    since: float


@dataclass(slots=True)
class _Book:
    """What waits for one pool, and the task that deals with it."""

    queue: deque[_Waiting] = field(default_factory=deque)
    work: "asyncio.Task[None] | None" = None


class Pools:
    """Give `run` a task, and ask. `rest` is how long an address is not used again after it was given back."""

    def __init__(
        self,
        kube: Kube,
        meters: Meters,
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        rest: timedelta,
    ) -> None:
        self._kube, self._meters, self._now, self._monotonic, self._rest = kube, meters, now, monotonic, rest
        self._known: dict[str, _Entry] = {}
        self._reserved: dict[str, Ranges] = {}
        self._books: dict[str, _Book] = {}
        self._listed = {SPIDERIPPOOLS.kind: False, SPIDERRESERVEDIPS.kind: False}
        self._changed = asyncio.Event()
        self.synced = asyncio.Event()
        """Set once all pools and reserved addresses have been read."""

    async def run(self) -> None:
        """Follow pools and reserved addresses, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_pools())
            group.create_task(self._follow_reserved())

    def all(self) -> Mapping[str, Pool]:
        """All pools that can be read, by name."""
        return {name: entry.pool for name, entry in self._known.items() if entry.pool is not None}

    def trouble(self, name: str) -> str:
        """Why a pool cannot be read; "" if it can."""
        return self._known[name].why if name in self._known else ""

    @property
    def reserved(self) -> Ranges:
        """What no pod gets."""
        found = NOTHING
        for each in self._reserved.values():
            found |= each
        return found

    def states(self) -> Iterator[tuple[Pool, State]]:
        """Each pool and who has what of it, but for those whose status cannot be read."""
        for entry in self._known.values():
            try:
                if entry.pool is not None:
                    yield entry.pool, entry.read()
            except UnreadableStatusError as error:
                log.warning("%s", error)

    def of(self, uid: str) -> Iterator[tuple[Pool, Address, Holder]]:
        """What a UID has, as far as it is known here: what this process wrote is."""
        for pool, state in self.states():
            for address, holder in allocation.holds(state, (uid,)).items():
                yield pool, address, holder

    def of_pod(self, key: str) -> Iterator[tuple[Pool, Address, Holder]]:
        """What pods of this namespace/name have, whatever their UIDs are."""
        for pool, state in self.states():
            for address, holder in state.taken.items():
                if holder.pod == key:
                    yield pool, address, holder

    async def changed(self) -> None:
        """Return once a pool has come, changed or gone."""
        await self._changed.wait()

    async def ask(self, name: str, request: Request) -> Outcome:
        """Have a request decided on and written.

        PoolBusyError if that cannot be done, UnreadableStatusError if somebody has spoilt the pool. Whoever is
        cancelled meanwhile may have what he asked for all the same: he finds it when he asks again.
        """
        book = self._books.setdefault(name, _Book())
        waiting = _Waiting(request, asyncio.get_running_loop().create_future(), self._monotonic())
        book.queue.append(waiting)
        if book.work is None:
            book.work = asyncio.create_task(self._work(name, book))
        return await asyncio.shield(waiting.done)

    async def _work(self, name: str, book: _Book) -> None:
        try:
            while book.queue:
                batch = [book.queue.popleft() for _ in range(min(len(book.queue), _MOST))]
                try:
                    outcomes = await self._written(name, batch)
                except (PoolBusyError, UnreadableStatusError, NotAddressesError) as error:
                    for each in batch:
                        _fail(each, error)
                except BaseException as error:
                    for each in (*batch, *book.queue):
                        _fail(each, PoolBusyError(f"pool {name}: {type(error).__name__}: {error}"))
                    raise
                else:
                    for each, outcome in zip(batch, outcomes, strict=True):
                        if not each.done.done():
                            each.done.set_result(outcome)
        finally:
            book.work = None

    async def _written(self, name: str, batch: list[_Waiting]) -> tuple[Outcome, ...]:
        """Decide on a batch and write it, over and over until nobody has written in between."""
        began, wait, why = self._monotonic(), _FIRST_WAIT, ""
        first: State | None = None
        for tries in range(_TRIES):
            try:
                entry = self._known[name] if tries == 0 and name in self._known else await self._read(name)
                first = entry.read() if first is None else first
                outcomes = await self._settled(entry, [each.request for each in batch], sure=tries > 0)
            except (ApiError, aiohttp.ClientError, OSError, TimeoutError) as error:
                why = self._excuse(name, batch[0].request, error)
            else:
                if outcomes is not None:
                    for each in batch:
                        self._meters.waited(each.request, began - each.since)
                    pairs = zip(batch, outcomes, strict=True)
                    return tuple(_as_at_first(each.request, outcome, first) for each, outcome in pairs)
                continue
            if self._monotonic() - began > _PATIENCE:
                break
            # by chance, so that those who were overtaken do not meet again
            await asyncio.sleep(wait * random.uniform(0.5, 1.5))  # noqa: S311 -- no secret
            wait = min(wait * 1.5, _LAST_WAIT)
        raise PoolBusyError(f"pool {name} could not be written in {tries + 1} tries: {why}")

    async def _settled(self, entry: _Entry, requests: list[Request], *, sure: bool) -> tuple[Outcome, ...] | None:
        """One try. None: nothing of it is written, and it needs a newer look (`sure`: this is one)."""
        if entry.pool is None:
            raise NotAddressesError(entry.why)
        state = entry.read()
        decision = allocation.decide(entry.pool, self.reserved, state, requests, self._moment(), self._rest)
        if decision.changes(state):
            await self._write(entry, entry.pool, decision.state)
            self._meters.written(len(requests))
        elif not sure and any(isinstance(each, Refused) for each in decision.outcomes):
            return None  # an event may be on its way that something is free
        return decision.outcomes

    def _excuse(self, name: str, request: Request, error: Exception) -> str:
        """Why a try has failed that is to be repeated; PoolBusyError where that is of no use."""
        if not isinstance(error, ApiError):
            return f"the API server does not answer ({type(error).__name__}: {error})"
        if error.code == 409:
            self._meters.conflict(request)
        elif 400 <= error.code < 500 and error.code != 429:
            raise PoolBusyError(f"pool {name} cannot be written: {error}") from error
        return error.message

    def _moment(self) -> datetime:
        # as the status has it
        return self._now().replace(microsecond=0)

    async def _read(self, name: str) -> _Entry:
        return self._take(await self._kube.get(SPIDERIPPOOLS, name), asked=True)

    async def _write(self, entry: _Entry, pool: Pool, state: State) -> None:
        version = entry.obj.metadata.resource_version
        patch = {"metadata": {"resourceVersion": version}, "status": pool_status.patch(pool, state)}
        answer = _convert(await self._kube.patch(SPIDERIPPOOLS, pool.name, patch, subresource="status"))
        written = self._take(answer)
        if written.obj.metadata.resource_version == answer.metadata.resource_version:
            written.state = state

    def _take(self, obj: object, *, asked: bool = False) -> _Entry:
        """Remember a pool, unless a newer state of it is known: what we wrote comes before its event.

        What was `asked` for counts in any case: a server that was restored begins with older revisions.
        """
        found = obj if isinstance(obj, SpiderIPPool) else _convert(obj)
        name = found.metadata.name
        known = self._known.get(name)
        is_known = known is not None and known.obj.metadata.uid == found.metadata.uid
        if known is not None and is_known and not asked and _newer(known.obj, found):
            return known
        entry = _Entry(found)
        if known is not None and known.pool is not None and _same_but_status(known.obj, found):
            entry.pool = known.pool
        else:
            try:
                entry.pool = pools.read(found)
            except NotAddressesError as error:
                entry.why = f"pool {name} cannot be read: {error}"
                log.warning("%s", entry.why)
        self._known[name] = entry
        self._tell()
        return entry

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _follow_pools(self) -> None:
        changes: AsyncIterator[Change[SpiderIPPool]] = self._kube.reflect(SPIDERIPPOOLS, decode=SpiderIPPool)
        async for change in changes:
            match change:
                case Replaced(objects):
                    for name in self._known.keys() - {each.metadata.name for each in objects}:
                        del self._known[name]
                    for each in objects:
                        self._take(each, asked=True)
                    self._sync(SPIDERIPPOOLS.kind)
                case Applied(obj):
                    self._take(obj)
                case Deleted(obj):
                    self._known.pop(obj.metadata.name, None)
                    self._tell()

    async def _follow_reserved(self) -> None:
        changes: AsyncIterator[Change[SpiderReservedIP]] = self._kube.reflect(
            SPIDERRESERVEDIPS, decode=SpiderReservedIP
        )
        async for change in changes:
            match change:
                case Replaced(objects):
                    self._reserved = {each.metadata.name: _reserved(each) for each in objects}
                    self._sync(SPIDERRESERVEDIPS.kind)
                case Applied(obj):
                    self._reserved[obj.metadata.name] = _reserved(obj)
                case Deleted(obj):
                    self._reserved.pop(obj.metadata.name, None)

    def _sync(self, kind: str) -> None:
        self._listed[kind] = True
        if all(self._listed.values()):
            self.synced.set()


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.done.done():
        waiting.done.set_exception(error)
        waiting.done.exception()  # whoever asked may be gone: it is told in the log of who asks next


def _as_at_first(request: Request, outcome: Outcome, before: State) -> Outcome:
    """A write whose answer was lost is found as if it had been there: what is new is told by the first look."""
    if isinstance(request, Want) and isinstance(outcome, Given) and not request.takes_over:
        return replace(outcome, fresh=before.taken.get(outcome.address) != request.holder)
    return outcome


def _convert(obj: object) -> SpiderIPPool:
    return msgspec.convert(obj, SpiderIPPool)


def _newer(known: SpiderIPPool, found: SpiderIPPool) -> bool:
    """Whether what is known is newer. Revisions are numbers that grow, on all servers that are in use."""
    versions = known.metadata.resource_version, found.metadata.resource_version
    return all(each.isdecimal() for each in versions) and int(versions[0]) >= int(versions[1])


def _same_but_status(known: SpiderIPPool, found: SpiderIPPool) -> bool:
    return (
        known.spec == found.spec
        and known.metadata.labels == found.metadata.labels
        and known.metadata.deletion_timestamp == found.metadata.deletion_timestamp
    )


def _reserved(obj: SpiderReservedIP) -> Ranges:
    try:
        return Ranges.parse(obj.spec.ips or ())
    except NotAddressesError as error:
        log.warning("SpiderReservedIP %s is without effect: %s", obj.metadata.name, error)
        return NOTHING
