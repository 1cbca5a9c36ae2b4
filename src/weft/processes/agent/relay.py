"""Configuration for Envoy: its xDS stream, carried to istiod and back as raw bytes."""

import asyncio
import logging
from collections.abc import AsyncIterator

import grpc

from weft.adapters.grpc_server import Peer, RefusedError, Server, Streaming, Write
from weft.adapters.istiod import Istiod, TroubleError
from weft.processes.agent.name_feed import NameFeed

_log = logging.getLogger("weft.agent.relay")

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_DELTA, _FULL = "DeltaAggregatedResources", "StreamAggregatedResources"


class Relay:
    """Both kinds of stream, for the one Envoy beside us; with a feed, names for ourselves on the delta kind.

    When istiod ends a stream, Envoy's ends too: Envoy keeps its configuration and asks again.
    """

    def __init__(self, istiod: Istiod, feed: NameFeed | None = None) -> None:
        self._istiod = istiod
        self._feed = feed
        self._said = ""

    def register(self, server: Server) -> None:
        """Serve xDS on `server`."""
        server.stream(_SERVICE, _DELTA, self._handler(f"/{_SERVICE}/{_DELTA}", self._feed))
        server.stream(_SERVICE, _FULL, self._handler(f"/{_SERVICE}/{_FULL}", None))

    def _handler(self, path: str, feed: NameFeed | None) -> Streaming:
        async def handle(requests: AsyncIterator[bytes], write: Write, _: Peer) -> None:
            try:
                if feed is None:
                    await self._carry(path, requests, write)
                else:
                    await self._carry_with_names(path, requests, write, feed)
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

    async def _carry_with_names(
        self, path: str, requests: AsyncIterator[bytes], write: Write, feed: NameFeed
    ) -> None:
        both = _Joined(requests, feed.opening())
        try:
            async for message in self._istiod.stream(path, both.messages()):
                self._said = ""
                if feed.is_about_names(message):
                    both.add(feed.take(message))
                else:
                    await write(message)
        finally:
            both.close()


class _Joined:
    """Envoy's requests and ours as one stream; Envoy's first goes first, for it tells who we are."""

    def __init__(self, requests: AsyncIterator[bytes], opening: bytes) -> None:
        # not bounded: either side sends a request only after a response, or once for each type
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._pump = asyncio.ensure_future(self._take(requests, opening))

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

    async def _take(self, requests: AsyncIterator[bytes], opening: bytes) -> None:
        try:
            async for message in requests:
                self._queue.put_nowait(message)
                if opening:
                    self._queue.put_nowait(opening)
                    opening = b""
        finally:
            self._queue.put_nowait(None)
