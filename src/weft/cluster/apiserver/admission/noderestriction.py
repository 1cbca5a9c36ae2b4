"""A kubelet makes and changes only its own objects, whatever name the body gives (`admission/noderestriction`)."""

from weft.cluster.apiserver import errors
from weft.cluster.apiserver.admission.attributes import Attributes
from weft.cluster.apiserver.cluster import Call, Cluster, Obj
from weft.cluster.apiserver.nodeauthorization import node_of

_OWN_PREFIXES = ("kubelet.kubernetes.io", "node.kubernetes.io")
_OWN_LABELS = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "beta.kubernetes.io/instance-type",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
    }
)


def check(attributes: Attributes) -> None:
    """Refuse what is not the node's own. Authorization has seen what the URL names; here is what it does not."""
    call = attributes.call
    node = node_of(call.user)
    if not node or attributes.operation not in {"CREATE", "UPDATE"}:
        return
    new = attributes.operation == "CREATE"
    match call.kind.group, call.kind.plural, call.subresource:
        case "", "nodes", "" if attributes.name != node:
            why = f'node "{node}" is not allowed to modify node "{attributes.name}"'
        case "", "nodes", _:
            why = _of_own_node(attributes, node)
        case "coordination.k8s.io", "leases", "" if new and attributes.name != node:
            why = "can only access node lease with the same name as the requesting node"
        case "", "pods", "" if new:
            wanted = 'pod does not have "kubernetes.io/config.mirror" annotation'
            why = f'{wanted}, node "{node}" can only create mirror pods'
        case _:
            return
    if why:
        raise errors.forbidden(call.kind, attributes.name, why)


def _of_own_node(attributes: Attributes, node: str) -> str:
    """Why the node may not write this of itself: what it is trusted with is not its own to say."""
    obj, old = attributes.obj or {}, attributes.old or {}
    before, after = (((one.get("metadata") or {}).get("labels") or {}) for one in (old, obj))
    changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    if bad := sorted(key for key in changed if _reserved(key)):
        what = "set the following labels" if attributes.operation == "CREATE" else "modify labels"
        return f'node "{node}" is not allowed to {what}: {", ".join(bad)}'
    taints = [(one.get("spec") or {}).get("taints") or [] for one in (old, obj)]
    if attributes.operation == "UPDATE" and taints[0] != taints[1]:
        return f'node "{node}" is not allowed to modify taints'
    return ""


def _reserved(label: str) -> bool:
    prefix, _, _ = label.rpartition("/")
    if _within(prefix, "node-restriction.kubernetes.io"):
        return True
    if label in _OWN_LABELS or any(_within(prefix, domain) for domain in _OWN_PREFIXES):
        return False
    return any(_within(prefix, domain) for domain in ("kubernetes.io", "k8s.io"))


def _within(prefix: str, domain: str) -> bool:
    return prefix == domain or prefix.endswith(f".{domain}")


def check_token(cluster: Cluster, call: Call, request: Obj) -> None:
    """Refuse a token that is not bound to one of the node's own pods."""
    node = node_of(call.user)
    if not node:
        return
    bound = (request.get("spec") or {}).get("boundObjectRef") or {}
    if bound.get("kind") != "Pod":
        raise errors.forbidden(call.kind, call.name, "node requested token not bound to a pod")
    pod = cluster.core("pods", call.namespace, str(bound.get("name", "")))
    if pod is not None and pod["spec"].get("nodeName") != node:
        why = "node requested token bound to a pod scheduled on a different node"
        raise errors.forbidden(call.kind, call.name, why)
