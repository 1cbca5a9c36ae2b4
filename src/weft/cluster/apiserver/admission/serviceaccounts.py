"""Every pod runs as a service account and finds its token (`plugin/pkg/admission/serviceaccount`)."""

import asyncio
from typing import Any

from weft.cluster.apiserver import errors
from weft.cluster.apiserver.cluster import Call, Cluster, Obj

MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_PREFIX = "kube-api-access-"
_TOKEN_SECONDS = 3607
_LOOKS = 20
_TOLERATED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def admit(pod: Obj, call: Call, cluster: Cluster) -> None:
    """Name the account and mount its token, in place. Doing it again does nothing more."""
    spec = pod["spec"]
    name = spec.setdefault("serviceAccountName", "default")
    spec["serviceAccount"] = name
    account = cluster.core("serviceaccounts", call.namespace, name)
    if account is None:
        raise errors.forbidden(
            call.kind,
            pod["metadata"].get("name", ""),
            f'error looking up service account {call.namespace}/{name}: serviceaccount "{name}" not found',
        )
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = account["imagePullSecrets"]
    if spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken", True)):
        _mount(spec, cluster)


def _mount(spec: dict[str, Any], cluster: Cluster) -> None:
    volumes = spec.get("volumes") or []
    name = next((v["name"] for v in volumes if v.get("name", "").startswith(_PREFIX)), "")
    added = False
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    for container in containers:
        mounts = container.get("volumeMounts") or []
        if any(mount.get("mountPath") == MOUNT for mount in mounts):
            continue
        name = name or _PREFIX + cluster.world.suffix()
        container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": MOUNT}]
        added = True
    if added and not any(volume.get("name") == name for volume in volumes):
        spec["volumes"] = [*volumes, _volume(name)]


def _volume(name: str) -> Obj:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": _TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [namespace]}},
            ],
            "defaultMode": 0o644,
        },
    }


async def await_account(pod: Obj, call: Call, cluster: Cluster) -> None:
    """Give a new namespace's default account a second to come: its controller may have only just heard."""
    name = (pod.get("spec") or {}).get("serviceAccountName") or "default"
    for _ in range(_LOOKS):
        if name != "default" or cluster.core("serviceaccounts", call.namespace, name):
            return
        await asyncio.sleep(1 / _LOOKS)


def tolerations(pod: Obj) -> None:
    """The tolerations that keep a pod for five minutes on a node that is gone, in place."""
    spec = pod["spec"]
    held = spec.get("tolerations") or []
    lacking = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        for key in _TOLERATED
        if not any(_tolerates(toleration, key) for toleration in held)
    ]
    spec["tolerations"] = [*held, *lacking]


def _tolerates(toleration: Obj, key: str) -> bool:
    effect = toleration.get("effect") in {None, "", "NoExecute"}
    return effect and (
        toleration.get("key") == key or (not toleration.get("key") and toleration.get("operator") == "Exists")
    )
