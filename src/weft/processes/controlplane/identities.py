"""Who calls: by the certificate that it has, or by the projected token of its service account."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import grpc
from cryptography import x509

from weft.adapters.grpc_server import Peer, RefusedError
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import TOKENREVIEWS
from weft.pki import identity
from weft.pki.identity import SpiffeId

AUDIENCE = "istio-ca"
_POD, _POD_UID = "authentication.kubernetes.io/pod-name", "authentication.kubernetes.io/pod-uid"

log = logging.getLogger("weft.identities")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as proved. `pod` is the pod that the proof is bound to, "" where it is bound to none."""

    identity: SpiffeId
    pod: str = ""
    pod_uid: str = ""


Identify = Callable[[Peer], Awaitable[Caller | None]]
"""Who calls; None on a port that does not ask. Raises RefusedError."""


class TokenReviewer:
    """Identifies callers on TLS ports, by certificate or TokenReview; on the plaintext port nobody proves a thing.

    `domains` are the trust domains whose identities count as ours now: the mesh's own, then its aliases.
    """

    def __init__(self, kube: Kube, domains: Callable[[], Sequence[str]]) -> None:
        self._kube, self._domains = kube, domains

    async def identify(self, peer: Peer) -> Caller | None:
        """The caller, None on a plaintext port; RefusedError where certificate or token is none or not good."""
        if not peer.secure:
            return None
        if peer.certificate is not None:
            return self._certified(peer.certificate)
        return await self.prove(peer)

    async def prove(self, peer: Peer) -> Caller:
        """The caller by its token, whichever way it comes; RefusedError where that is none or not good."""
        if not peer.bearer:
            missing = "neither a certificate nor `authorization: Bearer` with the call"
            raise RefusedError(grpc.StatusCode.UNAUTHENTICATED, missing)
        review = {"spec": {"token": peer.bearer, "audiences": [AUDIENCE]}}
        body = {"apiVersion": TOKENREVIEWS.api_version, "kind": TOKENREVIEWS.kind} | review
        try:
            answer = await self._kube.post(TOKENREVIEWS.path(), body)
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            # the caller tries again: the cluster's trouble is not the token's
            log.warning("a token could not be reviewed: %s", error)
            raise RefusedError(grpc.StatusCode.UNAVAILABLE, f"the token could not be reviewed: {error}") from error
        status = answer.get("status") or {}
        if not status.get("authenticated"):
            reason = status.get("error") or "not authenticated"
            raise RefusedError(grpc.StatusCode.UNAUTHENTICATED, f"the token is not good: {reason}")
        if AUDIENCE not in (status.get("audiences") or ()):
            raise RefusedError(grpc.StatusCode.UNAUTHENTICATED, f"the token is not for the audience {AUDIENCE}")
        user = status.get("user") or {}
        match str(user.get("username", "")).split(":"):
            case ["system", "serviceaccount", namespace, account]:
                named = SpiffeId(self._domains()[0], namespace, account)
                # projected tokens are bound to their pod, those of VMs and of Secrets to none
                return Caller(named, _extra(user, _POD), _extra(user, _POD_UID))
        raise RefusedError(grpc.StatusCode.PERMISSION_DENIED, "the token is not a service account's")

    def _certified(self, certificate: x509.Certificate) -> Caller:
        """Whom a certificate names that one of the mesh's roots has vouched for."""
        named, domains = identity.of_certificate(certificate), self._domains()
        if named is None:
            raise RefusedError(grpc.StatusCode.PERMISSION_DENIED, "the certificate is not a workload's")
        if named.trust_domain not in domains:
            ours = f"{named} is of another trust domain. This one is {domains[0]}."
            raise RefusedError(grpc.StatusCode.PERMISSION_DENIED, ours)
        # an alias is another name of ours, such as the one before
        return Caller(replace(named, trust_domain=domains[0]))


def _extra(user: Any, key: str) -> str:
    (value, *_) = (user.get("extra") or {}).get(key) or [""]
    return str(value)
