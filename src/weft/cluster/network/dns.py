"""The cluster's DNS on one node: UDP and TCP on the node's address, names from the API server's services."""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence

from aiohttp import web

from weft.adapters.dns import messages, server
from weft.adapters.dns.answers import Absent, Elsewhere
from weft.adapters.dns.client import Place, ask_tcp, ask_udp, here
from weft.adapters.dns.messages import Query
from weft.adapters.kube.client import Kube
from weft.cluster.network.directory import Directory, Picture
from weft.cluster.network.dns_zone import Zone

_LOG = logging.getLogger(__name__)

PORT, METRICS_PORT = 53, 9153
_UPSTREAM_SECONDS = 2.0


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
        group.create_task(server.serve(resolver.resolve, bind_ip, port))
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
        match messages.parse(data):
            case Query() as query:
                self.requests[protocol, query.kind] += 1
                reply = await self._answer(query, data, tcp=protocol == "tcp")
                if protocol == "udp":
                    reply = messages.for_udp(query, reply)
            case bytes() as reply:
                self.requests[protocol, "other"] += 1
            case None:
                return None
        self.responses[messages.rcode_name(reply)] += 1
        return reply

    async def _answer(self, query: Query, data: bytes, *, tcp: bool) -> bytes:
        if not self._directory.complete:
            # not yet known is not absent: clients ask again
            return messages.respond(query, None, rcode=messages.SERVFAIL)
        answer = self._current().answer(query.name, query.kind)
        if isinstance(answer, Elsewhere) and self._upstreams:
            asked = messages.onward(query, answer.name) if answer.records else data
            forwarded = await self._forward(asked, tcp=tcp)
            if forwarded is None:
                return messages.respond(query, None, rcode=messages.SERVFAIL)
            return messages.joined(query, answer.records, forwarded) if answer.records else forwarded
        if isinstance(answer, Elsewhere) and not answer.records and "." not in query.name:
            # the last that a search list tries: refused, programs would take it for a passing trouble
            return messages.respond(query, Absent())
        return messages.respond(query, answer, domain=self.domain)

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
