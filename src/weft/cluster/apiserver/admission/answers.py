"""What a webhook answered: read within bounds, and judged in the words of Kubernetes' own client."""

import json
import os
import ssl
from typing import Any

import aiohttp
import msgspec

from weft.cluster.apiserver.cluster import Obj
from weft.cluster.apiserver.rest import syntax

LARGEST = 16 * 1024 * 1024
"""Bytes of an answer: the largest object as a patch, several times over."""
_SHOWN = 2048
_UNWILLING = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    409: "the server reported a conflict",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: (
        "the server was unable to return a response in the time allotted, but may still be processing the request"
    ),
}


class CallError(Exception):
    """The webhook could not be asked; `failurePolicy` decides what follows."""


class _Status(msgspec.Struct):
    message: str | None = None
    reason: str | None = None
    code: int | None = None
    details: dict[str, Any] | None = None


class _Response(msgspec.Struct):
    uid: str | None = None
    allowed: bool | None = None
    status: _Status | None = None
    patch: str | None = None
    patchType: str | None = None  # noqa: N815 - the review's own name
    warnings: list[str] | None = None


class _Review(msgspec.Struct):
    apiVersion: str | None = None  # noqa: N815 - as above
    kind: str | None = None
    response: _Response | None = None


async def read(answer: aiohttp.ClientResponse) -> bytes:
    """The whole body; CallError where it is too long to be an answer."""
    parts, size = list[bytes](), 0
    async for part in answer.content.iter_any():
        size += len(part)
        if size > LARGEST:
            raise CallError(f"failed to call webhook: the answer is longer than {LARGEST} bytes")
        parts.append(part)
    return b"".join(parts)


def unwilling(code: int, content: bytes) -> str:
    """What an HTTP status means that is not 200 (client-go, `NewGenericServerResponse`)."""
    if code in _UNWILLING:
        return _UNWILLING[code]
    if code >= 500:
        said = json.dumps(content[:_SHOWN].decode(errors="replace").strip() or "unknown", ensure_ascii=False)
        return f"an error on the server ({said}) has prevented the request from succeeding"
    return f"the server responded with the status code {code} but did not return more information"


def broken(error: Exception) -> str:
    """Why there is no answer, as Go's HTTP client says it."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"tls: failed to verify certificate: x509: {error.certificate_error}"
        case aiohttp.ClientConnectorSSLError() | ssl.SSLError():
            return f"remote error: tls: {error}"
        case aiohttp.ClientConnectorError():
            why = error.os_error.errno
            said = os.strerror(why).lower() if why else str(error)
            return f"dial tcp {error.host}:{error.port}: connect: {said}"
        case aiohttp.ServerDisconnectedError():
            return "EOF"
        case aiohttp.ClientPayloadError():
            return "unexpected EOF"
        case _:
            return str(error) or type(error).__name__


def response(content: bytes, uid: str, version: str) -> Obj:
    """What the webhook says, or CallError where it says nothing that answers the review."""
    try:
        decoded: Any = syntax.decode(content)
    except (msgspec.DecodeError, RecursionError) as error:
        why = f"couldn't get version/kind; json parse error: {syntax.json_fault(content)}"
        raise CallError(f"failed to call webhook: {why}") from error
    try:
        review = msgspec.convert(decoded, _Review)
    except msgspec.ValidationError as error:
        raise CallError(f"failed to call webhook: the answer is no AdmissionReview: {error}") from error
    if review.response is None:
        raise CallError("webhook response is no AdmissionReview with a response")
    found: Obj = decoded["response"]
    if version == "v1beta1":  # where neither the uid nor the patch's type has to be told
        return found
    said = (review.apiVersion or "", review.kind or "")
    if said != ("admission.k8s.io/v1", "AdmissionReview"):
        wanted = "admission.k8s.io/v1, Kind=AdmissionReview"
        raise CallError(f"expected webhook response of {wanted}, got {said[0]}, Kind={said[1]}")
    if review.response.uid != uid:
        raise CallError(f'expected response.uid="{uid}", got "{review.response.uid or ""}"')
    if review.response.patch and review.response.patchType != "JSONPatch":
        raise CallError('webhook returned response.patch but not response.patchType "JSONPatch"')
    return found
