"""Who calls: the projected token of a service account, checked by the cluster."""

import logging

import aiohttp
import grpc

from weft.adapters.grpc_server import Peer, RefusedError
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import TOKENREVIEWS
from weft.pki.identity import SpiffeId

AUDIENCE = "istio-ca"

log = logging.getLogger("weft.identities")


class TokenReviewer:
    """Identifies callers on TLS ports by TokenReview; on the plaintext port nobody proves anything."""

    def __init__(self, kube: Kube, trust_domain: str) -> None:
        self._kube, self._trust_domain = kube, trust_domain

    async def identify(self, peer: Peer) -> SpiffeId | None:
        """The caller's identity, None on a plaintext port; RefusedError where the token is none or not good."""
        if not peer.secure:
            return None
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
        match str((status.get("user") or {}).get("username", "")).split(":"):
            case ["system", "serviceaccount", namespace, account]:
                return SpiffeId(self._trust_domain, namespace, account)
        raise RefusedError(grpc.StatusCode.PERMISSION_DENIED, "the token is not a service account's")
