"""The store: every revision of every object, in SQLite, and the current ones in memory.

A write is decided at once against what is pending, then written by a thread together with whatever else waits
(one commit, one fsync), and only then acknowledged, shown to readers and told to watchers. So what a client has
seen survives a crash.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from weft.cluster.apiserver.history import History, StoreError

_log = logging.getLogger(__name__)
T = TypeVar("T")
RECENT = 4096
"""Changes kept in memory for watches that resume; older ones are read from the database."""
QUEUE = 8192
"""Changes that one watcher may lag behind before it is cut off."""
QUEUE_BYTES = 16 * 1024 * 1024
"""Bytes of objects in them."""


class Key(NamedTuple):
    """What an object is stored under. `resource` is `group/plural`, with an empty group for the core."""

    resource: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Row:
    """One version of an object: JSON bytes whose `metadata.resourceVersion` is `revision`."""

    key: Key
    revision: int
    raw: bytes

    def decode(self) -> dict[str, Any]:
        """A fresh copy of the object."""
        obj: dict[str, Any] = msgspec.json.decode(self.raw)
        return obj


@dataclass(frozen=True, slots=True)
class Change:
    """A step in history: `row` as it became (or last was, if `deleted`) and `before`, where there was one."""

    row: Row
    before: Row | None
    deleted: bool

    @property
    def type(self) -> str:
        """`ADDED`, `MODIFIED` or `DELETED`."""
        if self.deleted:
            return "DELETED"
        return "MODIFIED" if self.before else "ADDED"


class ExistsError(Exception):
    """The key is taken."""


class MissingError(Exception):
    """There is nothing under the key."""


class ConflictError(Exception):
    """The object has another revision than the one expected."""


class CompactedError(Exception):
    """History no longer reaches back to the revision asked for."""


class LaggedError(Exception):
    """A watcher fell too far behind; it has had every change up to here, and may go on from there anew."""


class FutureError(Exception):
    """The revision asked for has not happened yet."""


@dataclass(slots=True)
class _Pending:
    change: Change
    done: asyncio.Future[None]


class Subscription:
    """The changes of one resource after a revision, in order; for a reader too slow they end in LaggedError."""

    def __init__(self, resource: str, namespace: str) -> None:
        self.resource = resource
        self.namespace = namespace
        self._queue: deque[Change] = deque()
        self._bytes = 0
        self._ready = asyncio.Event()
        self._cut = False

    def wants(self, key: Key) -> bool:
        """Whether a change of this key belongs to the subscription."""
        return key.resource == self.resource and self.namespace in {"", key.namespace}

    def put(self, change: Change) -> None:
        """Hand over a change; never blocks."""
        self._cut = self._cut or len(self._queue) >= QUEUE or self._bytes >= QUEUE_BYTES
        if not self._cut:
            self._queue.append(change)
            self._bytes += len(change.row.raw)
        self._ready.set()

    def begin(self, backlog: Iterable[Change]) -> None:
        """Put what happened before the subscription in front of what it has heard since."""
        self._queue.extendleft(change for change in reversed(list(backlog)) if self.wants(change.row.key))
        if self._queue:
            self._ready.set()

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be taken, so that the reader has all that there is."""
        return not self._queue

    async def take(self) -> list[Change]:
        """Every change that waits; waits for at least one."""
        await self._ready.wait()
        if not self._queue:
            raise LaggedError
        changes = list(self._queue)
        self._queue.clear()
        self._bytes = 0
        if not self._cut:
            self._ready.clear()
        return changes


