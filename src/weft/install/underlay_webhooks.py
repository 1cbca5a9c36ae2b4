"""The webhooks by which `spiderpool-controller` completes and checks the underlay's resources.

It fills in `caBundle` itself when it runs.
"""

from typing import Any, Final

from weft.api.spider_multus_config import NETWORK_INJECT, RDMA_INJECT

Json = dict[str, Any]

GROUP: Final = "spiderpool.spidernet.io"
VERSION: Final = "v2beta1"

_MUTATED: Final = ("SpiderIPPool", "SpiderSubnet", "SpiderReservedIP", "SpiderMultusConfig", "SpiderCoordinator")
_CHECKED: Final = {
    "SpiderIPPool": ("CREATE", "UPDATE", "DELETE"),
    "SpiderSubnet": ("CREATE", "UPDATE", "DELETE"),
    "SpiderReservedIP": ("CREATE", "UPDATE"),
    "SpiderMultusConfig": ("CREATE", "UPDATE"),
    "SpiderCoordinator": ("CREATE", "UPDATE"),
}


def configurations(name: str, namespace: str, port: int, labels: Json, *, injects: bool = False) -> list[Json]:
    """What is completed, and what is checked. `name` is that of the configurations and of the service.

    `injects`: pods get networks by their annotations.
    """
    service = {"name": name, "namespace": namespace, "port": port}
    mutating = [_webhook("mutate", kind, ("CREATE", "UPDATE"), service) for kind in _MUTATED]
    if injects:
        mutating.append(_injection(namespace, service))
    validating = [_webhook("validate", kind, operations, service) for kind, operations in _CHECKED.items()]
    return [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": f"{sort}WebhookConfiguration",
            "metadata": {"name": name, "labels": labels},
            "webhooks": webhooks,
        }
        for sort, webhooks in (("Mutating", mutating), ("Validating", validating))
    ]


def _webhook(verb: str, kind: str, operations: tuple[str, ...], service: Json) -> Json:
    singular = kind.lower()
    made: Json = {
        "name": f"{singular}.{GROUP}",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {
            "service": {**service, "path": f"/{verb}-{GROUP.replace('.', '-')}-{VERSION}-{singular}"}
        },
        # an address that two pools share is given twice: what nobody has checked does not come in
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "rules": [
            {
                "apiGroups": [GROUP],
                "apiVersions": [VERSION],
                "operations": list(operations),
                "resources": [f"{singular}s"],
                "scope": "*",
            }
        ],
        "sideEffects": "None",
        "timeoutSeconds": 10,
    }
    return {**made, "reinvocationPolicy": "Never"} if verb == "mutate" else made


def _injection(namespace: str, service: Json) -> Json:
    """Only pods that ask for networks are sent to us: without us, none of them starts with too few."""
    keys = (NETWORK_INJECT, RDMA_INJECT)
    asks = " || ".join(f"'{key}' in object.metadata.annotations" for key in keys)
    outside = {
        "key": "kubernetes.io/metadata.name",
        "operator": "NotIn",
        "values": sorted({"kube-system", namespace}),
    }
    return {
        "name": f"pods.{GROUP}",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {**service, "path": f"/inject-{GROUP.replace('.', '-')}-{VERSION}-pod"}},
        "failurePolicy": "Fail",
        "matchConditions": [
            {"name": "asks-for-networks", "expression": f"has(object.metadata.annotations) && ({asks})"}
        ],
        "matchPolicy": "Equivalent",
        "namespaceSelector": {"matchExpressions": [outside]},
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
