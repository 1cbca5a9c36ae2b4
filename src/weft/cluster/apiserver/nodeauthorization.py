"""What a kubelet may do: its node, its pods, and what these use (`plugin/pkg/auth/authorizer/node`).

The node process also serves Services and names on its node, so it may read those (`system:node-proxier`).
"""

from collections.abc import Iterator
from typing import Any

from weft.cluster.apiserver.actions import Action
from weft.cluster.apiserver.cluster import Cluster, Obj
from weft.cluster.apiserver.users import User

GROUP, PREFIX = "system:nodes", "system:node:"
_READ = frozenset({"get", "list", "watch"})
_WRITE = frozenset({"update", "patch"})
# What every node may do with every object of a kind.
_ANY: dict[tuple[str, str], frozenset[str]] = {
    ("", "services"): _READ,
    ("", "endpoints"): _READ,
    ("discovery.k8s.io", "endpointslices"): _READ,
    ("", "nodes"): _READ | {"create"},
    ("", "events"): frozenset({"create"}) | _WRITE,
    ("events.k8s.io", "events"): frozenset({"create"}) | _WRITE,
    ("storage.k8s.io", "csidrivers"): _READ,
    ("storage.k8s.io", "volumeattachments"): frozenset({"get"}),
    ("node.k8s.io", "runtimeclasses"): _READ,
    ("authentication.k8s.io", "tokenreviews"): frozenset({"create"}),
    ("authorization.k8s.io", "subjectaccessreviews"): frozenset({"create"}),
    ("certificates.k8s.io", "certificatesigningrequests"): frozenset({"create", "get"}),
}
_OWN_POD = {
    "pods": frozenset({"get", "delete"}),
    "pods/status": _WRITE,
    "pods/eviction": frozenset({"create"}),
}
_RELATED = frozenset({"secrets", "configmaps", "persistentvolumeclaims", "serviceaccounts"})
_LEASES = "kube-node-lease"


def node_of(user: User) -> str:
    """The node that the user is the kubelet of; empty for anybody else."""
    return user.name.removeprefix(PREFIX) if user.name.startswith(PREFIX) and GROUP in user.groups else ""


def refusal(cluster: Cluster, node: str, action: Action) -> str:
    """Why the node may not do this; empty if it may."""
    if action.verb in _ANY.get((action.group, action.resource), ()):
        return ""
    match action.group, action.resource:
        case "", "pods" | "pods/status" | "pods/eviction":
            return _pods(cluster, node, action)
        case "", "nodes" | "nodes/status":
            own = action.name == node and action.verb in _WRITE | {"delete"}
            return "" if own else f"node '{node}' is not allowed to modify other nodes"
        case "coordination.k8s.io", "leases":
            return _lease(node, action)
        case "storage.k8s.io", "csinodes":
            return "" if action.name in {"", node} else "can only access CSINode with the same name as the node"
        case "", "serviceaccounts/token" if action.verb == "create":
            return _related(cluster, node, action, "serviceaccounts")
        case "", "persistentvolumes" if action.verb in _READ:
            return _volume(cluster, node, action)
        case "", resource if resource in _RELATED and action.verb in _READ:
            return _related(cluster, node, action, resource)
        case _:
            return f"no relationship found between node '{node}' and this object"


def _pods(cluster: Cluster, node: str, action: Action) -> str:
    if action.resource == "pods" and action.verb in {"list", "watch"}:
        own = f"spec.nodeName={node}" in action.fields.split(",")
        return "" if own else "can only list/watch pods with spec.nodeName field selector"
    if action.verb not in _OWN_POD[action.resource]:
        return f"a node cannot {action.verb} {action.resource}"
    pod = cluster.core("pods", action.namespace, action.name)
    if pod is not None and pod["spec"].get("nodeName") != node:
        return f"no relationship found between node '{node}' and this object"
    return ""


def _lease(node: str, action: Action) -> str:
    if action.namespace != _LEASES:
        return f"can only access leases in the {_LEASES} system namespace"
    allowed = action.verb == "create" or (action.name == node and action.verb in _READ | _WRITE | {"delete"})
    return "" if allowed else "can only access node lease with the same name as the requesting node"


def _related(cluster: Cluster, node: str, action: Action, plural: str) -> str:
    if not action.name:
        return f"can only read {plural} by name"
    wanted = (plural, action.name)
    if any(wanted in uses(pod) for pod in _own_pods(cluster, node, action.namespace, action.name)):
        return ""
    return f"no relationship found between node '{node}' and this object"


def _volume(cluster: Cluster, node: str, action: Action) -> str:
    volume = cluster.core("persistentvolumes", "", action.name) if action.name else None
    claim = ((volume or {}).get("spec") or {}).get("claimRef") or {}
    namespace, name = str(claim.get("namespace", "")), str(claim.get("name", ""))
    pods = _own_pods(cluster, node, namespace, name) if namespace and name else ()
    if any(("persistentvolumeclaims", name) in uses(pod) for pod in pods):
        return ""
    return f"no relationship found between node '{node}' and this object"


def _own_pods(cluster: Cluster, node: str, namespace: str, name: str) -> Iterator[Obj]:
    """The node's pods in a namespace that may speak of a name."""
    quick = (f'"{node}"'.encode(), f'"{name}"'.encode())
    for row in cluster.store.rows("/pods", namespace):
        # most pods are of other nodes or use other things: their bytes tell, without decoding
        if all(text in row.raw for text in quick):
            pod = row.decode()
            if pod["spec"].get("nodeName") == node:
                yield pod


def uses(pod: Obj) -> set[tuple[str, str]]:
    """What a pod refers to, as (plural, name)."""
    spec = pod["spec"]
    found = {("serviceaccounts", str(spec.get("serviceAccountName", "")))}
    found |= {("secrets", item.get("name", "")) for item in spec.get("imagePullSecrets") or ()}
    for volume in spec.get("volumes") or ():
        found |= _of_volume(volume)
        for source in (volume.get("projected") or {}).get("sources") or ():
            found |= _of_volume(source)
    for part in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(part) or ():
            found |= _of_container(container)
    return found


def _of_volume(volume: Obj) -> set[tuple[str, str]]:
    secret, maps = volume.get("secret") or {}, volume.get("configMap") or {}
    return {
        ("secrets", secret.get("secretName") or secret.get("name") or ""),
        ("configmaps", maps.get("name") or ""),
        ("persistentvolumeclaims", (volume.get("persistentVolumeClaim") or {}).get("claimName") or ""),
        ("secrets", ((volume.get("csi") or {}).get("nodePublishSecretRef") or {}).get("name") or ""),
    }


def _of_container(container: Obj) -> set[tuple[str, str]]:
    values: list[Any] = [item.get("valueFrom") or {} for item in container.get("env") or ()]
    found = {("secrets", (value.get("secretKeyRef") or {}).get("name", "")) for value in values}
    found |= {("configmaps", (value.get("configMapKeyRef") or {}).get("name", "")) for value in values}
    for source in container.get("envFrom") or ():
        found.add(("secrets", (source.get("secretRef") or {}).get("name", "")))
        found.add(("configmaps", (source.get("configMapRef") or {}).get("name", "")))
    return found