class Store:
    """All objects of the cluster. Use `open_store`; every method belongs to one event loop."""

    def __init__(
        self, history: History, rows: dict[Key, Row], revision: int, executor: ThreadPoolExecutor
    ) -> None:
        self._history = history
        self._executor = executor
        self._visible: dict[str, dict[Key, Row]] = {}
        for key, row in rows.items():
            self._visible.setdefault(key.resource, {})[key] = row
        self._pending: dict[Key, _Pending] = {}
        self._waiting: list[_Pending] = []
        self._wake = asyncio.Event()
        self._revision = revision
        self._next = revision
        self._recent: deque[Change] = deque(maxlen=RECENT)
        self._recent_from = revision
        self._subscriptions: dict[str, set[Subscription]] = {}
        self._settled = asyncio.Condition()

    @property
    def revision(self) -> int:
        """The newest revision that readers can see."""
        return self._revision

    @property
    def floor(self) -> int:
        """The oldest revision that history reaches back to."""
        return self._history.floor

    def get(self, key: Key) -> Row | None:
        """The object under the key, if there is one."""
        return self._visible.get(key.resource, {}).get(key)

    def rows(self, resource: str, namespace: str = "") -> list[Row]:
        """The current objects, by namespace and name."""
        found = self._visible.get(resource, {})
        return [found[key] for key in sorted(found) if namespace in {"", key.namespace}]

    def count(self, resource: str) -> int:
        """How many objects the resource has."""
        return len(self._visible.get(resource, {}))

    async def list_at(self, resource: str, namespace: str, revision: int) -> list[Row]:
        """The objects as they were at an earlier revision. Raises CompactedError or FutureError."""
        if revision == self._revision:
            return self.rows(resource, namespace)
        if revision > self._revision:
            raise FutureError
        if revision < self._history.floor:
            raise CompactedError
        found = await self._in_thread(lambda: self._history.at(resource, namespace, revision))
        return [Row(Key(*record[:3]), record[3], record[4]) for record in found]

    async def create(self, key: Key, obj: dict[str, Any]) -> Row:
        """Write a new object; sets its resourceVersion. Raises ExistsError."""
        if self._latest(key) is not None:
            raise ExistsError
        return await self._write(key, obj, None, deleted=False)

    async def update(self, key: Key, obj: dict[str, Any], expected: int) -> Row:
        """Replace an object whose revision is `expected`. Raises MissingError or ConflictError."""
        before = self._expect(key, expected)
        return await self._write(key, obj, before, deleted=False)

    async def delete(self, key: Key, obj: dict[str, Any], expected: int) -> Row:
        """Remove an object whose revision is `expected`; `obj` is its last state. Raises as `update`."""
        before = self._expect(key, expected)
        return await self._write(key, obj, before, deleted=True)

    async def settled(self, key: Key) -> None:
        """Wait until no write of this key is under way."""
        while pending := self._pending.get(key):
            await asyncio.wait([pending.done])

    async def subscribe(self, resource: str, namespace: str, since: int) -> Subscription:
        """Changes after revision `since`. Raises CompactedError where history does not reach back so far."""
        if since > self._revision:
            await self._until(since)
        if since < self._history.floor:
            raise CompactedError
        live = Subscription(resource, namespace)
        now = self._revision
        self._subscriptions.setdefault(resource, set()).add(live)
        try:
            backlog = await self._between(resource, since, now)
        except BaseException:
            self.unsubscribe(live)
            raise
        live.begin(backlog)
        return live

    def unsubscribe(self, subscription: Subscription) -> None:
        """Stop telling this subscription."""
        self._subscriptions.get(subscription.resource, set()).discard(subscription)

    async def run(self) -> None:
        """Write what waits, batch by batch, for ever. A cancelled run finishes the batch in hand."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.shield(asyncio.ensure_future(self._flush()))

    async def finish(self) -> None:
        """Write whatever still waits; for the end, when nobody calls `run` any more."""
        while self._waiting:
            await self._flush()

    async def _until(self, revision: int) -> None:
        if revision > self._next:
            raise FutureError
        async with self._settled:
            await self._settled.wait_for(lambda: self._revision >= revision)

    async def _between(self, resource: str, since: int, until: int) -> list[Change]:
        if since >= self._recent_from:
            return [c for c in self._recent if since < c.row.revision <= until and c.row.key.resource == resource]
        found = await self._in_thread(lambda: self._history.between(resource, since, until))
        changes = []
        for namespace, name, revision, deleted, raw, previous in found:
            key = Key(resource, namespace, name)
            before = Row(key, *previous) if previous else None
            changes.append(Change(Row(key, revision, raw), before, bool(deleted)))
        return changes

    def _latest(self, key: Key) -> Row | None:
        if pending := self._pending.get(key):
            return None if pending.change.deleted else pending.change.row
        return self.get(key)

    def _expect(self, key: Key, expected: int) -> Row:
        latest = self._latest(key)
        if latest is None:
            raise MissingError
        if latest.revision != expected:
            raise ConflictError
        return latest

    async def _write(self, key: Key, obj: dict[str, Any], before: Row | None, *, deleted: bool) -> Row:
        self._next += 1
        obj["metadata"]["resourceVersion"] = str(self._next)
        row = Row(key, self._next, msgspec.json.encode(obj))
        pending = _Pending(Change(row, before, deleted), asyncio.get_running_loop().create_future())
        self._pending[key] = pending
        self._waiting.append(pending)
        self._wake.set()
        await asyncio.shield(pending.done)
        return row

    async def _flush(self) -> None:
        batch, self._waiting = self._waiting, []
        if not batch:
            return  # a write that came between waking and taking went along with the last batch
        records = [(p.change.row.revision, *p.change.row.key, p.change.deleted, p.change.row.raw) for p in batch]
        try:
            await self._in_thread(lambda: self._history.append(records))
        except Exception as error:  # noqa: BLE001 - a writer that died would leave every later write waiting
            self._give_up(batch, error)
            return
        for pending in batch:
            self._publish(pending)
        async with self._settled:
            self._settled.notify_all()
        if self._history.due:
            try:
                await self._in_thread(self._history.tidy)
            except Exception:  # noqa: BLE001 - nothing is lost: the next batch tries again
                _log.warning("the store's history cannot be compacted", exc_info=True)

    def _publish(self, pending: _Pending) -> None:
        change = pending.change
        key = change.row.key
        rows = self._visible.setdefault(key.resource, {})
        if change.deleted:
            rows.pop(key, None)
        else:
            rows[key] = change.row
        self._revision = change.row.revision
        if len(self._recent) == RECENT:
            self._recent_from = self._recent[0].row.revision
        self._recent.append(change)
        for subscription in self._subscriptions.get(key.resource, ()):
            if subscription.wants(key):
                subscription.put(change)
        self._forget(pending)
        if not pending.done.done():
            pending.done.set_result(None)

    def _give_up(self, batch: list[_Pending], error: Exception) -> None:
        # Later writes were decided on top of these, so they fall with them.
        for pending in [*batch, *self._waiting]:
            self._forget(pending)
            if not pending.done.done():
                pending.done.set_exception(StoreError(f"the store cannot be written: {error}"))
        self._waiting = []

    def _forget(self, pending: _Pending) -> None:
        if self._pending.get(pending.change.row.key) is pending:
            del self._pending[pending.change.row.key]

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


@asynccontextmanager
async def open_store(path: Path | str, keep: int = 10_000) -> AsyncIterator[Store]:
    """Open (or make) the database and write in the background until the block ends.

    Args:
        path: the SQLite file; `:memory:` for one that is forgotten.
        keep: how many revisions of history are kept for watches and continued lists.
    """
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
    loop = asyncio.get_running_loop()
    history = await loop.run_in_executor(executor, lambda: History(path, keep))
    try:
        current = await loop.run_in_executor(executor, history.current)
        rows = {Key(*record[:3]): Row(Key(*record[:3]), record[3], record[4]) for record in current}
        store = Store(history, rows, history.revision, executor)
        # a writer that fails ends the block: nobody may wait for ever for an acknowledgement that cannot come
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(store.run(), name="store-writer")
            try:
                yield store
            finally:
                writer.cancel()
                await asyncio.wait([writer])
        await store.finish()
    finally:
        await loop.run_in_executor(executor, history.close)
        executor.shutdown()
