"""Secret discovery for the Envoy beside us: its certificate and the roots it trusts, pushed when they change."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Protocol

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2

from weft.adapters.grpc_server import Peer, Server, Write
from weft.xds.resource import SECRET, Resource

SERVICE = "envoy.service.secret.v3.SecretDiscoveryService"

_log = logging.getLogger("weft.agent.sds")
_xds: Any = discovery_pb2


class Secrets:
    """The secrets there are now, which are asked for, and word of both as they change."""

    def __init__(self) -> None:
        self._held: Mapping[str, Resource] = {}
        self._changed = asyncio.Event()
        self._asked = asyncio.Event()
        self._heard = asyncio.Event()
        self._clients: set[_Dialect] = set()
        self.names: frozenset[str] = frozenset()

    def ask(self, names: Iterable[str]) -> None:
        """Envoy wants these; who can provide them hears of it."""
        if new := frozenset(names) - self.names:
            self.names |= new
            self._asked.set()
            self._asked = asyncio.Event()

    @property
    def asked(self) -> asyncio.Event:
        """Set once, when a name is asked for that was not before."""
        return self._asked

    def publish(self, *secrets: Resource) -> None:
        """Put secrets in place of those of the same names; streams hear of it."""
        self._held = {**self._held, **{each.name: each for each in secrets}}
        self._changed.set()
        self._changed = asyncio.Event()

    async def taken(self, name: str) -> None:
        """Wait until all who ask for a secret have confirmed it as it is now."""
        while not all(self._has(client, name) for client in self._clients):
            await self._heard.wait()

    def _has(self, client: "_Dialect", name: str) -> bool:
        held = self._held.get(name)
        return held is None or name not in client.names or client.taken.get(name) == held.version

    def joined(self, client: "_Dialect") -> None:
        """Somebody asks for secrets from now on."""
        self._clients.add(client)

    def heard(self) -> None:
        """Somebody has confirmed something, or has gone."""
        self._heard.set()
        self._heard = asyncio.Event()

    def left(self, client: "_Dialect") -> None:
        """Somebody is gone."""
        self._clients.discard(client)
        self.heard()

    @property
    def changed(self) -> asyncio.Event:
        """Set once, at the next change."""
        return self._changed

    def select(self, names: Iterable[str]) -> list[Resource]:
        """Those of `names` that there are."""
        return [self._held[name] for name in names if name in self._held]


class _Dialect(Protocol):
    """One of the two ways to speak xDS."""

    @property
    def names(self) -> Iterable[str]:
        """What the client asks for."""
        ...

    @property
    def taken(self) -> Mapping[str, str]:
        """The versions that the client has confirmed, by name."""
        ...

    def hear(self, message: bytes) -> None:
        """Take a request."""

    def say(self, secrets: Secrets) -> bytes | None:
        """A response with what the client lacks, if it lacks something."""


def _packed(secret: Resource) -> any_pb2.Any:
    return any_pb2.Any(type_url=SECRET, value=secret.body)


def _report(request: Any) -> None:
    if request.HasField("error_detail"):
        _log.error("Envoy refuses a secret: %s", request.error_detail.message)


class _StateOfTheWorld:
    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.taken: dict[str, str] = {}
        self._sent: dict[str, str] = {}
        self._nonce = 0

    def hear(self, message: bytes) -> None:
        request = _xds.DiscoveryRequest.FromString(message)
        _report(request)
        if request.response_nonce and request.response_nonce != str(self._nonce):
            return  # stale nonce: ignore (xds_protocol, ACK/NACK)
        if request.response_nonce and not request.HasField("error_detail"):
            self.taken = dict(self._sent)
        before, self.names = self.names, tuple(request.resource_names)
        if set(self.names) - set(before):
            self._sent = {}

    def say(self, secrets: Secrets) -> bytes | None:
        held = secrets.select(self.names)
        versions = {each.name: each.version for each in held}
        if not held or versions == self._sent:
            return None
        self._sent = versions
        self._nonce += 1
        response = _xds.DiscoveryResponse(
            version_info="-".join(versions.values()),
            resources=[_packed(each) for each in held],
            type_url=SECRET,
            nonce=str(self._nonce),
        )
        encoded: bytes = response.SerializeToString()
        return encoded


class _Delta:
    def __init__(self) -> None:
        self.names: set[str] = set()
        self.taken: dict[str, str] = {}
        self._sent: dict[str, str] = {}
        self._nonce = 0

    def hear(self, message: bytes) -> None:
        request = _xds.DeltaDiscoveryRequest.FromString(message)
        _report(request)
        if request.response_nonce == str(self._nonce) and not request.HasField("error_detail"):
            self.taken = dict(self._sent)
        self._sent |= dict(request.initial_resource_versions)
        self.taken |= dict(request.initial_resource_versions)
        self.names -= set(request.resource_names_unsubscribe)
        self.names |= set(request.resource_names_subscribe)
        for name in request.resource_names_subscribe:
            # asking again is asking for an answer (xds_protocol, subscribing to resources)
            if name not in request.initial_resource_versions:
                self._sent.pop(name, None)

    def say(self, secrets: Secrets) -> bytes | None:
        new = [each for each in secrets.select(self.names) if self._sent.get(each.name) != each.version]
        if not new:
            return None
        self._sent |= {each.name: each.version for each in new}
        self._nonce += 1
        response = _xds.DeltaDiscoveryResponse(
            resources=[
                _xds.Resource(name=each.name, version=each.version, resource=_packed(each)) for each in new
            ],
            type_url=SECRET,
            nonce=str(self._nonce),
        )
        encoded: bytes = response.SerializeToString()
        return encoded


def register(server: Server, secrets: Secrets) -> None:
    """Serve the secrets on `server`, in both ways to speak xDS."""

    async def state(requests: AsyncIterator[bytes], write: Write, _: Peer) -> None:
        await _converse(_StateOfTheWorld(), requests, write, secrets)

    async def delta(requests: AsyncIterator[bytes], write: Write, _: Peer) -> None:
        await _converse(_Delta(), requests, write, secrets)

    server.stream(SERVICE, "StreamSecrets", state)
    server.stream(SERVICE, "DeltaSecrets", delta)


async def _converse(dialect: _Dialect, requests: AsyncIterator[bytes], write: Write, secrets: Secrets) -> None:
    """Answer requests and changes, whichever comes first, until the client leaves."""
    heard = asyncio.ensure_future(anext(requests, None))
    secrets.joined(dialect)
    try:
        while True:
            changed = asyncio.ensure_future(secrets.changed.wait())
            if response := dialect.say(secrets):
                await write(response)
            await asyncio.wait((heard, changed), return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
            if heard.done():
                message = heard.result()
                if message is None:
                    return
                dialect.hear(message)
                secrets.ask(dialect.names)
                secrets.heard()
                heard = asyncio.ensure_future(anext(requests, None))
    finally:
        heard.cancel()
        secrets.left(dialect)
