"""The cluster's DNS on one node: UDP and TCP on the node's address, names from the API server's services."""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from typing import cast

from aiohttp import web

from weft.adapters.kube.client import Kube
from weft.cluster.network import dns_messages
from weft.cluster.network.directory import Directory, Picture
from weft.cluster.network.dns_messages import Query
from weft.cluster.network.dns_zone import Absent, Elsewhere, Zone
from weft.cluster.network.upstream import Place, ask_tcp, ask_udp, here

_LOG = logging.getLogger(__name__)

PORT, METRICS_PORT = 53, 9153
_UPSTREAM_SECONDS = 2.0
_IDLE_SECONDS = 10.0


async def run(
    kube: Kube,
    bind_ip: str,
    upstreams: Sequence[str] = (),
    *,
    place: Place = here,
    directory: Directory | None = None,
    domain: str = "cluster.local",
    port: int = PORT,
    metrics_port: int = METRICS_PORT,
) -> None:
    """Answer for ever. `upstreams` (IPv4 addresses) are asked about other names; without any those are refused.

    They are asked from the network namespace that `place` names.
    A `directory` that something else runs is shared; without one, this follows the API server itself.
    """
    own = directory or Directory()
    resolver = Resolver(own, upstreams, domain=domain, place=place)
    async with asyncio.TaskGroup() as group:
        if directory is None:
            group.create_task(own.run(kube))
        group.create_task(serve(resolver, bind_ip, port))
        group.create_task(_serve_metrics(resolver, bind_ip, metrics_port))


class Resolver:
    """Answers queries from the latest picture, and counts them."""

    def __init__(
        self,
        directory: Directory,
        upstreams: Sequence[str] = (),
        *,
        domain: str = "cluster.local",
        place: Place = here,
    ) -> None:
        self._directory, self._upstreams, self.domain = directory, tuple(upstreams), domain
        self._place = place
        self._picture: Picture | None = None
        self._zone = Zone(Picture(), domain)
        self.requests: Counter[tuple[str, str]] = Counter()
        self.responses: Counter[str] = Counter()

    async def resolve(self, data: bytes, protocol: str) -> bytes | None:
        """The bytes that answer these bytes; None where there is nothing to say."""
        match dns_messages.parse(data):
            case Query() as query:
                self.requests[protocol, query.kind] += 1
                reply = await self._answer(query, data, tcp=protocol == "tcp")
                if protocol == "udp":
                    reply = dns_messages.for_udp(query, reply)
            case bytes() as reply:
                self.requests[protocol, "other"] += 1
            case None:
                return None
        self.responses[dns_messages.rcode_name(reply)] += 1
        return reply

    async def _answer(self, query: Query, data: bytes, *, tcp: bool) -> bytes:
        if not self._directory.complete:
            # not yet known is not absent: clients ask again
            return dns_messages.respond(query, None, rcode=dns_messages.SERVFAIL)
        answer = self._current().answer(query.name, query.kind)
        if isinstance(answer, Elsewhere) and self._upstreams:
            asked = dns_messages.onward(query, answer.name) if answer.records else data
            forwarded = await self._forward(asked, tcp=tcp)
            if forwarded is None:
                return dns_messages.respond(query, None, rcode=dns_messages.SERVFAIL)
            return dns_messages.joined(query, answer.records, forwarded) if answer.records else forwarded
        if isinstance(answer, Elsewhere) and not answer.records and "." not in query.name:
            # the last that a search list tries: refused, programs would take it for a passing trouble
            return dns_messages.respond(query, Absent())
        return dns_messages.respond(query, answer, domain=self.domain)

    def _current(self) -> Zone:
        if self._picture is not self._directory.picture:
            self._picture = self._directory.picture
            self._zone = Zone(self._picture, self.domain)
        return self._zone

    async def _forward(self, data: bytes, *, tcp: bool) -> bytes | None:
        # who asks by TCP wants all of it; who asks by UDP hears that it was too long
        ask = ask_tcp if tcp else ask_udp
        for upstream in self._upstreams:
            try:
                async with asyncio.timeout(_UPSTREAM_SECONDS):
                    return await ask((upstream, PORT), data, self._place)
            except (TimeoutError, OSError) as error:
                _LOG.warning("upstream %s: %s", upstream, error or "no answer")
        return None


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, resolver: Resolver, tasks: set[asyncio.Task[None]]) -> None:
        self._resolver, self._tasks = resolver, tasks
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        task = asyncio.get_running_loop().create_task(self._reply(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reply(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            reply = await self._resolver.resolve(data, "udp")
        except Exception:  # noqa: BLE001 -- logged with its trace
            # one strange packet must not end the resolver; the trace shows which of our lines was wrong
            _LOG.exception("a query of %d bytes from %s", len(data), addr[0])
            return
        if reply and self._transport and not self._transport.is_closing():
            self._transport.sendto(reply, addr)


async def serve(resolver: Resolver, bind_ip: str, port: int) -> None:
    """Listen on UDP and TCP until cancelled."""
    tasks: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(resolver, tasks), local_addr=(bind_ip, port))
    try:
        server = await asyncio.start_server(lambda r, w: _tcp(resolver, r, w), bind_ip, port)
        async with server:
            await server.serve_forever()
    finally:
        transport.close()


async def _tcp(resolver: Resolver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Queries on one connection, each with its length before it (RFC 7766), until it is idle too long."""
    try:
        while True:
            async with asyncio.timeout(_IDLE_SECONDS):
                length = int.from_bytes(await reader.readexactly(2), "big")
                data = await reader.readexactly(length)
            reply = await resolver.resolve(data, "tcp")
            if reply is None:
                return
            writer.write(len(reply).to_bytes(2, "big") + reply)
            await writer.drain()
    except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
        return
    except Exception:  # noqa: BLE001 -- logged with its trace
        _LOG.exception("a query by TCP")
    finally:
        writer.close()


async def _serve_metrics(resolver: Resolver, bind_ip: str, port: int) -> None:
    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=exposition(resolver), content_type="text/plain")

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, bind_ip, port).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def exposition(resolver: Resolver) -> str:
    """The counters as Prometheus text, by CoreDNS's names, which dashboards know."""
    lines = ["# TYPE coredns_dns_requests_total counter"]
    lines += [
        f'coredns_dns_requests_total{{proto="{protocol}",type="{kind}"}} {count}'
        for (protocol, kind), count in sorted(resolver.requests.items())
    ]
    lines.append("# TYPE coredns_dns_responses_total counter")
    lines += [
        f'coredns_dns_responses_total{{rcode="{rcode}"}} {count}'
        for rcode, count in sorted(resolver.responses.items())
    ]
    return "\n".join(lines) + "\n"
