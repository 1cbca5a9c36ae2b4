"""The sidecar's volumes, and where it mounts them."""

from typing import Any

from weft.inject.annotations import Overrides

MOUNTS = (
    ("/var/run/secrets/workload-spiffe-uds", "workload-socket"),
    ("/var/run/secrets/credential-uds", "credential-socket"),
    ("/var/run/secrets/workload-spiffe-credentials", "workload-certs"),
    ("/var/run/secrets/istio", "istiod-ca-cert"),
    ("/var/lib/istio/data", "istio-data"),
    ("/etc/istio/proxy", "istio-envoy"),
    ("/var/run/secrets/tokens", "istio-token"),
    ("/etc/istio/pod", "istio-podinfo"),
)

BOOTSTRAP_FILE = "/etc/istio/custom-bootstrap/custom_bootstrap.json"
"""Where the ConfigMap of `sidecar.istio.io/bootstrapOverride` is mounted, and its key (Istio's)."""

_BOOTSTRAP = "custom-bootstrap-volume"
_READABLE = 0o644
_TOKEN_SECONDS = 43200


def mounts() -> list[dict[str, Any]]:
    """The sidecar's volumeMounts."""
    return [{"mountPath": path, "name": name} for path, name in MOUNTS]


def volumes() -> list[dict[str, Any]]:
    """The sidecar's volumes, in the order that Istio's status annotation lists them."""
    token = {
        "serviceAccountToken": {"audience": "istio-ca", "expirationSeconds": _TOKEN_SECONDS, "path": "istio-token"}
    }
    return [
        {"emptyDir": {}, "name": "workload-socket"},
        {"emptyDir": {}, "name": "credential-socket"},
        {"emptyDir": {}, "name": "workload-certs"},
        {"emptyDir": {"medium": "Memory"}, "name": "istio-envoy"},
        {"emptyDir": {}, "name": "istio-data"},
        {
            "downwardAPI": {"defaultMode": _READABLE, "items": [_item("labels"), _item("annotations")]},
            "name": "istio-podinfo",
        },
        {"name": "istio-token", "projected": {"defaultMode": _READABLE, "sources": [token]}},
        {"configMap": {"defaultMode": _READABLE, "name": "istio-ca-root-cert"}, "name": "istiod-ca-cert"},
    ]


def _item(name: str) -> dict[str, Any]:
    return {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.{name}"}, "path": name}


def own(overrides: Overrides) -> list[dict[str, Any]]:
    """The volumes that the pod's annotations ask for."""
    name = overrides.bootstrap_override
    bootstrap = [{"configMap": {"defaultMode": _READABLE, "name": name}, "name": _BOOTSTRAP}] if name else []
    return [*bootstrap, *(dict(each) for each in overrides.volumes)]


def own_mounts(overrides: Overrides) -> list[dict[str, Any]]:
    """Where the sidecar has them."""
    bootstrap = [{"mountPath": BOOTSTRAP_FILE.rpartition("/")[0], "name": _BOOTSTRAP}]
    return [*(bootstrap if overrides.bootstrap_override else ()), *(dict(each) for each in overrides.mounts)]
