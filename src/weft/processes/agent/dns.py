"""The DNS server of a pod: names of the mesh from istiod's table, all others from the pod's own resolvers."""

import asyncio
import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from weft.adapters import resolv_conf
from weft.adapters.dns import messages, server
from weft.adapters.dns.answers import A, Aaaa, Cname, Found, Record
from weft.adapters.dns.client import ask_tcp, ask_udp
from weft.adapters.dns.messages import Query
from weft.adapters.dns.server import Transport
from weft.model.name_table import Located, Named, NameTable

_log = logging.getLogger("weft.agent.dns")

_RESOLVERS_PORT = 53
_LOOPBACK = "127.0.0.1"
_ROUNDS = 2
_MOST_TURNS = 8
_MOST_REMEMBERED = 4096
_KINDS = frozenset({"A", "AAAA"})


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to wait: for the first table, for one answer of a resolver, for all of them together."""

    table: float = 2.0
    answer: float = 1.5
    answers: float = 4.5  # clients give up after five


_USUAL = Patience()


class Dns:
    """Answers queries.

    Answers by UDP are remembered by the bytes that asked, number aside, until the table changes. Of several
    addresses another one comes first each time.
    """

    def __init__(
        self,
        namespace: str,
        domain: str,
        search: Sequence[str],
        resolvers: Sequence[tuple[str, int]],
        patience: Patience = _USUAL,
    ) -> None:
        self._patience = patience
        self._namespace, self._domain, self._search = namespace, domain, tuple(search)
        self._resolvers = tuple(resolvers)
        self._table: NameTable | None = None
        self._known = asyncio.Event()
        self._remembered: dict[bytes, Iterator[bytes]] = {}

    @classmethod
    def of_pod(cls, namespace: str, domain: str) -> "Dns":
        """For the pod that we run in, with the resolvers of its /etc/resolv.conf."""
        pod = resolv_conf.read()
        if not pod.nameservers:
            _log.warning("/etc/resolv.conf names no resolver: only names of the mesh are answered")
        resolvers = [(str(address), _RESOLVERS_PORT) for address in pod.nameservers]
        return cls(namespace, domain, pod.search, resolvers)

    async def serve(self, port: int) -> None:
        """Answer on loopback, where the pod's queries are redirected to, until cancelled."""
        await server.serve(self.resolve, _LOOPBACK, port, self.at_once)

    @property
    def is_ready(self) -> bool:
        """Whether istiod has told its names."""
        return self._table is not None

    def learn(self, infos: Sequence[Named]) -> None:
        """All names that there are now."""
        self._table = NameTable.of(infos, self._namespace, self._domain, self._search)
        self._remembered.clear()
        self._known.set()

    def at_once(self, data: bytes) -> bytes | None:
        """The answer to a datagram that is remembered."""
        turns = self._remembered.get(data[2:])
        return None if turns is None else data[:2] + next(turns)

    async def resolve(self, data: bytes, transport: Transport) -> bytes | None:
        """The answer to a message; None where there is nothing to say."""
        query = messages.parse(data)
        if not isinstance(query, Query):
            return query
        if not self.is_ready:
            await self._until_known()
        located = None if self._table is None else self._table.locate(query.name)
        if located is None or query.kind not in _KINDS:
            return await self._forward(query, data, transport, known=located is not None)
        if transport == "tcp":
            return messages.respond(query, _found(query, located, 0))
        turns = [
            messages.for_udp(query, messages.respond(query, _found(query, located, n))) for n in _turns(located)
        ]
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[data[2:]] = itertools.cycle(turn[2:] for turn in turns)
        return turns[0]

    async def _until_known(self) -> None:
        # a pod's first queries may come before istiod's first answer
        try:
            async with asyncio.timeout(self._patience.table):
                await self._known.wait()
        except TimeoutError:
            pass

    async def _forward(self, query: Query, data: bytes, transport: Transport, *, known: bool) -> bytes:
        reply = await self._ask_around(query, data, transport)
        if reply is None or (not self.is_ready and messages.rcode_name(reply) == "NXDOMAIN"):
            # not yet known is not absent: clients ask again
            return messages.respond(query, None, rcode=messages.SERVFAIL)
        if known and messages.rcode_name(reply) == "NXDOMAIN":
            # the resolver cannot know that the name exists, only without records of this type (RFC 2308, 2.2)
            return messages.respond(query, Found())
        return reply

    async def _ask_around(self, query: Query, data: bytes, transport: Transport) -> bytes | None:
        """The first good answer of a resolver; else what one said of its trouble; None where all are silent."""
        ask = ask_tcp if transport == "tcp" else ask_udp
        trouble: bytes | None = None
        try:
            async with asyncio.timeout(self._patience.answers):
                for resolver in self._resolvers * _ROUNDS:
                    try:
                        async with asyncio.timeout(self._patience.answer):
                            reply = await ask(resolver, data)
                    except (TimeoutError, OSError) as error:
                        _log.debug("resolver %s: %s", resolver[0], error or "no answer")
                        continue
                    if not messages.is_from(reply, query):
                        continue
                    if messages.rcode_name(reply) not in {"SERVFAIL", "REFUSED", "NOTIMP"}:
                        return reply
                    trouble = reply
        except TimeoutError:
            pass
        if trouble is None:
            _log.warning("no resolver answers about %s", query.name)
        return trouble


def _turns(located: Located) -> range:
    most = max(len(located.ipv4), len(located.ipv6), 1)
    return range(min(most, _MOST_TURNS))


def _found(query: Query, located: Located, turn: int) -> Found:
    """The records of the kind asked for, the one whose turn it is first."""
    alias: tuple[Record, ...] = ()
    if located.host != query.name and not located.host.startswith("*"):
        alias = (Cname(query.name, located.host),) if _is_expanded(query.name, located.host) else ()
    name = located.host if alias else query.name
    if query.kind == "A":
        return Found((*alias, *(A(name, each) for each in _turned(located.ipv4, turn))))
    return Found((*alias, *(Aaaa(name, each) for each in _turned(located.ipv6, turn))))


def _is_expanded(name: str, host: str) -> bool:
    """Whether a search list made `name` of `host`; short names are answered as themselves, as by cluster DNS."""
    return name.startswith(f"{host}.")


def _turned(addresses: tuple[str, ...], turn: int) -> tuple[str, ...]:
    return addresses[turn:] + addresses[:turn]
