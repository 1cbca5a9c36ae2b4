"""The loop that all controllers share: look at what changed, plan, perform, look again."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import aiohttp

from weft.adapters.kube.client import ApiError, Json
from weft.adapters.kube.kinds import Kind
from weft.cluster.controllers.cache import Cache
from weft.cluster.controllers.changes import Create, Performer, Plan
from weft.cluster.controllers.objects import Key

log = logging.getLogger(__name__)

_FIRST_DELAY, _LAST_DELAY = 0.05, 30.0


def delay(failures: int) -> float:
    """Seconds until the next try, after that many failures in a row."""
    doubled: float = _FIRST_DELAY * 2 ** min(failures, 16)  # two to the thousandth fits no float
    return min(doubled, _LAST_DELAY)


@dataclass(frozen=True, slots=True)
class World:
    """What a controller may look at: the caches by kind, and the time."""

    caches: Mapping[Kind, Cache]
    now: datetime

    def of(self, kind: Kind) -> Cache:
        """The objects of one kind."""
        return self.caches[kind]

    def named(self, api_version: str, kind: str) -> Cache | None:
        """The objects of the kind that a reference names, in whatever version; None for a kind not known here."""
        group = api_version.rpartition("/")[0]
        return next(
            (cache for known, cache in self.caches.items() if (known.group, known.kind) == (group, kind)), None
        )


class Controller(ABC):
    """A kind's behaviour: which objects concern it, and what should be done about one of them."""

    name: str
    watches: tuple[Kind, ...]

    def concerns(self, kind: Kind) -> bool:
        """Whether changes of objects of that kind are to be looked at."""
        return kind in self.watches

    @abstractmethod
    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:
        """The objects of this controller that a change of `obj` concerns."""

    @abstractmethod
    def plan(self, key: Key, world: World) -> Plan:
        """What to do about one object. Pure: it reads the world and changes nothing."""

    def refused(self, key: Key, error: ApiError, world: World) -> Plan:  # noqa: ARG002, most have nothing to tell
        """What to tell people when the server refuses something that the controller creates."""
        return Plan()


class Runner:
    """One controller's queue of objects to look at. An object waits in it at most once."""

    def __init__(
        self,
        controller: Controller,
        performer: Performer,
        caches: Mapping[Kind, Cache],
        clock: Callable[[], datetime],
    ) -> None:
        self.controller = controller
        self._performer, self._caches, self._clock = performer, caches, clock
        self._waiting: dict[Key, None] = {}
        self._order: deque[Key] = deque()
        self._wake = asyncio.Event()
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}

    def changed(self, kind: Kind, obj: Json) -> None:
        """Note which objects a change concerns."""
        if self.controller.concerns(kind):
            for key in self.controller.keys(kind, obj, self._world()):
                self.add(key)

    def add(self, key: Key) -> None:
        """Have a look at this object soon."""
        if key not in self._waiting:
            self._waiting[key] = None
            self._order.append(key)
            self._wake.set()

    async def run(self) -> None:
        """Look at objects for ever."""
        while True:
            while self._order:
                key = self._order.popleft()
                del self._waiting[key]
                await self._look(key)
            self._wake.clear()
            await self._wake.wait()

    async def _look(self, key: Key) -> None:
        try:
            plan = self.controller.plan(key, self._world())
            failed = await self._perform(key, plan)
        except (aiohttp.ClientError, OSError, TimeoutError):
            failed = True
        except Exception:
            # one object that we mishandle must not stop the controller for all others
            log.exception("%s: cannot handle %s/%s", self.controller.name, *key)
            failed = True
        if failed:
            self._failures[key] = self._failures.get(key, 0) + 1
            self._later(key, delay(self._failures[key]))
            return
        self._failures.pop(key, None)
        if plan.again is not None:
            self._later(key, plan.again.total_seconds())

    async def _perform(self, key: Key, plan: Plan) -> bool:
        now = self._clock()
        outcome = await self._performer.perform(plan.changes, now)
        for kind, obj in outcome.written:
            if cache := self._caches.get(kind):
                cache.put(obj)
        for kind, obj in outcome.assumed:
            if cache := self._caches.get(kind):
                cache.assume(obj)
        for change, error in outcome.refused:
            if isinstance(change, Create) and error.code not in {409, 404}:
                # people look for the reason in the events of the owner
                await self._performer.perform(self._told(key, change, error).changes, now)
            elif error.code not in {404, 409}:
                log.warning("%s: %s/%s: %s", self.controller.name, *key, error)
        return bool(outcome.refused)

    def _told(self, key: Key, change: Create, error: ApiError) -> Plan:
        if change.otherwise is None:
            return self.controller.refused(key, error, self._world())
        return Plan([replace(change.otherwise, message=f"{change.otherwise.message}{error.message}")])

    def _later(self, key: Key, seconds: float) -> None:
        """Have a look after so long, unless there will be one before that."""
        loop = asyncio.get_running_loop()
        held = self._timers.get(key)
        if held and held.when() <= loop.time() + seconds:
            return
        if held:
            held.cancel()
        self._timers[key] = loop.call_later(seconds, self._ring, key)

    def _ring(self, key: Key) -> None:
        del self._timers[key]
        self.add(key)

    def _world(self) -> World:
        return World(self._caches, self._clock())
