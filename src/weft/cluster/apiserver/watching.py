"""Watching: the changes of a selection as events, resumed from any revision that is kept."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from weft.cluster.apiserver import errors
from weft.cluster.apiserver.cluster import Cluster, Obj
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.reading import Selection, page, too_large
from weft.cluster.apiserver.scheme import resource_of
from weft.cluster.apiserver.store import (
    Change,
    CompactedError,
    FutureError,
    LaggedError,
    Row,
    Store,
    Subscription,
)

BOOKMARK_SECONDS = 50.0
PIECE = 64 * 1024
"""Bytes of events that are written at once."""
INITIAL_END = "k8s.io/initial-events-end"
EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
Show = Callable[[Row], Awaitable[bytes]]
"""The JSON of an event's object."""


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How to watch. `since` is a revision; None means: begin with what is there."""

    since: int | None = None
    initial: bool = False
    bookmarks: bool = False
    seconds: float = 0.0


def line(kind: EventType, obj: bytes) -> bytes:
    """One event, as it goes over the wire."""
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), obj)


def _seen(selection: Selection, change: Change) -> EventType | None:
    """What a change is to those who see only the selection: an object may enter or leave it."""
    if selection.everything():
        return change.type  # type: ignore[return-value]  # one of the three
    now = not change.deleted and selection.takes(change.row)
    before = selection.takes(change.before)
    if now:
        return "MODIFIED" if before else "ADDED"
    return "DELETED" if before else None


def _bookmark(kind: Kind, revision: int, *, initial_end: bool) -> bytes:
    metadata: dict[str, Any] = {"resourceVersion": str(revision)}
    if initial_end:
        metadata["annotations"] = {INITIAL_END: "true"}
    return line(
        "BOOKMARK",
        msgspec.json.encode({"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}),
    )


def failure(error: errors.StatusError) -> bytes:
    """An error as the last event of a watch: the HTTP status has been sent long ago."""
    return line("ERROR", msgspec.json.encode(error.status()))


def _too_old(since: int, store: Store) -> errors.StatusError:
    return errors.expired(f"too old resource version: {since} ({store.floor})")


async def watch(
    cluster: Cluster, selection: Selection, options: WatchOptions, shown: Show
) -> AsyncIterator[bytes]:
    """Lines of events, some at a time, until `options.seconds` (0: no end) have passed or the watcher fell behind.

    Whoever fell behind goes on from the last revision they had, as after any end of a watch.
    """
    kind, store = selection.kind, cluster.store
    since, present = options.since, list[Row]()
    if since is None or options.initial:
        found = await page(cluster, selection)
        present, since = found.rows, found.revision
    try:
        subscription = await store.subscribe(resource_of(selection.kind), selection.namespace, since)
    except CompactedError:
        yield failure(_too_old(since, store))
        return
    except FutureError:
        yield failure(too_large(since, store.revision))
        return
    try:
        async for lines in _pieces(_added(present, shown)):
            yield lines
        if options.initial:
            yield _bookmark(kind, since, initial_end=True)
        async for lines in _live(subscription, selection, options, shown, store):
            yield lines
    except CompactedError:
        yield failure(_too_old(since, store))
    except LaggedError:
        return
    finally:
        store.unsubscribe(subscription)


async def _live(
    subscription: Subscription, selection: Selection, options: WatchOptions, shown: Show, store: Store
) -> AsyncIterator[bytes]:
    """Changes as they come, bookmarks while none come. Raises LaggedError if the reader lags too far."""
    loop = asyncio.get_running_loop()
    end = loop.time() + options.seconds if options.seconds else float("inf")
    while (left := end - loop.time()) > 0:
        try:
            async with asyncio.timeout(min(left, BOOKMARK_SECONDS)):
                changes = await subscription.take()
        except TimeoutError:
            if options.bookmarks and subscription.idle:
                yield _bookmark(selection.kind, store.revision, initial_end=False)
            continue
        async for lines in _pieces(_lines(selection, changes, shown)):
            yield lines


async def _pieces(lines: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Lines joined into pieces of some size: a slow reader has one of them in memory, not all."""
    piece, size = list[bytes](), 0
    async for each in lines:
        piece.append(each)
        size += len(each)
        if size >= PIECE:
            yield b"".join(piece)
            piece, size = [], 0
    if piece:
        yield b"".join(piece)


async def _added(present: list[Row], shown: Show) -> AsyncIterator[bytes]:
    for row in present:
        yield line("ADDED", await shown(row))


async def _lines(selection: Selection, changes: list[Change], shown: Show) -> AsyncIterator[bytes]:
    for change in changes:
        if kind := _seen(selection, change):
            yield line(kind, await shown(_last_seen(change, kind)))


def _last_seen(change: Change, kind: EventType) -> Row:
    """An object that leaves the selection is shown as it last was in it, at the revision of the change."""
    if kind != "DELETED" or change.deleted or change.before is None:
        return change.row
    obj: Obj = change.before.decode()
    obj["metadata"]["resourceVersion"] = str(change.row.revision)
    return Row(change.row.key, change.row.revision, msgspec.json.encode(obj))
