"""The webhooks' answers (AdmissionReview, admission.k8s.io/v1): what is completed, refused, and warned of."""

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from weft.api.spider_multus_config import SpiderMultusConfig
from weft.base.problem import Problem, Severity
from weft.underlay.admission.completion import complete
from weft.underlay.admission.validation import Known, check
from weft.underlay.networks.injection import NoNetworksError, inject

Json = dict[str, Any]

# Kubernetes cuts warnings that are longer, and drops them all beyond 4096 characters
_MAX_WARNING: Final = 250
_MAX_WARNINGS: Final = 16


class ReviewError(ValueError):
    """The body is no AdmissionReview with a request; answer it with HTTP 400."""


def completed(review: Mapping[str, Any]) -> Json:
    """Answer a mutating webhook's review."""
    request = _request(review)
    answer: Json = {"uid": request["uid"], "allowed": True}
    before = request.get("object")
    if isinstance(before, Mapping) and request.get("operation") != "DELETE":
        answer |= _patch(before, complete(_kind(request), before), "spec")
    return _whole(review, answer)


def injected(review: Mapping[str, Any], configs: Iterable[SpiderMultusConfig]) -> Json:
    """Answer the review of a pod that may ask for networks by a word."""
    request = _request(review)
    answer: Json = {"uid": request["uid"], "allowed": True}
    before = request.get("object")
    if isinstance(before, Mapping) and _kind(request) == "Pod":
        try:
            after = inject(before, str(request.get("namespace") or ""), configs)
        except NoNetworksError as error:
            answer |= {"allowed": False, "status": _refusal(str(error))}
        else:
            answer |= _patch(before, after, "metadata.annotations", "spec.containers")
    return _whole(review, answer)


def checked(review: Mapping[str, Any], known: Known) -> Json:
    """Answer a validating webhook's review."""
    request = _request(review)
    found = check(
        request.get("operation", "CREATE"), _kind(request), request.get("object"), request.get("oldObject"), known
    )
    errors = [each for each in found if each.severity is Severity.ERROR]
    answer: Json = {"uid": request["uid"], "allowed": not errors}
    if errors:
        answer["status"] = _refusal("\n".join(map(_line, errors)))
    if warnings := [_line(each) for each in found if each.severity is Severity.WARNING]:
        answer["warnings"] = _shortened(warnings)
    return _whole(review, answer)


def _request(review: Mapping[str, Any]) -> Mapping[str, Any]:
    request = review.get("request")
    if not isinstance(request, Mapping) or "uid" not in request:
        raise ReviewError("not an AdmissionReview with a request and its uid")
    return request


def _refusal(message: str) -> Json:
    return {"status": "Failure", "message": message, "reason": "Invalid", "code": 422}


def _patch(before: Mapping[str, Any], after: Mapping[str, Any], *paths: str) -> Json:
    patch = [
        # `add` replaces what is there (RFC 6902, 4.1)
        {"op": "add", "path": f"/{path.replace('.', '/')}", "value": value}
        for path in paths
        if (value := _at(after, path)) != _at(before, path)
    ]
    if not patch:
        return {}
    encoded = base64.b64encode(json.dumps(patch, separators=(",", ":")).encode()).decode()
    return {"patchType": "JSONPatch", "patch": encoded}


def _kind(request: Mapping[str, Any]) -> str:
    return str((request.get("kind") or {}).get("kind") or "")


def _whole(review: Mapping[str, Any], answer: Json) -> Json:
    version = review.get("apiVersion") or "admission.k8s.io/v1"
    return {"apiVersion": version, "kind": "AdmissionReview", "response": answer}


def _at(obj: Mapping[str, Any], path: str) -> Any:
    found: Any = obj
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _line(problem: Problem) -> str:
    place = f"{problem.at.field}: " if problem.at.field else ""
    return f"{place}{problem.message} {problem.hint}".rstrip()


def _shortened(warnings: Iterable[str]) -> list[str]:
    listed = [each if len(each) <= _MAX_WARNING else f"{each[:_MAX_WARNING]}…" for each in warnings]
    return listed[:_MAX_WARNINGS]
