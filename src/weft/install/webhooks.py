"""The webhooks by which istiod takes part in changes: it injects sidecars and checks the mesh's resources.

istiod fills in `caBundle` itself when it runs.
"""

from typing import Any

from weft.install.rights import ISTIO_GROUPS
from weft.model.enrolment import INJECT

Json = dict[str, Any]

_REVISION = "istio.io/rev"
_ENABLED = "istio-injection"
_NAMESPACE_NAME = "kubernetes.io/metadata.name"
_DEACTIVATED = {"matchLabels": {"istio.io/deactivated": "never-match"}}
_SYSTEM = ("kube-system", "kube-public", "kube-node-lease")


def configurations(namespace: str, revision: str, version: str, service: str) -> list[Json]:
    """Injection for the default revision, the deactivated set of that name, and validation.

    A revision's own set is deactivated where the tag `default` points to it, so that no pod meets two webhooks:
    that is how Istio leaves a cluster, and what `kubectl get mutatingwebhookconfigurations` shows.
    """
    place = {"name": service, "namespace": namespace, "port": 443}
    owner = "install.operator.istio.io/owning-resource"
    common = {"app": "sidecar-injector", _REVISION: revision, "operator.istio.io/component": "Pilot"}
    installed = {
        owner: "installed-state",
        f"{owner}-namespace": namespace,
        "operator.istio.io/managed": "Reconcile",
        "operator.istio.io/version": version,
        "release": "istio",
    }
    suffix = "" if revision == "default" else f"-{revision}"
    return [
        _mutating("istio-revision-tag-default", {**common, "istio.io/tag": "default"}, _active(revision), place),
        _mutating(f"istio-sidecar-injector{suffix}", {**common, **installed}, _inactive(), place),
        _validating(f"istio-validator-{namespace}", "rev.validation.istio.io", _of_revision(revision), place),
        _validating("istiod-default-validator", "validation.istio.io", [_lacks(_REVISION)], place),
    ]


Selectors = dict[str, tuple[Json, Json]]
"""By the webhook's name: the selector of namespaces, and that of pods."""


def _active(revision: str) -> Selectors:
    """Istio's four ways to ask for a sidecar: each pod matches one of them at most."""
    outside = {"key": _NAMESPACE_NAME, "operator": "NotIn", "values": list(_SYSTEM)}
    not_refused = {"key": INJECT, "operator": "NotIn", "values": ["false"]}
    asked = {"key": INJECT, "operator": "In", "values": ["true"]}
    ours = {"key": _REVISION, "operator": "In", "values": [revision]}
    enabled = {"key": _ENABLED, "operator": "In", "values": ["enabled"]}
    unmarked = _selector(_lacks(_REVISION), _lacks(_ENABLED), outside)
    return {
        "rev.namespace": (_selector(ours, _lacks(_ENABLED)), _selector(not_refused)),
        "rev.object": (unmarked, _selector(not_refused, ours)),
        "namespace": (_selector(enabled), _selector(not_refused)),
        "object": (unmarked, _selector(asked, _lacks(_REVISION))),
    }


def _inactive() -> Selectors:
    return dict.fromkeys(("rev.namespace", "rev.object", "namespace", "object"), (_DEACTIVATED, _DEACTIVATED))


def _of_revision(revision: str) -> list[Json]:
    return [{"key": _REVISION, "operator": "In", "values": [revision]}]


def _lacks(label: str) -> Json:
    return {"key": label, "operator": "DoesNotExist"}


def _selector(*expressions: Json) -> Json:
    return {"matchExpressions": list(expressions)}


def _mutating(name: str, labels: Json, selectors: Selectors, service: Json) -> Json:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name, "labels": labels},
        "webhooks": [
            {
                "name": f"{prefix}.sidecar-injector.istio.io",
                "admissionReviewVersions": ["v1beta1", "v1"],
                "clientConfig": {"service": {**service, "path": "/inject"}},
                # a pod that should be in the mesh does not start outside it
                "failurePolicy": "Fail",
                "matchPolicy": "Equivalent",
                "namespaceSelector": namespaces,
                "objectSelector": pods,
                "reinvocationPolicy": "Never",
                "rules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["pods"],
                        "scope": "*",
                    }
                ],
                "sideEffects": "None",
                "timeoutSeconds": 10,
            }
            for prefix, (namespaces, pods) in selectors.items()
        ],
    }


def _validating(name: str, webhook: str, expressions: list[Json], service: Json) -> Json:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name, "labels": {"app": "istiod", "istio": "istiod", "release": "istio"}},
        "webhooks": [
            {
                "name": webhook,
                "admissionReviewVersions": ["v1beta1", "v1"],
                "clientConfig": {"service": {**service, "path": "/validate"}},
                # a bad resource that slips in while istiod is away is reported and harms no other; that nobody
                # could change the mesh while istiod is away would be worse
                "failurePolicy": "Ignore",
                "matchPolicy": "Equivalent",
                "namespaceSelector": {},
                "objectSelector": {"matchExpressions": expressions},
                "rules": [
                    {
                        "apiGroups": list(ISTIO_GROUPS),
                        "apiVersions": ["*"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": ["*"],
                        "scope": "*",
                    }
                ],
                "sideEffects": "None",
                "timeoutSeconds": 10,
            }
        ],
    }
