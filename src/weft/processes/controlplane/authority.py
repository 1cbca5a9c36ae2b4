"""The mesh's authority in the cluster: where it is kept, what it signs for whom, and istiod's own certificate."""

import asyncio
import base64
import logging
import ssl
from datetime import timedelta
from typing import Any

import grpc

from weft.adapters import clock, keys
from weft.adapters.grpc_server import KeyPair, Peer, RefusedError, Server
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import SECRETS
from weft.pki import authority, messages, pem, rotation
from weft.pki.authority import WORKLOAD_LIFETIME, Authority
from weft.pki.authority import RefusedError as RequestRefusedError
from weft.pki.identity import SpiffeId
from weft.processes.controlplane.identities import Identify
from weft.processes.controlplane.metrics import Metrics

PLUGGED, OWN = "cacerts", "istio-ca-secret"
TYPE = "istio.io/ca-root"
ROOT_LIFETIME = timedelta(days=3650)
SERVER_LIFETIME = timedelta(hours=24)

log = logging.getLogger("weft.ca")


async def load(kube: Kube, namespace: str, *, organization: str) -> Authority:
    """The mesh's authority: plugged in (`cacerts`), else made earlier (`istio-ca-secret`), else a new one."""
    if found := await _secret(kube, PLUGGED, namespace):
        log.info("the authority is the one plugged in as Secret %s/%s", namespace, PLUGGED)
        return _from_secret(found)
    if found := await _secret(kube, OWN, namespace):
        log.info("the authority is that of Secret %s/%s", namespace, OWN)
        return _from_secret(found)
    made = authority.self_signed(
        keys.new_key(),
        organization=organization,
        now=clock.now(),
        serial=keys.new_serial(),
        lifetime=ROOT_LIFETIME,
    )
    try:
        await kube.create(SECRETS, _to_secret(made, namespace), namespace)
    except ApiError as error:
        if error.code != 409:
            raise
        # another replica was faster: its authority is the mesh's
        return _from_secret(await kube.get(SECRETS, OWN, namespace))
    log.info("made a new authority, kept in Secret %s/%s", namespace, OWN)
    return made


class CertificateService:
    """CreateCertificate: a workload's certificate for who it proved to be."""

    def __init__(self, signer: Authority, identify: Identify, metrics: Metrics) -> None:
        self._signer, self._identify, self._metrics = signer, identify, metrics

    def serve(self, server: Server) -> None:
        """Register with a gRPC server."""
        server.unary(messages.SERVICE, messages.METHOD, self._create)

    async def _create(self, message: bytes, peer: Peer) -> bytes:
        try:
            identity = await self._authenticated(peer)
            request = messages.decode_request(message)
            chain = authority.issue_workload(
                self._signer,
                request.csr_pem,
                spiffe_id=identity,
                lifetime=request.lifetime or WORKLOAD_LIFETIME,
                now=clock.now(),
                serial=keys.new_serial(),
            )
        except (messages.MessageError, RequestRefusedError) as error:
            self._metrics.certificates["refused"] += 1
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        except RefusedError:
            self._metrics.certificates["unauthenticated"] += 1
            raise
        self._metrics.certificates["success"] += 1
        return messages.encode_response(tuple(pem.certificate(one) for one in chain))

    async def _authenticated(self, peer: Peer) -> SpiffeId:
        caller = await self._identify(peer)
        if caller is None:
            raise RefusedError(grpc.StatusCode.UNAUTHENTICATED, "certificates are given on the TLS port only")
        return caller.identity


class ServerCertificate:
    """Our own certificate for gRPC and HTTPS, replaced at half of its life."""

    def __init__(self, signer: Authority, names: tuple[str, ...]) -> None:
        self._signer, self._names = signer, names
        self._certificate, key, chain = self._issue()
        self.grpc = KeyPair(key, chain, pem.certificates(signer.roots))
        self.https = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.https.minimum_version = ssl.TLSVersion.TLSv1_2
        _use(self.https, key, chain)

    async def run(self) -> None:
        """Rotate for ever. Open connections keep the certificate they began with."""
        while True:
            now = clock.now()
            await asyncio.sleep(max(1.0, (rotation.next(self._certificate, now) - now).total_seconds()))
            self.replace()
            log.info("replaced the server certificate")

    def replace(self) -> None:
        """Use a new certificate from the next handshake on."""
        self._certificate, key, chain = self._issue()
        self.grpc.replace(key, chain, pem.certificates(self._signer.roots))
        _use(self.https, key, chain)

    def _issue(self) -> tuple[Any, str, str]:
        key = keys.new_key()
        certificate = authority.issue_server(
            self._signer,
            key.public_key(),
            names=self._names,
            now=clock.now(),
            serial=keys.new_serial(),
            lifetime=SERVER_LIFETIME,
        )
        return certificate, pem.key(key), pem.certificates((certificate, *self._signer.chain))


def _use(context: ssl.SSLContext, key: str, chain: str) -> None:
    with keys.as_file(key + chain) as path:
        context.load_cert_chain(path)


async def _secret(kube: Kube, name: str, namespace: str) -> dict[str, Any] | None:
    try:
        return await kube.get(SECRETS, name, namespace)
    except ApiError as error:
        if error.code == 404:
            return None
        raise


def _from_secret(secret: dict[str, Any]) -> Authority:
    data = {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}
    name = secret["metadata"]["name"]
    try:
        return authority.load(
            data["ca-cert.pem"],
            data["ca-key.pem"],
            chain=data.get("cert-chain.pem", b""),
            roots=data.get("root-cert.pem", b""),
        )
    except KeyError as error:
        raise pem.PemError(
            f"Secret {name} has no key {error}. Istio's layout is ca-cert.pem, ca-key.pem, "
            "cert-chain.pem, root-cert.pem."
        ) from error
    except pem.PemError as error:
        raise pem.PemError(f"Secret {name}: {error}") from error


def _to_secret(made: Authority, namespace: str) -> dict[str, Any]:
    text = {
        "ca-cert.pem": pem.certificate(made.certificate),
        "ca-key.pem": pem.key(made.key),
        "root-cert.pem": pem.certificates(made.roots),
        "cert-chain.pem": "",
        "key.pem": "",
    }
    return {
        "metadata": {"name": OWN, "namespace": namespace},
        "type": TYPE,
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in text.items()},
    }
