"""CreateCertificate: a workload's certificate, for whom it proved to be and for nobody else."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import grpc

from weft.adapters import clock, keys
from weft.adapters.grpc_server import Peer, RefusedError, Server
from weft.pki import authority, messages, pem
from weft.pki.authority import Lifetimes
from weft.pki.identity import SpiffeId
from weft.pki.messages import CertificateAnswer
from weft.pki.request import RefusedError as RequestRefusedError
from weft.processes.controlplane.bundles import Bundle
from weft.processes.controlplane.identities import Caller, Identify
from weft.processes.controlplane.impersonation import NodeProxies
from weft.processes.controlplane.metrics import Certificates
from weft.processes.controlplane.succession import Keeper

log = logging.getLogger("weft.ca")


@dataclass(frozen=True, slots=True)
class Order:
    """A certificate to be made: for whom, for which request (PEM), for how long, by which signer of several."""

    identity: SpiffeId
    csr_pem: str
    lifetime: timedelta
    signer: str = ""


class FailedError(Exception):
    """A good order could not be met; the message says why and the way out."""


class Issuer(Protocol):
    """Who makes certificates."""

    async def issue(self, order: Order) -> CertificateAnswer:
        """Raises the pki's RefusedError for a bad request, FailedError and grpc_server's RefusedError else."""
        ...


class OwnIssuer:
    """The mesh's own authority signs. `trusted` is what the mesh trusts at this moment."""

    def __init__(self, keeper: Keeper, trusted: Callable[[], Bundle]) -> None:
        self._keeper, self._trusted = keeper, trusted

    async def issue(self, order: Order) -> CertificateAnswer:
        """Sign at once."""
        signer = self._keeper.signer
        leaf, *_ = authority.issue_workload(
            signer,
            order.csr_pem,
            spiffe_id=order.identity,
            lifetime=order.lifetime,
            now=clock.now(),
            serial=keys.new_serial(),
        )
        chain = tuple(map(pem.certificate, (leaf, *signer.path)))
        return CertificateAnswer(chain, self._trusted().trusted)


class CertificateService:
    """Authenticates who calls, and has its certificate made."""

    def __init__(
        self, issuer: Issuer, identify: Identify, nodes: NodeProxies, lifetimes: Lifetimes, counted: Certificates
    ) -> None:
        self._issuer, self._identify, self._nodes = issuer, identify, nodes
        self._lifetimes, self._counted = lifetimes, counted

    def serve(self, server: Server) -> None:
        """Register with a gRPC server."""
        server.unary(messages.SERVICE, messages.METHOD, self._create)

    async def _create(self, message: bytes, peer: Peer) -> bytes:
        certificates = self._counted
        certificates.requests += 1
        caller = await self._authenticated(peer)
        try:
            request = messages.decode_request(message)
            order = Order(
                await self._named(caller, request.impersonated),
                request.csr_pem,
                self._lifetimes.granted(request.lifetime),
                request.signer,
            )
            answer = await self._issuer.issue(order)
        except (messages.MessageError, RequestRefusedError) as error:
            certificates.unreadable += 1
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        except FailedError as error:
            certificates.unsigned += 1
            log.warning("no certificate for %s: %s", caller.identity, error)
            raise RefusedError(grpc.StatusCode.FAILED_PRECONDITION, str(error)) from error
        certificates.issued += 1
        return messages.encode_response(answer)

    async def _authenticated(self, peer: Peer) -> Caller:
        certificates = self._counted
        try:
            caller = await self._identify(peer)
        except RefusedError as error:
            if error.code is grpc.StatusCode.PERMISSION_DENIED:
                certificates.unidentified += 1
            else:
                certificates.unauthenticated += 1
            raise
        if caller is None:
            certificates.unauthenticated += 1
            raise RefusedError(grpc.StatusCode.UNAUTHENTICATED, "certificates are given on the TLS port only")
        return caller

    async def _named(self, caller: Caller, impersonated: str) -> SpiffeId:
        """For whom the certificate is to be."""
        if not impersonated:
            return caller.identity
        try:
            return await self._nodes.identity(caller, impersonated)
        except RefusedError:
            self._counted.unauthenticated += 1
            raise
