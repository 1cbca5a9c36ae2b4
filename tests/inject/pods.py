"""Pods and reviews for the tests of injection."""

import base64
import json
from typing import Any

import jsonpatch

from weft.inject.settings import InjectSettings
from weft.inject.webhook import review

Json = dict[str, Any]
SETTINGS = InjectSettings(image="weft.local/proxyv2:0.1.0", agent_command=("weft", "agent"))


def pod(
    *, annotations: Json | None = None, labels: Json | None = None, owner: Json | None = None, **spec: Any
) -> Json:
    metadata: Json = {"name": "web", "labels": labels or {}, "annotations": annotations or {}}
    if owner:
        metadata["ownerReferences"] = [{"controller": True, "uid": "1", **owner}]
    return {"metadata": metadata, "spec": {"containers": [{"name": "app", "image": "nginx"}], **spec}}


def ask(
    before: Json, *, namespace: str = "sidecar", version: str = "v1", settings: InjectSettings = SETTINGS
) -> Json:
    """The response to a review of the pod."""
    request = {"uid": "abc", "namespace": namespace, "operation": "CREATE", "object": before}
    asked = {"apiVersion": f"admission.k8s.io/{version}", "kind": "AdmissionReview", "request": request}
    answer = review(asked, settings)
    assert answer["apiVersion"] == f"admission.k8s.io/{version}"
    response: Json = answer["response"]
    assert response["uid"] == "abc"
    return response


def injected(before: Json, **how: Any) -> Json:
    """The pod after the webhook's patch, applied as an API server does."""
    response = ask(before, **how)
    assert response["allowed"], response
    if "patch" not in response:
        return before
    assert response["patchType"] == "JSONPatch"
    after: Json = jsonpatch.apply_patch(before, json.loads(base64.b64decode(response["patch"])))
    return after


def container(after: Json, name: str = "istio-proxy") -> Json:
    found: Json = next(
        one
        for key in ("containers", "initContainers")
        for one in after["spec"].get(key, ())
        if one["name"] == name
    )
    return found


def environment(after: Json) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in container(after)["env"]}


def iptables(after: Json) -> dict[str, str]:
    """The flags of istio-init, by name."""
    arguments = container(after, "istio-init")["args"][1:-1]
    return dict(zip(arguments[::2], arguments[1::2], strict=True))
