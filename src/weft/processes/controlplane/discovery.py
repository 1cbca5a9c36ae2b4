"""The discovery service: proxies connect, each gets its configuration, and changes as they come."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Generic, Protocol, TypeVar

import grpc

from weft.adapters.grpc_server import Peer, RefusedError, Server, Write
from weft.processes.controlplane import debugging
from weft.processes.controlplane.connection import SHORT, Client, Connection, Dialect
from weft.processes.controlplane.doorkeeper import Doorkeeper, Limits
from weft.processes.controlplane.identities import Caller, Identify
from weft.processes.controlplane.introductions import introduced
from weft.processes.controlplane.metrics import Metrics
from weft.xds import wire
from weft.xds.channel import Rejected
from weft.xds.resource import Resource, Resources
from weft.xds.sotw import FullStream
from weft.xds.stream import Stream
from weft.xds.wire import Encoder, WireError

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"

MERGE_WINDOW = 0.008
"""Seconds between batches: the first change goes out at once, what follows within this time goes together."""

HEALTH = b"type.googleapis.com/istio.v1.HealthInformation"
"""The type of a request that asks for nothing: it tells of a workload's health, an error being what it lacks."""

_YIELD_EVERY = 16
_LONGEST_LOGGED = 500

log = logging.getLogger("weft.ads")

S = TypeVar("S")


class SecretSource(Protocol):
    """Who has the secrets that proxies ask for; it gives them to the connection when it knows."""

    def ask(self, connection: Connection) -> None:
        """What the connection asks for has changed."""

    def leave(self, connection: Connection) -> None:
        """The connection is gone."""


class Presence(Protocol):
    """Whoever keeps account of the proxies that are connected. `connected` may raise RefusedError."""

    async def connected(self, client: Client) -> None:
        """A proxy has connected."""
        ...

    def disconnected(self, client: Client) -> None:
        """It is gone."""
        ...

    def reported(self, client: Client, trouble: str | None) -> None:
        """It says how its workload is; None: well."""
        ...


