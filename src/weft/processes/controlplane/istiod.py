"""istiod, put together: watches, discovery, authority, webhooks."""

import asyncio
import contextlib
import gc
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, TypeVar

import aiohttp

from weft.adapters import clock, http_server
from weft.adapters.grpc_server import Server
from weft.adapters.jwks import KeyFetcher
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import CONFIGMAPS
from weft.base.problem import Problem
from weft.inject import webhook
from weft.inject.settings import InjectSettings, has_native_sidecars
from weft.model import analysis, credentials, request_authentication, validation
from weft.model.mesh_config import MeshConfig
from weft.model.request_authentication import KeySource
from weft.model.snapshot import Snapshot
from weft.model.store import Store
from weft.pki import messages
from weft.pki.succession import Trusted
from weft.processes.controlplane import http, syncz
from weft.processes.controlplane import settings as config
from weft.processes.controlplane.allocating import Allocator
from weft.processes.controlplane.authority import ServerCertificate
from weft.processes.controlplane.bundles import Bundles
from weft.processes.controlplane.configuring import Configurer
from weft.processes.controlplane.debugging import Debugging, Pages
from weft.processes.controlplane.discovery import Discovery
from weft.processes.controlplane.doorkeeper import Doorkeeper
from weft.processes.controlplane.events import Teller
from weft.processes.controlplane.identities import Identify, TokenReviewer
from weft.processes.controlplane.impersonation import NodeProxies
from weft.processes.controlplane.ingress_status import IngressStatus
from weft.processes.controlplane.introductions import claims_another
from weft.processes.controlplane.issuers import Issuers, Outlet
from weft.processes.controlplane.issuing import CertificateService, Issuer, OwnIssuer
from weft.processes.controlplane.keyring import Keyring
from weft.processes.controlplane.metrics import Metrics
from weft.processes.controlplane.problems import ProblemLog
from weft.processes.controlplane.registering import Registrar
from weft.processes.controlplane.registration_authority import RegistrationAuthority
from weft.processes.controlplane.settings import VERSION, Settings
from weft.processes.controlplane.succession import Keeper
from weft.processes.controlplane.trust import Trust
from weft.processes.controlplane.untainting import Untainting
from weft.processes.controlplane.watching import Watching
from weft.xds import encode
from weft.xds.generate import Generator
from weft.xds.resource import PROXY_CONFIG, Resource, Resources

log = logging.getLogger("weft.istiod")

