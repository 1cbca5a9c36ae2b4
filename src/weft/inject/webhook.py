"""The injection webhook: an AdmissionReview in, an AdmissionReview out."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from weft.inject import annotations, gateway, policy, template
from weft.inject.settings import InjectSettings
from weft.model.enrolment import Leave

_MAKE = {policy.SIDECAR_TEMPLATE: template.sidecar, policy.GATEWAY: gateway.gateway}
_VERSIONS = ("admission.k8s.io/v1", "admission.k8s.io/v1beta1")


class ReviewError(ValueError):
    """The body is not an AdmissionReview; answer it with HTTP 400."""


Layers = Callable[[str, Mapping[str, str]], Sequence[Mapping[str, Any]]]
"""The settings of a proxy by its namespace and its pod's labels, weakest first."""


def no_layers(_: str, __: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
    """No settings but the pod's own."""
    return ()


def review(
    admission_review: Mapping[str, Any], settings: InjectSettings, layers: Layers = no_layers
) -> dict[str, Any]:
    """The answer to a review of a new pod, in the version it was asked in.

    Raises ReviewError for what is no review. A pod that asks for the impossible is refused in the answer.
    """
    version, request = _request(admission_review)
    pod = request["object"]
    answer: dict[str, Any] = {"uid": request["uid"], "allowed": True}
    namespace = str(request.get("namespace") or (pod.get("metadata") or {}).get("namespace") or "default")
    match policy.decide(namespace, pod):
        case policy.Refuse(message):
            answer |= _refusal(message)
        case policy.Inject(chosen):
            answer |= _injection(chosen, namespace, pod, settings, layers)
        case Leave():
            pass
    return {"apiVersion": version, "kind": "AdmissionReview", "response": answer}


def _request(admission_review: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    version = admission_review.get("apiVersion")
    request = admission_review.get("request")
    if version not in _VERSIONS or not isinstance(request, Mapping):
        raise ReviewError(f"not an AdmissionReview of {' or '.join(_VERSIONS)} with a request")
    if not isinstance(request.get("object"), Mapping) or "uid" not in request:
        raise ReviewError("the AdmissionReview's request has no object or no uid")
    return version, request


def _injection(
    chosen: str, namespace: str, pod: Mapping[str, Any], settings: InjectSettings, layers: Layers
) -> dict[str, Any]:
    metadata = pod.get("metadata") or {}
    try:
        said = layers(namespace, metadata.get("labels") or {})
        overrides = annotations.read(metadata.get("annotations") or {}, settings, said)
        patch = _patch(pod, _MAKE[chosen](namespace, pod, overrides, settings))
    except annotations.AnnotationError as error:
        return _refusal(str(error))
    encoded = base64.b64encode(json.dumps(patch, separators=(",", ":")).encode()).decode()
    warnings = {"warnings": list(overrides.warnings)} if overrides.warnings else {}
    return {"patchType": "JSONPatch", "patch": encoded, **warnings}


def _patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Whole fields, one level below metadata and spec: `add` replaces what is there (RFC 6902, 4.1)."""
    return [
        {"op": "add", "path": f"/{part}/{field}", "value": value}
        for part in ("metadata", "spec")
        for field, value in after[part].items()
        if (before.get(part) or {}).get(field) != value
    ]


def _refusal(message: str) -> dict[str, Any]:
    status = {"message": f"the sidecar cannot be injected: {message}", "reason": "Invalid", "code": 422}
    return {"allowed": False, "status": status}