class Discovery(Generic[S]):
    """All proxies and the newest snapshot.

    `source` makes the snapshot of this moment; `configure` what one proxy is to have of it. A failing `configure`
    leaves that proxy with what it has, and all others unharmed. Nobody is answered before the first `changed`.
    `why_not` is why a proxy is not let in by what the snapshot knows, "" where it may come.
    """

    def __init__(
        self,
        *,
        source: Callable[[], S],
        configure: Callable[[S, Client], Resources],
        identify: Identify,
        metrics: Metrics,
        monotonic: Callable[[], float],
        secrets: SecretSource | None = None,
        presence: Presence | None = None,
        door: Doorkeeper | None = None,
        pages: debugging.Debugging | None = None,
        why_not: Callable[[S, Client], str] = lambda _snapshot, _client: "",
    ) -> None:
        self._why_not = why_not
        self._door = door or Doorkeeper(Limits(streams=1 << 20), monotonic)
        self._pages = pages
        self._presence = presence
        self._secrets = secrets
        self._source, self._configure, self._identify = source, configure, identify
        self._metrics, self._monotonic = metrics, monotonic
        self._delta = Dialect(Stream, wire.decode, Encoder().delta)
        self._full = Dialect(FullStream, wire.decode_full, wire.full)
        self._snapshot: S | None = None
        self._trust: Mapping[str, Resource] = {}
        self._dirty = asyncio.Event()
        self._changed_at = 0.0
        self.connections: set[Connection] = set()

    def serve(self, server: Server) -> None:
        """Register with a gRPC server."""
        server.stream(SERVICE, "DeltaAggregatedResources", partial(self._serve, self._delta))
        server.stream(SERVICE, "StreamAggregatedResources", partial(self._serve, self._full))

    def changed(self) -> None:
        """The source has something new."""
        if not self._dirty.is_set():
            self._changed_at = self._monotonic()
            self._dirty.set()

    async def trust(self, bundle: Resource) -> None:
        """Tell every proxy, and those that come, what to verify others with."""
        self._trust = {bundle.name: bundle}
        for index, connection in enumerate(list(self.connections)):
            if not connection.closed:
                connection.trust(self._trust)
            if index % _YIELD_EVERY == _YIELD_EVERY - 1:
                await asyncio.sleep(0)

    @property
    def is_trusted(self) -> bool:
        """Whether every proxy has said that it verifies others with what it was told last."""
        return all(connection.trusts for connection in self.connections)

    @property
    def is_ready(self) -> bool:
        """Whether there is a snapshot to serve from."""
        return self._snapshot is not None

    async def run(self, on_push: Callable[[], None] | None = None) -> None:
        """Push every change to every proxy that it concerns, for ever. `on_push` is called after each."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            pushed = await self._push()
            await asyncio.sleep(MERGE_WINDOW)
            if pushed and on_push is not None:
                on_push()

    def resources_of(self, name: str) -> Resources | None:
        """What the proxy `POD.NAMESPACE` is to have now; None if it is not connected here."""
        for connection in self.connections:
            if connection.client.name == name and self._snapshot is not None:
                return self._configure(self._snapshot, connection.client)
        return None

    async def _push(self) -> bool:
        began, changed_at = self._monotonic(), self._changed_at
        try:
            snapshot = self._source()
        except Exception:
            # proxies keep what they have; the next change tries again
            self._metrics.errors["snapshot"] += 1
            log.exception("the snapshot failed to build; proxies keep their configuration")
            return False
        if snapshot is self._snapshot:
            return False
        self._snapshot = snapshot
        concerned, waiting = 0, list(self.connections)
        for index, connection in enumerate(waiting):
            concerned += self._update(connection, changed_at)
            if index % _YIELD_EVERY == _YIELD_EVERY - 1:
                await asyncio.sleep(0)  # answers of the first proxies are read meanwhile
        if concerned:
            spent = (self._monotonic() - began) * 1000
            log.info("pushed to %d of %d proxies in %.1f ms", concerned, len(waiting), spent)
        return True

    def _update(self, connection: Connection, changed_at: float) -> bool:
        if self._snapshot is None or connection.closed:
            return False
        try:
            return connection.update(self._configure(self._snapshot, connection.client), changed_at)
        except Exception:
            # one proxy's trouble stays its own: it keeps what it has
            self._metrics.errors["proxy"] += 1
            log.exception("%s: the configuration failed to build; it keeps what it has", connection.client.name)
            return False

    async def _serve(self, dialect: Dialect, requests: AsyncIterator[bytes], write: Write, peer: Peer) -> None:
        caller = await self._identify(peer)
        with self._door.stream(caller, peer):
            await self._let_in(dialect, requests, write, peer, caller)

    async def _let_in(
        self,
        dialect: Dialect,
        requests: AsyncIterator[bytes],
        write: Write,
        peer: Peer,
        caller: Caller | None,
    ) -> None:
        iterator = aiter(requests)
        try:
            async with asyncio.timeout(self._door.limits.first):
                first = await anext(iterator)
            request, node = dialect.decode(first)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            said = "the first request did not come in time"
            raise RefusedError(grpc.StatusCode.DEADLINE_EXCEEDED, said) from error
        except WireError as error:
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        if self._pages and request.type_url == debugging.TYPE:
            # whoever asks for these is no proxy, and may be none of ours
            await write(dialect.encode(debugging.answer(self._pages, caller, request)))
            return
        client = introduced(node, caller, peer)
        if self._snapshot is not None and (reason := self._why_not(self._snapshot, client)):
            raise RefusedError(grpc.StatusCode.PERMISSION_DENIED, reason)
        if self._presence:
            await self._presence.connected(client)
        connection = Connection(
            client,
            dialect=dialect,
            metrics=self._metrics,
            monotonic=self._monotonic,
            rejected=_log_rejection,
            seeks_secrets=self._secrets is not None,
            trust=self._trust,
        )
        log.info("%s connected from %s", client.name, peer.address)
        self.connections.add(connection)
        reader = asyncio.create_task(self._read(iterator, connection))
        try:
            self._update(connection, self._monotonic())
            self._receive(connection, first)
            while (message := await connection.next_message()) is not None:
                await write(message)
        finally:
            self.connections.discard(connection)
            if self._secrets:
                self._secrets.leave(connection)
            if self._presence:
                self._presence.disconnected(client)
            connection.close()
            reader.cancel()
            log.info("%s disconnected", client.name)

    def _receive(self, connection: Connection, message: bytes) -> None:
        if HEALTH in message:
            if self._presence:
                self._presence.reported(connection.client, connection.trouble(message))
            return
        before = connection.asked_secrets
        connection.receive(message)
        if self._secrets and connection.asked_secrets != before:
            self._secrets.ask(connection)

    async def _read(self, requests: AsyncIterator[bytes], connection: Connection) -> None:
        pace = self._door.pace()
        try:
            async for message in requests:
                self._receive(connection, message)
                if wait := pace.take(self._monotonic(), connection.bill()):
                    await asyncio.sleep(wait)  # nothing is read meanwhile, so the proxy waits too
        except WireError as error:
            log.warning("%s is disconnected: %s", connection.client.name, error)
        except Exception:
            log.exception("%s is disconnected: its request could not be handled", connection.client.name)
        finally:
            connection.close()


def _log_rejection(client: Client, rejected: Rejected) -> None:
    kind = SHORT.get(rejected.type_url, rejected.type_url).upper()
    message = rejected.message[:_LONGEST_LOGGED]
    if rejected.held:
        log.warning("%s rejects %s %s: %s", client.name, kind, rejected.held, message)
    else:
        log.warning("%s rejects a %s response: %s", client.name, kind, message)
