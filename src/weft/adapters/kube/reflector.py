"""List and watch for ever: the state of one kind as a stream of changes, through every interruption."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import aiohttp
import msgspec

from weft.adapters.kube.client import ApiError, Kube, error_of, selectors
from weft.adapters.kube.kinds import Kind

T = TypeVar("T")

log = logging.getLogger(__name__)

_FIRST_DELAY, _LAST_DELAY = 0.1, 5.0


@dataclass(frozen=True, slots=True)
class Replaced(Generic[T]):
    """The whole state, after a list: what is not in it is gone."""

    objects: tuple[T, ...]


@dataclass(frozen=True, slots=True)
class Applied(Generic[T]):
    """An object that is new or changed."""

    object: T


@dataclass(frozen=True, slots=True)
class Deleted(Generic[T]):
    """An object that is gone, in its last state."""

    object: T


Change = Replaced[T] | Applied[T] | Deleted[T]


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Meta(msgspec.Struct):
    metadata: dict[str, Any]


class _List(msgspec.Struct):
    metadata: dict[str, Any]
    items: list[msgspec.Raw] | None = None


async def reflect(
    kube: Kube,
    kind: Kind,
    *,
    decode: type[T],
    namespace: str = "",
    labels: str = "",
    fields: str = "",
) -> AsyncIterator[Change[T]]:
    """Yield the state, then its changes. Objects are decoded into `decode` (a msgspec struct, or dict).

    Resumes where it was after a broken connection; after 410 it lists again (API concepts: efficient detection
    of changes). An object that does not decode is passed over. Never ends by itself;
    the consumer's pace is the only buffer.
    """
    path, query = kind.path(namespace), selectors(labels, fields)
    decoder = msgspec.json.Decoder(decode)
    revision, delay = "", _FIRST_DELAY
    while True:
        try:
            if not revision:
                revision, objects = await _list(kube, path, query, decoder)
                yield Replaced(objects)
            async for held, change in _watch(kube, path, query, revision, decoder):
                revision, delay = held, _FIRST_DELAY
                if change is not None:
                    yield change
        except ApiError as error:
            if error.code == 410:
                revision = ""
                continue
        except (aiohttp.ClientError, OSError, TimeoutError):
            pass
        else:
            delay = _FIRST_DELAY  # the server ended the watch, as it does every few minutes
        await asyncio.sleep(delay)
        delay = min(delay * 2, _LAST_DELAY)


async def _list(
    kube: Kube, path: str, query: dict[str, str], decoder: msgspec.json.Decoder[Any]
) -> tuple[str, tuple[Any, ...]]:
    answer = msgspec.json.decode(await kube.fetch(path, query), type=_List)
    objects = [_read(decoder, item, path) for item in answer.items or ()]
    return str(answer.metadata["resourceVersion"]), tuple(obj for obj in objects if obj is not None)


def _read(decoder: msgspec.json.Decoder[Any], raw: msgspec.Raw, path: str) -> Any:
    """The object; None, and a line in the log, for one that we cannot read: the others are not its fault."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        log.warning("%s: an object is passed over, since it cannot be read: %s", path, error)
        return None


async def _watch(
    kube: Kube, path: str, query: dict[str, str], revision: str, decoder: msgspec.json.Decoder[Any]
) -> AsyncIterator[tuple[str, Change[Any] | None]]:
    watch = query | {"watch": "true", "resourceVersion": revision, "allowWatchBookmarks": "true"}
    async for line in kube.lines(path, watch):
        event = msgspec.json.decode(line, type=_Event)
        if event.type == "ERROR":
            raise error_of(500, bytes(event.object))
        held = str(msgspec.json.decode(event.object, type=_Meta).metadata["resourceVersion"])
        obj = None if event.type == "BOOKMARK" else _read(decoder, event.object, path)
        if obj is None:
            yield held, None
        else:
            yield held, Deleted(obj) if event.type == "DELETED" else Applied(obj)
