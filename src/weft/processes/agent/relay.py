"""Configuration for Envoy: its xDS stream, carried to istiod and back as raw bytes."""

import logging
from collections.abc import AsyncIterator

import grpc

from weft.adapters.grpc_server import Peer, RefusedError, Server, Streaming, Write
from weft.adapters.istiod import Istiod, TroubleError

_log = logging.getLogger("weft.agent.relay")

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_METHODS = ("DeltaAggregatedResources", "StreamAggregatedResources")


class Relay:
    """Both kinds of stream, for the one Envoy beside us.

    When istiod ends a stream, Envoy's ends too: Envoy keeps its configuration and asks again.
    """

    def __init__(self, istiod: Istiod) -> None:
        self._istiod = istiod
        self._said = ""

    def register(self, server: Server) -> None:
        """Serve xDS on `server`."""
        for method in _METHODS:
            server.stream(_SERVICE, method, self._handler(f"/{_SERVICE}/{method}"))

    def _handler(self, path: str) -> Streaming:
        async def handle(requests: AsyncIterator[bytes], write: Write, _: Peer) -> None:
            try:
                async for message in self._istiod.stream(path, requests):
                    self._said = ""
                    await write(message)
            except TroubleError as error:
                if str(error) != self._said:
                    self._said = str(error)
                    _log.warning("the configuration stream ended, Envoy asks again: %s", error)
                raise RefusedError(grpc.StatusCode.UNAVAILABLE, str(error)) from error

        return handle
