"""What an admission webhook answered: judged in the words of Kubernetes."""

from typing import Any

import msgspec

from weft.cluster.apiserver.cluster import Obj
from weft.cluster.apiserver.rest import syntax
from weft.cluster.apiserver.webhookclient import CallError


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
