"""The parts put together: one API server, from its files to its listening sockets."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address
from pathlib import Path

import aiohttp
from aiohttp import web

from weft.cluster.apiserver import bootstrap, upkeep
from weft.cluster.apiserver.admission.chain import Admission
from weft.cluster.apiserver.admission.quota import QuotaGate
from weft.cluster.apiserver.admission.webhooks import Webhooks
from weft.cluster.apiserver.authentication import Authentication, server_context
from weft.cluster.apiserver.authorization import Authorization
from weft.cluster.apiserver.cel import authorizer
from weft.cluster.apiserver.cluster import Cluster
from weft.cluster.apiserver.conversion import Conversion
from weft.cluster.apiserver.deleting import Deleting
from weft.cluster.apiserver.evictions import Evictions
from weft.cluster.apiserver.issuer import Issuer
from weft.cluster.apiserver.kubelets import Kubelets
from weft.cluster.apiserver.loadbalancers import Balancers, Range
from weft.cluster.apiserver.patching import Patching
from weft.cluster.apiserver.rest import connection
from weft.cluster.apiserver.rest.about import About
from weft.cluster.apiserver.rest.below import Subresources
from weft.cluster.apiserver.rest.proxies import Proxies
from weft.cluster.apiserver.rest.resources import Resources
from weft.cluster.apiserver.rest.server import Server
from weft.cluster.apiserver.rest.usage import Usage
from weft.cluster.apiserver.schemas import Schemas
from weft.cluster.apiserver.scheme import Scheme
from weft.cluster.apiserver.serviceips import ServiceAddresses
from weft.cluster.apiserver.store import open_store
from weft.cluster.apiserver.tokens import Tokens
from weft.cluster.apiserver.webhookclient import Caller
from weft.cluster.apiserver.world import World
from weft.cluster.apiserver.writing import Writing

_GRACE = 0.3
"""Seconds that requests under way get when the server ends."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the server's files are, where it listens and which addresses it gives to Services."""

    home: Path
    binds: Sequence[tuple[str, int]]
    service_cidr: IPv4Network
    load_balancers: Range | None = None
    """Addresses for Services of type LoadBalancer; without it they stay pending."""

    def pki(self, name: str) -> Path:
        """A file of the cluster's keys and certificates."""
        return self.home / "pki" / name


@asynccontextmanager
async def serve(settings: Settings, world: World) -> AsyncIterator[Server]:
    """Serve until the block ends. OSError where an address is taken or a file is missing."""
    async with open_store(settings.home / "store.db") as store, aiohttp.ClientSession(trust_env=False) as session:
        cluster = Cluster(
            store,
            Scheme(Schemas.bundled(), clock=world.spent),
            ServiceAddresses(settings.service_cidr, world.chance),
            world,
        )
        server = _assemble(settings, cluster, session)
        writing = server.resources.writing
        for row in store.rows("apiextensions.k8s.io/customresourcedefinitions"):
            writing.serve(row.decode())
        cluster.addresses.restore(row.decode() for row in store.rows("/services"))
        await bootstrap.run(cluster, writing, settings.service_cidr, _reachable(settings.binds))
        runner = web.AppRunner(server.app(), handler_cancellation=True, shutdown_timeout=_GRACE)
        await runner.setup()
        balancers = Balancers(settings.load_balancers) if settings.load_balancers else None
        keeper = asyncio.create_task(upkeep.run(cluster, server.resources.deleting, balancers), name="upkeep")
        try:
            context = server_context(
                *(str(settings.pki(name)) for name in ("apiserver.crt", "apiserver.key", "ca.crt"))
            )
            async with AsyncExitStack() as listening:
                for host, port in settings.binds:
                    await listening.enter_async_context(connection.listen(runner, host, port, context))
                yield server
        finally:
            keeper.cancel()
            await asyncio.wait([keeper])
            await runner.cleanup()


def _reachable(binds: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """The addresses that pods can reach: all but loopback."""
    return [(host, port) for host, port in binds if not ip_address(host).is_loopback]


def _assemble(settings: Settings, cluster: Cluster, session: aiohttp.ClientSession) -> Server:
    authorization = Authorization(cluster)
    caller = Caller(session)
    conversion = Conversion(cluster, caller)
    admission = Admission(cluster, Webhooks(cluster, caller, conversion), authorization, QuotaGate(cluster))
    writing = Writing(cluster, admission, conversion)
    deleting = Deleting(cluster, writing)
    resources = Resources(cluster, writing, Patching(cluster, writing), deleting)
    tokens = Tokens.load(cluster, settings.pki("sa.key").read_bytes())
    cluster.scheme.cel.extra = authorizer.signatures(authorization)
    to_kubelets = _kubelet_context(settings)
    kubelets = Kubelets(cluster, to_kubelets)
    return Server(
        cluster=cluster,
        authentication=Authentication(tokens),
        authorization=authorization,
        resources=resources,
        below=Subresources(cluster, resources, tokens, authorization, kubelets, Evictions(cluster, deleting)),
        about=About(cluster, Issuer(tokens.key)),
        proxies=Proxies(cluster, to_kubelets),
        usage=Usage(cluster, kubelets),
    )


def _kubelet_context(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(settings.pki("ca.crt")))
    context.load_cert_chain(settings.pki("apiserver-client.crt"), settings.pki("apiserver-client.key"))
    return context