T = TypeVar("T")


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    async with Kube(settings.access) as kube:
        mesh = config.mesh(await _when_reachable(lambda: _mesh_config(kube, settings.namespace)), settings)

        keeper = Keeper(
            kube,
            settings.namespace,
            settings.own_authority(mesh.trust_domain),
            told=lambda _: _spread(own, trust, bundles),
            confirmed=lambda: discovery.is_trusted and trust.is_everywhere,
            troubled=lambda: look(),  # noqa: PLW0108 -- it is not there yet
            lifetime=settings.issuing.lifetimes.longest,
        )
        await _when_reachable(keeper.load)
        metrics = Metrics()
        store = Store(settings.domain, mesh)
        reviewer = TokenReviewer(kube, lambda: store.trust_domains)
        door = Doorkeeper(settings.limits, time.monotonic)
        bundles = Bundles(lambda: keeper.trusted, lambda: store.mesh, lambda each: _tell(own, discovery, each))
        own = ServerCertificate(keeper, settings.server_names, lambda: bundles.now().trusted)

        def look() -> None:
            bundles.look()
            allocator.look()
            issuers.look()
            ingresses.look()
            problems.look()
            teller.look()

        def changed() -> None:
            # who verifies tokens without keys refuses them all: the first answers of issuers are waited for
            if discovery.is_ready or issuers.settled:
                discovery.changed()
            else:
                issuers.look()
            ingresses.look()  # an address of a gateway is news to Ingresses and to no proxy

        def put_keys(source: KeySource, keys: str | None) -> None:
            store.put_keys(source, keys)
            changed()

        def told() -> None:
            look()
            changed()

        keyring = Keyring(kube, look, settings.namespace)
        fetcher = KeyFetcher(settings.no_keys_from, config.EXTRA_ROOTS)
        issuers = Issuers(fetcher, store.key_sources, Outlet(put_keys, told), settings.keys_turn)
        pages = Pages(
            syncz=lambda: syncz.syncz(discovery.connections, istiod=settings.name),
            dump=lambda proxy: _dump(discovery.resources_of(proxy)),
            problems=lambda: [_described(one) for one in problems.current],
        )
        debugging = Debugging(pages, {settings.namespace, *settings.debug_namespaces})
        registrar = Registrar(kube, settings.name, clock.now)
        discovery: Discovery[Snapshot] = Discovery(
            source=store.snapshot,
            configure=Configurer(Generator()),
            identify=door.guarded(reviewer.identify),
            metrics=metrics,
            monotonic=time.monotonic,
            secrets=keyring,
            presence=registrar,
            door=door,
            pages=debugging,
            why_not=claims_another,
        )
        watching = Watching(kube, store, changed, settings.namespace, config.MESH_CONFIG_MAP)
        trust = Trust(kube, lambda: keeper.trusted.roots, service=settings.service, namespace=settings.namespace)
        await bundles.tell()
        problems = ProblemLog(
            lambda: (
                *_problems(store.snapshot(), keyring, issuers, anywhere=not settings.no_keys_from),
                *keeper.problems,
            )
        )
        teller = Teller(kube, lambda: problems.current, clock.now, instance=settings.name)
        allocator = Allocator(kube, store.entries)
        ingresses = IngressStatus(kube, store.ingress_statuses)
        server = Server()
        discovery.serve(server)
        issuer = _issuer(kube, settings, keeper, bundles)
        _certificates(kube, settings, issuer, door.guarded(reviewer.identify), metrics).serve(server)
        if settings.plaintext:
            server.listen(settings.plaintext)
        server.listen(settings.secure, own.grpc)
        inside = http.Inside(
            is_ready=lambda: discovery.is_ready,
            metrics=lambda: metrics.text(
                proxies=len(discovery.connections), problems=len(problems.current), version=VERSION
            ),
            version={"version": VERSION, "name": settings.name},
            debugging=debugging,
            prove=door.guarded(reviewer.prove),
        )
        native = await _native_sidecars(kube, settings)
        reviews = _reviews(_inject_settings(settings, mesh, native=native), store)
        async with contextlib.AsyncExitStack() as stack:
            await _listen(
                stack,
                http_server.serving(http.monitoring(inside), settings.monitoring),
                http_server.serving(http.readiness(inside), settings.ready),
                http_server.serving(http.webhooks(reviews, metrics), settings.https, own.https),
            )
            await server.start()
            stack.push_async_callback(server.stop)
            log.info("istiod %s serves %s %s", VERSION, settings.secure, settings.plaintext)
            await _until_told(
                watching.run(),
                discovery.run(on_push=look),
                teller.run(),
                ingresses.run(),
                allocator.run(),
                issuers.run(),
                registrar.run(),
                keeper.run(),
                bundles.run(),
                trust.run(),
                own.run(),
                *((Untainting(kube, settings.namespace).run(),) if settings.untaint else ()),
                _settle_memory(lambda: discovery.is_ready),
            )


def _issuer(kube: Kube, settings: Settings, keeper: Keeper, bundles: Bundles) -> Issuer:
    if (signers := settings.issuing.signers) is not None:
        log.info("workloads' certificates are signed by signers of the cluster, %s", signers)
        return RegistrationAuthority(kube, signers, bundles.now)
    return OwnIssuer(keeper, bundles.now)


def _certificates(
    kube: Kube, settings: Settings, issuer: Issuer, identify: Identify, metrics: Metrics
) -> CertificateService:
    nodes = NodeProxies(kube, settings.issuing.node_accounts)
    return CertificateService(issuer, identify, nodes, settings.issuing.lifetimes, metrics.certificates)


def _problems(snapshot: Snapshot, keyring: Keyring, issuers: Issuers, *, anywhere: bool) -> tuple[Problem, ...]:
    """All that users can mend: in their objects, the Secrets that these name, and the keys of issuers.

    `anywhere`: keys are fetched from whatever address rules name.
    """
    found = credentials.problems(
        snapshot.directory.gateways, snapshot.directory.destination_rules, keyring.troubles
    )
    rules = snapshot.directory.request_authentications
    keys = request_authentication.problems(rules, issuers.troubles)
    open_to = request_authentication.fetched_from_anywhere(rules) if anywhere else ()
    return analysis.ordered((*snapshot.problems, *map(snapshot.derived.told, found), *keys, *open_to))


