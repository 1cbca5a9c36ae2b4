"""A kubelet makes and changes only its own objects, whatever name the body gives (`admission/noderestriction`)."""

from weft.cluster.apiserver import errors
from weft.cluster.apiserver.admission.attributes import Attributes
from weft.cluster.apiserver.cluster import Call, Cluster, Obj
from weft.cluster.apiserver.nodeauthorization import node_of


def check(attributes: Attributes) -> None:
    """Refuse what is not the node's own. Authorization has seen what the URL names; here is what it does not."""
    call = attributes.call
    node = node_of(call.user)
    if not node or attributes.operation != "CREATE":
        return
    match call.kind.group, call.kind.plural, call.subresource:
        case "", "nodes", "" if attributes.name != node:
            why = f'node "{node}" is not allowed to modify node "{attributes.name}"'
        case "coordination.k8s.io", "leases", "" if attributes.name != node:
            why = "can only access node lease with the same name as the requesting node"
        case "", "pods", "":
            why = "a node cannot create pods"
        case _:
            return
    raise errors.forbidden(call.kind, attributes.name, why)


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
