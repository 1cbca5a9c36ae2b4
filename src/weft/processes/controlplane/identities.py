"""Who calls: the projected token of a service account, checked by the cluster."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import grpc

from weft.adapters.grpc_server import Peer, RefusedError
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import TOKENREVIEWS
from weft.pki.identity import SpiffeId

AUDIENCE = "istio-ca"
_POD = "authentication.kubernetes.io/pod-name"

log = logging.getLogger("weft.identities")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as proved. `pod` is the pod that the proof is bound to, "" where it is bound to none."""

    identity: SpiffeId
    pod: str = ""


Identify = Callable[[Peer], Awaitable[Caller | None]]
"""Who calls; None on a port that does not ask. Raises RefusedError."""


class TokenReviewer:
    """Identifies callers on TLS ports by TokenReview; on the plaintext port nobody proves anything."""

    def __init__(self, kube: Kube, trust_domain: str) -> None:
        self._kube, self._trust_domain = kube, trust_domain

    async def identify(self, peer: Peer) -> Caller | None:
        """The caller, None on a plaintext port; RefusedError where the token is none or not good."""
        return await self.prove(peer) if peer.secure else None

    async def prove(self, peer: Peer) -> Caller:
        """The caller by its token, whichever way it comes; RefusedError where that is none or not good."""
        if not peer.bearer:
            raise RefusedError(grpc.StatusCode.UNAUTHENTICATED, "no `authorization: Bearer` with the call")
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
                return Caller(SpiffeId(self._trust_domain, namespace, account), _pod(user))
        raise RefusedError(grpc.StatusCode.PERMISSION_DENIED, "the token is not a service account's")


def _pod(user: Any) -> str:
    """The pod that a token is bound to: projected ones are, those of VMs and of Secrets are not."""
    (pod, *_) = (user.get("extra") or {}).get(_POD) or [""]
    return str(pod)
