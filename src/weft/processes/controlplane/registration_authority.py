"""A signer of the cluster as the mesh's authority: istiod vouches for who asks, the signer signs.

For each certificate istiod makes a CertificateSigningRequest of what the workload sent, approves it, waits for the
signer, and takes it away again. Signers certify what stands in a request, so nothing goes to them that is not the
caller's own name; and nothing goes to the workload that is not what was asked for.
"""

import asyncio
import base64
import logging
import re
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import aiohttp
import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from weft.adapters import clock
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import CERTIFICATESIGNINGREQUESTS
from weft.adapters.kube.reflector import Applied, Deleted, Replaced
from weft.pki import identity, pem, request
from weft.pki.identity import SpiffeId
from weft.pki.messages import CertificateAnswer
from weft.pki.pem import PemError
from weft.pki.request import RefusedError
from weft.processes.controlplane.bundles import Bundle
from weft.processes.controlplane.issuing import FailedError, Order

USAGES: Final = ("digital signature", "key encipherment", "server auth", "client auth")
PATIENCE: Final = timedelta(seconds=8)
"""How long a signer may take: agents wait for ten seconds."""
_SHORTEST: Final = timedelta(minutes=10)
"""Kubernetes takes no shorter lives (certificates.k8s.io, validation)."""
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252})")
_LABELS: Final = {"app.kubernetes.io/managed-by": "istiod"}

log = logging.getLogger("weft.ca")


@dataclass(frozen=True, slots=True)
class Signers:
    """The signer that signs by default, and the domain of those that workloads may ask for; "" for none."""

    default: str = ""
    domain: str = ""

    def named(self, wanted: str) -> str:
        """The signer's whole name, `DOMAIN/NAME`; RefusedError for one that nobody may ask for."""
        if not wanted:
            if not self.default:
                raise RefusedError(
                    "no signer is asked for (CERT_SIGNER), and istiod has none by default (K8S_SIGNER)"
                )
            return self.default
        if not self.domain:
            raise RefusedError(f"the signer {wanted[:100]!r} is asked for, but istiod has no CERT_SIGNER_DOMAIN")
        if not _NAME.fullmatch(wanted):
            raise RefusedError(f"{wanted[:100]!r} is not the name of a signer")
        return f"{self.domain}/{wanted}"


class _Condition(msgspec.Struct):
    type: str
    reason: str = ""
    message: str = ""


class _Status(msgspec.Struct):
    certificate: str = ""
    conditions: tuple[_Condition, ...] = ()


class _Metadata(msgspec.Struct):
    name: str
    namespace: str = ""


class _Asked(msgspec.Struct):
    """The part of a CertificateSigningRequest that is read."""

    metadata: _Metadata
    status: _Status | None = None


