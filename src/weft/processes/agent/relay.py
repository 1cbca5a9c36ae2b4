"""Configuration for Envoy: its xDS stream, carried to istiod and back as raw bytes."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import grpc

from weft.adapters.grpc_server import Peer, RefusedError, Server, Streaming, Write
from weft.adapters.istiod import Istiod, TroubleError
from weft.xds import protobuf

_log = logging.getLogger("weft.agent.relay")

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_DELTA, _FULL = "DeltaAggregatedResources", "StreamAggregatedResources"


_TYPE_URL = 4  # DeltaDiscoveryResponse.type_url


def type_of(response: bytes) -> str:
    """The type that a response is about. It is not decoded: those for Envoy can be large."""
    return protobuf.last_text(response, _TYPE_URL)


class Feed(Protocol):
    """A type of resources that the agent asks for itself."""

    type_url: str

    def opening(self) -> bytes:
        """What to ask on a new stream, once Envoy has introduced itself there."""
        ...

    async def take(self, message: bytes) -> bytes:
        """Take a response; the request that answers it."""
        ...


class Relay:
    """Both kinds of stream, for the one Envoy beside us; with feeds, more for ourselves on the delta kind.

    When istiod ends a stream, Envoy's ends too: Envoy keeps its configuration and asks again.
    """

    def __init__(self, istiod: Istiod, feeds: Sequence[Feed] = ()) -> None:
        self._istiod = istiod
        self._feeds = {feed.type_url: feed for feed in feeds}
        self._said = ""

    def register(self, server: Server) -> None:
        """Serve xDS on `server`."""
        server.stream(_SERVICE, _DELTA, self._handler(f"/{_SERVICE}/{_DELTA}", fed=bool(self._feeds)))
        server.stream(_SERVICE, _FULL, self._handler(f"/{_SERVICE}/{_FULL}", fed=False))

    def _handler(self, path: str, *, fed: bool) -> Streaming:
        async def handle(requests: AsyncIterator[bytes], write: Write, _: Peer) -> None:
            try:
                if fed:
                    await self._carry_and_feed(path, requests, write)
                else:
                    await self._carry(path, requests, write)
            except TroubleError as error:
                if str(error) != self._said:
                    self._said = str(error)
                    _log.warning("the configuration stream ended, Envoy asks again: %s", error)
                raise RefusedError(grpc.StatusCode.UNAVAILABLE, str(error)) from error

        return handle

    async def _carry(self, path: str, requests: AsyncIterator[bytes], write: Write) -> None:
        async for message in self._istiod.stream(path, requests):
            self._said = ""
            await write(message)

    async def _carry_and_feed(self, path: str, requests: AsyncIterator[bytes], write: Write) -> None:
        both = _Joined(requests, [feed.opening() for feed in self._feeds.values()])
        answers: set[asyncio.Task[None]] = set()

        async def answer(feed: Feed, message: bytes) -> None:
            both.add(await feed.take(message))

        try:
            async for message in self._istiod.stream(path, both.messages()):
                self._said = ""
                if feed := self._feeds.get(type_of(message)):
                    # Envoy's go on meanwhile: what is taken may have to be confirmed by it
                    task = asyncio.create_task(answer(feed, message))
                    answers.add(task)
                    task.add_done_callback(answers.discard)
                else:
                    await write(message)
        finally:
            both.close()
            for task in answers:
                task.cancel()


class _Joined:
    """Envoy's requests and ours as one stream; Envoy's first goes first, for it tells who we are."""

    def __init__(self, requests: AsyncIterator[bytes], openings: Sequence[bytes]) -> None:
        # not bounded: either side sends a request only after a response, or once for each type
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._pump = asyncio.ensure_future(self._take(requests, openings))

    def add(self, message: bytes) -> None:
        """Send this beside Envoy's requests."""
        self._queue.put_nowait(message)

    async def messages(self) -> AsyncIterator[bytes]:
        """All requests, until Envoy has no more."""
        while (message := await self._queue.get()) is not None:
            yield message

    def close(self) -> None:
        """Read no more of Envoy."""
        self._pump.cancel()

    async def _take(self, requests: AsyncIterator[bytes], openings: Sequence[bytes]) -> None:
        try:
            async for message in requests:
                self._queue.put_nowait(message)
                for opening in openings:
                    self._queue.put_nowait(opening)
                openings = ()
        finally:
            self._queue.put_nowait(None)