async def _tell(own: ServerCertificate, discovery: Discovery[Snapshot], trusted: Trusted) -> None:
    """Others are to be verified by something else: ourselves and all proxies."""
    own.follow()
    await discovery.trust(_told(trusted))


async def _spread(own: ServerCertificate, trust: Trust, bundles: Bundles) -> None:
    """The authority, or what it trusts, has changed."""
    own.follow()
    trust.changed()
    await bundles.tell()


def _told(trusted: Trusted) -> Resource:
    """What proxies' agents are told to verify others with: Istio's PCDS."""
    body = messages.encode_trust(trusted)
    return encode.from_bytes(PROXY_CONFIG, "default", body)


async def _native_sidecars(kube: Kube, settings: Settings) -> bool:
    """Whether sidecars are native: as told, else where the cluster has such."""
    if settings.native_sidecars is not None:
        return settings.native_sidecars

    async def version() -> dict[str, Any]:
        try:
            return await kube.call("GET", "/version")
        except ApiError as error:
            if error.code not in {401, 403, 404}:
                raise
            log.warning("the cluster does not tell its version (%s): sidecars are not native", error)
            return {}

    return has_native_sidecars(await _when_reachable(version))


def _inject_settings(settings: Settings, mesh: MeshConfig, *, native: bool) -> InjectSettings:
    return InjectSettings(
        image=settings.proxy_image,
        revision=settings.revision,
        cluster_id=settings.cluster_id,
        cluster_domain=settings.domain,
        trust_domain=mesh.trust_domain,
        mesh_id=mesh.trust_domain,
        ca_address=f"{settings.service}.{settings.namespace}.svc:15012",
        agent_command=settings.agent_command,
        native_sidecars=native,
        cni=settings.cni,
        multus=settings.multus,
    )


def _proxy_settings(snapshot: Snapshot, namespace: str, labels: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
    return (snapshot.mesh.default_config, *snapshot.directory.proxy_configs.layers(namespace, labels))


def _reviews(inject: InjectSettings, store: Store) -> Mapping[str, http.Review]:
    return {
        "inject": lambda review: webhook.review(
            review, _as_now(inject, store.snapshot().mesh), partial(_proxy_settings, store.snapshot())
        ),
        "validate": lambda review: validation.review(review, store.snapshot()),
    }


def _as_now(inject: InjectSettings, mesh: MeshConfig) -> InjectSettings:
    """With the ports and the trust domain that the mesh's settings have now."""
    domain = mesh.trust_domain
    ports = mesh.ports
    return replace(
        inject,
        outbound_port=ports.outbound,
        inbound_port=ports.inbound,
        trust_domain=domain,
        mesh_id=domain,
    )


def _dump(resources: Resources | None) -> dict[str, Any] | None:
    return None if resources is None else syncz.config_dump(resources)


def _described(problem: Problem) -> dict[str, Any]:
    return asdict(problem) | {"text": str(problem)}


async def _mesh_config(kube: Kube, namespace: str) -> dict[str, Any]:
    try:
        return await kube.get(CONFIGMAPS, config.MESH_CONFIG_MAP, namespace)
    except ApiError as error:
        if error.code == 404:
            return {}
        raise


async def _when_reachable(what: Callable[[], Awaitable[T]]) -> T:
    """Ask until the API server answers: istiod may start before it, or before its own permissions."""
    delay = 0.2
    while True:
        try:
            return await what()
        except (ApiError, aiohttp.ClientError, OSError, TimeoutError) as error:
            log.warning("waiting for the API server: %s", error)
            await asyncio.sleep(delay)
            delay = min(delay * 2, 5.0)


async def _listen(stack: contextlib.AsyncExitStack, *sites: contextlib.AbstractAsyncContextManager[int]) -> None:
    for each in sites:
        await stack.enter_async_context(each)


async def _settle_memory(is_ready: Callable[[], bool]) -> None:
    """Once everything is read, keep it out of the garbage collector's walks."""
    while not is_ready():
        await asyncio.sleep(1.0)
    gc.collect()
    gc.freeze()


async def _until_told(*work: Any) -> None:
    """Run until a signal asks to stop; any failure of the work is ours and ends the program."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one) for one in work]
        await stopped.wait()
        log.info("stopping")
        for task in running:
            task.cancel()