class RegistrationAuthority:
    """Has certificates made by signers of the cluster. `trusted` is what the mesh trusts at this moment."""

    def __init__(self, kube: Kube, signers: Signers, trusted: Callable[[], Bundle]) -> None:
        self._kube, self._signers, self._trusted = kube, signers, trusted

    async def issue(self, order: Order) -> CertificateAnswer:
        """Ask the signer. RefusedError for what must not be asked for, FailedError where it does not answer."""
        signer = self._signers.named(order.signer)
        trusted = self._trusted()
        asked, named = fit(order.csr_pem, order.identity, trusted.domains)
        if not (roots := trusted.of_signer(signer)):
            hint = f"Name its roots in MeshConfig's caCertificates, with certSigners: [{signer}]"
            raise FailedError(f"it is not known what the signer {signer} is verified with. {hint}")
        try:
            answered = await self._signed(signer, order)
        except (ApiError, aiohttp.ClientError, OSError) as error:
            hint = f"istiod needs the right to create and approve requests to {signer}"
            raise FailedError(f"the cluster takes no request: {error}. {hint}") from error
        path = checked(answered, asked, named, pem.load_certificates(roots), signer)
        return CertificateAnswer(tuple(map(pem.certificate, path)), trusted.trusted)

    async def _signed(self, signer: str, order: Order) -> str:
        """What the signer answers: PEM."""
        name = f"csr-workload-{secrets.token_hex(10)}"
        spec = {
            "request": base64.b64encode(order.csr_pem.encode()).decode(),
            "signerName": signer,
            "usages": list(USAGES),
            "expirationSeconds": int(max(order.lifetime, _SHORTEST).total_seconds()),
        }
        about = {"istio.io/identity": str(order.identity)}
        metadata = {"name": name, "labels": _LABELS, "annotations": about}
        kind = CERTIFICATESIGNINGREQUESTS
        made = await self._kube.create(kind, {"metadata": metadata, "spec": spec})
        try:
            approved = {
                "type": "Approved",
                "status": "True",
                "reason": "CallerAuthenticated",
                "message": f"istiod has authenticated {order.identity}, and the request is for nobody else.",
            }
            await self._kube.replace(kind, made | {"status": {"conditions": [approved]}}, subresource="approval")
            async with asyncio.timeout(PATIENCE.total_seconds()):
                return await self._answer(name, signer)
        except TimeoutError:
            hint = f"Is its controller running? kubectl get csr, and the log of whoever signs for {signer}"
            raise FailedError(f"the signer {signer} has not answered in time. {hint}") from None
        finally:
            # hundreds of these would be in everybody's way; what is left over Kubernetes collects after an hour
            with suppress(ApiError, aiohttp.ClientError, OSError, TimeoutError):
                await self._kube.delete(kind, name)

    async def _answer(self, name: str, signer: str) -> str:
        changes: Any = self._kube.reflect(
            CERTIFICATESIGNINGREQUESTS, decode=_Asked, fields=f"metadata.name={name}"
        )
        async for change in changes:
            match change:
                case Applied(one) | Replaced((one,)):
                    pass
                case Deleted():
                    raise FailedError(f"the request to {signer} was deleted before it was answered")
                case _:
                    continue
            status = one.status or _Status()
            for condition in status.conditions:
                if condition.type in {"Denied", "Failed"}:
                    why = f"{condition.reason}: {condition.message}".strip(": ")
                    raise FailedError(f"the signer {signer} refuses: {why or condition.type}")
            if status.certificate:
                return base64.b64decode(status.certificate).decode("ascii", "replace")
        raise FailedError(f"the request to {signer} was lost from sight")


def fit(csr_pem: str, caller: SpiffeId, domains: Sequence[str]) -> tuple[x509.CertificateSigningRequest, SpiffeId]:
    """A request that says its caller's name and nothing else, and that name; RefusedError for all others.

    The name may be of any of our trust domains: pods keep the one that they started with.
    """
    asked = request.read(csr_pem)
    names = request.names(asked)
    same = (replace(caller, trust_domain=each) for each in domains)
    if (named := next((each for each in same if [str(each)] == names), None)) is None:
        said = ", ".join(names)[:200] or "no name"
        raise RefusedError(f"the certificate request is for {said}, and its caller is {caller}")
    organization = [(x509.NameOID.ORGANIZATION_NAME, named.trust_domain)]
    if [(each.oid, each.value) for each in asked.subject] not in ([], organization):
        raise RefusedError("the certificate request has a subject. Leave it empty: the caller's name is a URI.")
    if any(each.oid != x509.SubjectAlternativeName.oid for each in asked.extensions):
        raise RefusedError("the certificate request asks for extensions beside its name")
    return asked, named


def checked(
    answered: str,
    asked: x509.CertificateSigningRequest,
    caller: SpiffeId,
    roots: tuple[x509.Certificate, ...],
    signer: str,
) -> tuple[x509.Certificate, ...]:
    """The certificates from the leaf up to a root, which is left out; FailedError where they would not serve."""

    def unfit(why: str) -> FailedError:
        return FailedError(f"the signer {signer} answers with {why}")

    try:
        leaf, *rest = pem.load_certificates(answered)
        same = pem.public_key(leaf.public_key()) == pem.public_key(asked.public_key())
    except PemError as error:
        raise unfit(f"no certificate: {error}") from error
    if not same:
        raise unfit("a certificate for another key")
    if identity.of_certificate(leaf) != caller:
        raise unfit(f"a certificate that is not of {caller}")
    if leaf.not_valid_after_utc <= clock.now():
        raise unfit("a certificate that is over")
    path = [leaf]
    while not any(_issued(path[-1], root) for root in roots):
        above = next((each for each in rest if each not in path and _issued(path[-1], each)), None)
        if above is None:
            hint = f"Are those that MeshConfig's caCertificates has for {signer} the right ones?"
            raise unfit(f"certificates that lead to none of its roots. {hint}")
        path.append(above)
    return tuple(path)


def _issued(one: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        one.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
