"""The webhooks by which `spiderpool-controller` completes and checks the underlay's resources.

It fills in `caBundle` itself when it runs.
"""

from typing import Any, Final

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


def configurations(name: str, namespace: str, port: int, labels: Json) -> list[Json]:
    """What is completed, and what is checked. `name` is that of the configurations and of the service."""
    service = {"name": name, "namespace": namespace, "port": port}
    mutating = [_webhook("mutate", kind, ("CREATE", "UPDATE"), service) for kind in _MUTATED]
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
