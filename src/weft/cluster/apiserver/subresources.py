"""Subresources that are stored in their object: scale, binding, eviction, finalize, tokens."""

from typing import Any

from weft.cluster.apiserver import errors
from weft.cluster.apiserver.cluster import Cluster, Obj
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.writing import Change

_SCALE = Kind("autoscaling", "v1", "Scale", "scales", "scale")
_BOUND = Kind("", "v1", "Pod", "pods/binding", "pod")
_BINDING = Kind("", "v1", "Binding", "bindings", "binding")
_PATHS = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}

SCALE = Kind("autoscaling", "v1", "Scale", "scales", "scale")
"""What `scale` answers with, for the columns of its table."""


def _look(obj: Obj, path: str) -> Any:
    value: Any = obj
    for part in path.lstrip(".").split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _paths(kind: Kind, cluster: Cluster) -> dict[str, str]:
    custom = cluster.scheme.custom(kind)
    return {**_PATHS, **((custom.subresources.get("scale") or {}) if custom else {})}


def scale_of(kind: Kind, obj: Obj, cluster: Cluster) -> Obj:
    """The `Scale` of an object."""
    paths = _paths(kind, cluster)
    meta = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    if label_path := paths.get("labelSelectorPath"):
        selector = str(_look(obj, label_path) or "")
    else:
        selector = _selector_text((obj.get("spec") or {}).get("selector") or {})
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: meta[name] for name in kept if name in meta},
        "spec": {"replicas": _look(obj, paths["specReplicasPath"]) or 0},
        "status": {
            "replicas": _look(obj, paths["statusReplicasPath"]) or 0,
            **({"selector": selector} if selector else {}),
        },
    }


def _selector_text(selector: Obj) -> str:
    if "matchLabels" not in selector and "matchExpressions" not in selector:
        selector = {"matchLabels": selector}  # as ReplicationControllers have it
    terms = [(key, f"{key}={value}") for key, value in (selector.get("matchLabels") or {}).items()]
    for term in selector.get("matchExpressions") or ():
        key, values = term["key"], ",".join(sorted(term.get("values") or ()))
        shown = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}
        terms.append((key, shown.get(term["operator"], f"!{key}")))
    return ",".join(text for _, text in sorted(terms))


def scaled(kind: Kind, cluster: Cluster, alter: Change) -> Change:
    """The change of an object that a change of its Scale means."""
    path = _paths(kind, cluster)["specReplicasPath"].lstrip(".").split(".")

    def change(before: Obj) -> Obj:
        wanted = alter(scale_of(kind, before, cluster))
        replicas = (wanted.get("spec") or {}).get("replicas", 0)
        if isinstance(replicas, bool) or not isinstance(replicas, int) or replicas < 0:
            found = errors.invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
            raise errors.invalid(_SCALE, before["metadata"]["name"], [found])
        holder = before
        for part in path[:-1]:
            holder = holder.setdefault(part, {})
        holder[path[-1]] = replicas
        before["metadata"]["resourceVersion"] = (wanted.get("metadata") or {}).get("resourceVersion", "")
        return before

    return change


def bound(binding: Obj, name: str, stamp: str) -> Change:
    """The change that a `Binding` means: the pod is on its node, and scheduled."""
    given = binding.get("target") or {}
    target, meta = given.get("name"), binding.get("metadata") or {}
    if not target:
        raise errors.invalid(_BINDING, name, [errors.required("target.name")])
    if given.get("kind") not in {None, "", "Node"}:
        found = errors.unsupported("target.kind", given["kind"], ["Node", "<empty>"])
        raise errors.invalid(_BINDING, name, [found])
    if meta.get("name", name) != name:
        raise errors.bad_request("name in URL does not match name in Binding object")

    def change(pod: Obj) -> Obj:
        if why := _unbindable(pod, meta):
            raise errors.conflict(_BOUND, name, why)
        for field in ("labels", "annotations"):
            if meta.get(field):
                pod["metadata"][field] = {**(pod["metadata"].get(field) or {}), **meta[field]}
        pod["spec"]["nodeName"] = target
        status = pod.setdefault("status", {})
        kept = [item for item in status.get("conditions") or () if item["type"] != "PodScheduled"]
        scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": stamp}
        status["conditions"] = [*kept, scheduled]
        pod["metadata"]["resourceVersion"] = ""
        return pod

    return change


def _unbindable(pod: Obj, meta: Obj) -> str:
    """Why a pod cannot be bound; `meta` is the binding's."""
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    if meta.get("uid", uid) != uid:
        return f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {uid}"
    if pod["metadata"].get("deletionTimestamp"):
        return f"pod {name} is being deleted, cannot be assigned to a host"
    if node := pod["spec"].get("nodeName"):
        return f'pod {name} is already assigned to node "{node}"'
    if pod["spec"].get("schedulingGates"):
        return f"pod {name} has non-empty .spec.schedulingGates"
    return ""


def finalized(body: Obj) -> Change:
    """The change that `/finalize` means: only the namespace's own finalizers."""
    finalizers = (body.get("spec") or {}).get("finalizers") or []

    def change(namespace: Obj) -> Obj:
        namespace.setdefault("spec", {})["finalizers"] = finalizers
        namespace["metadata"]["resourceVersion"] = (body.get("metadata") or {}).get("resourceVersion", "")
        return namespace

    return change
