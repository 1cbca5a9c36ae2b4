"""The certificate service against the API server of one machine: real tokens, real pods, a clock of its own."""

import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from tests.cluster.apiserver.servers import make_home
from tests.processes.controlplane.succeeding import Mesh as Trust

from weft.adapters import clock, keys
from weft.adapters.grpc_server import KeyPair, Server
from weft.adapters.kube import kinds
from weft.adapters.kube.client import Kube
from weft.cluster.apiserver.serving import serve
from weft.cluster.apiserver.world import World
from weft.model.mesh_config import DEFAULT_MESH
from weft.pki import authority, identity, messages, pem, request
from weft.pki.authority import LIFETIMES, Authority
from weft.pki.messages import CertificateAnswer, CertificateRequest
from weft.pki.pem import PrivateKey
from weft.processes.controlplane.bundles import bundle
from weft.processes.controlplane.identities import AUDIENCE, TokenReviewer
from weft.processes.controlplane.impersonation import NodeProxies
from weft.processes.controlplane.issuing import CertificateService, Issuer, OwnIssuer
from weft.processes.controlplane.metrics import Metrics
from weft.processes.controlplane.succession import Keeper

NAME = "istiod.istio-system.svc"
NODE_PROXY = ("istio-system", "ztunnel")


def root(name: str = "cluster.local") -> Authority:
    return authority.self_signed(
        keys.new_key(), organization=name, now=clock.now(), serial=keys.new_serial(), lifetime=timedelta(days=1)
    )


@dataclass(frozen=True)
class Shown:
    """What a client shows in its handshake: PEM."""

    chain: str
    key: str


def shown(signer: Authority, spiffe_id: str) -> Shown:
    """A workload's certificate."""
    key, named = keys.new_key(), identity.parse(spiffe_id)
    assert named is not None
    leaf, *_ = authority.issue_workload(
        signer,
        request.sign(key),
        spiffe_id=named,
        lifetime=timedelta(hours=1),
        now=clock.now(),
        serial=keys.new_serial(),
    )
    return Shown(pem.certificate(leaf), pem.key(key))


@dataclass
class Mesh:
    """A cluster with an istiod that only issues certificates."""

    kube: Kube
    port: int
    signer: Authority
    metrics: Metrics
    late: timedelta = timedelta()
    pods = kinds.PODS
    domains: list[str] = field(default_factory=lambda: ["cluster.local", "old.local"])

    async def account(self, namespace: str, name: str) -> None:
        with contextlib.suppress(Exception):
            await self.kube.create(kinds.NAMESPACES, {"metadata": {"name": namespace}})
        await self.kube.create(kinds.SERVICEACCOUNTS, {"metadata": {"name": name, "namespace": namespace}})

    async def pod(self, namespace: str, name: str, account: str, node: str) -> None:
        spec = {"serviceAccountName": account, "nodeName": node, "containers": [{"name": "c", "image": "i"}]}
        await self.kube.create(kinds.PODS, {"metadata": {"name": name, "namespace": namespace}, "spec": spec})

    async def token(
        self, namespace: str, account: str, *, pod: str = "", audience: str = AUDIENCE, seconds: int = 3600
    ) -> str:
        spec: dict[str, Any] = {"audiences": [audience] if audience else [], "expirationSeconds": seconds}
        if pod:
            spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", "name": pod}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        return str((await self.kube.post(path, body))["status"]["token"])

    async def ask(
        self, what: CertificateRequest | bytes, *, token: str = "", certificate: Shown | None = None
    ) -> CertificateAnswer:
        """What the service answers; grpc's error where it refuses."""
        key, chain = (certificate.key, certificate.chain) if certificate else ("", "")
        credentials = grpc.ssl_channel_credentials(
            pem.certificates(self.signer.roots).encode(), key.encode() or None, chain.encode() or None
        )
        options = [("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials, options=options) as channel:
            method: Any = channel.unary_unary(f"/{messages.SERVICE}/{messages.METHOD}")
            body = what if isinstance(what, bytes) else messages.encode_request(what)
            metadata = [("authorization", f"Bearer {token}")] if token else []
            return messages.decode_response(await method(body, metadata=metadata, timeout=20))

    async def certified(self, what: CertificateRequest | None = None, **caller: Any) -> x509.Certificate:
        """The certificate of who asks, for a new key unless the request says otherwise."""
        answer = await self.ask(what or CertificateRequest(request.sign(keys.new_key())), **caller)
        return pem.load_certificate(answer.chain[0])

    async def refused(self, what: CertificateRequest | bytes | None = None, **caller: Any) -> tuple[str, str]:
        """The code and the message by which the service refuses."""
        try:
            await self.ask(what or CertificateRequest(request.sign(keys.new_key())), **caller)
        except grpc.aio.AioRpcError as error:
            return error.code().name, error.details() or ""
        raise AssertionError("it was not refused")

    def count(self, name: str) -> int:
        text = self.metrics.text(proxies=0, problems=0, version="")
        return int(text.split(f"\ncitadel_server_{name} ")[1].split()[0])


def asks(key: PrivateKey | None = None, **more: Any) -> CertificateRequest:
    """A request for a key."""
    return CertificateRequest(request.sign(key or keys.new_key()), **more)


Issuers = Callable[[Kube, Keeper], Issuer]


@contextlib.asynccontextmanager
async def mesh(
    folder: Path,
    issuer: Issuers = lambda _, keeper: OwnIssuer(keeper, lambda: bundle(keeper.trusted, DEFAULT_MESH)),
) -> AsyncIterator[Mesh]:
    """A running one. Its API server's clock is ahead by what `late` says."""
    home, metrics = make_home(folder), Metrics()
    one: list[Mesh] = []
    world = World(lambda: datetime.now(UTC) + (one[0].late if one else timedelta()), random.SystemRandom())
    async with serve(home.settings, world), Kube(home.access) as kube:
        await kube.create(kinds.NAMESPACES, {"metadata": {"name": "istio-system"}})
        keeper = Trust().keeper(kube)
        await keeper.load()
        server, key = Server(), keys.new_key()
        own = authority.issue_server(
            keeper.signer, key.public_key(), names=[NAME], now=clock.now(), serial=1, lifetime=timedelta(days=1)
        )
        made = Mesh(kube, 0, keeper.signer, metrics)
        one.append(made)
        reviewer = TokenReviewer(kube, lambda: made.domains)
        nodes = NodeProxies(kube, frozenset({NODE_PROXY}))
        issuing = issuer(kube, keeper)
        CertificateService(issuing, reviewer.identify, nodes, LIFETIMES, metrics.certificates).serve(server)
        made.port = server.listen("127.0.0.1:0", KeyPair(pem.key(key), pem.certificate(own), keeper.trusted.roots))
        await server.start()
        try:
            yield made
        finally:
            await server.stop()
