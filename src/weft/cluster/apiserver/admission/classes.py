"""Classes that objects name, or get: of priority, of runtime, of storage."""

from collections.abc import Iterator

from weft.cluster.apiserver import errors
from weft.cluster.apiserver.amounts import Amount
from weft.cluster.apiserver.cluster import Call, Cluster, Obj

_DEFAULT_STORAGE = "storageclass.kubernetes.io/is-default-class"
_OLD_STORAGE = "volume.beta.kubernetes.io/storage-class"
_DEFAULT_INGRESS = "ingressclass.kubernetes.io/is-default-class"
_OLD_INGRESS = "kubernetes.io/ingress.class"
_PREEMPTS = "PreemptLowerPriority"


def _objects(cluster: Cluster, resource: str) -> Iterator[Obj]:
    return (row.decode() for row in cluster.store.rows(resource))


def _class(cluster: Cluster, group: str, kind: str, name: str) -> Obj | None:
    known = cluster.scheme.by_kind(group, kind)
    row = cluster.row(known, "", name) if known else None
    return row.decode() if row else None


def priority(pod: Obj, call: Call, cluster: Cluster) -> None:
    """Write the pod's priority, by its class or the cluster's default one, in place (`admission/priority`)."""
    spec = pod["spec"]
    name = spec.get("priorityClassName") or ""
    if name:
        found = _class(cluster, "scheduling.k8s.io", "PriorityClass", name)
        if found is None:
            raise errors.forbidden(call.kind, _name(pod), f"no PriorityClass with name {name} was found")
    else:
        every = [one for one in _objects(cluster, "scheduling.k8s.io/priorityclasses") if one.get("globalDefault")]
        found = min(every, key=lambda one: int(one["value"]), default=None)
        if found:
            spec["priorityClassName"] = found["metadata"]["name"]
    value, policy = (found["value"], found.get("preemptionPolicy", _PREEMPTS)) if found else (0, _PREEMPTS)
    said = spec.get("priority")
    if said is not None and said != value:
        why = (
            f"the integer value of priority ({said}) must not be provided in pod spec;"
            f" priority admission controller computed {value} from the given PriorityClass name"
        )
        raise errors.forbidden(call.kind, _name(pod), why)
    wanted = spec.get("preemptionPolicy")
    if wanted is not None and wanted != policy:
        why = (
            f"the string value of PreemptionPolicy ({wanted}) must not be provided in pod spec;"
            f" priority admission controller computed {policy} from the given PriorityClass name"
        )
        raise errors.forbidden(call.kind, _name(pod), why)
    spec["priority"], spec["preemptionPolicy"] = value, policy


def one_default(priority_class: Obj, call: Call, cluster: Cluster) -> None:
    """Refuse a second default PriorityClass."""
    if not priority_class.get("globalDefault"):
        return
    for other in _objects(cluster, "scheduling.k8s.io/priorityclasses"):
        name = other["metadata"]["name"]
        if other.get("globalDefault") and name != _name(priority_class):
            why = f"PriorityClass {name} is already marked as default. Only one default can exist"
            raise errors.forbidden(call.kind, _name(priority_class), why)


def runtime(pod: Obj, call: Call, cluster: Cluster) -> None:
    """Take over what the pod's RuntimeClass says of overhead and placing, in place (`admission/runtimeclass`)."""
    spec = pod["spec"]
    name = spec.get("runtimeClassName")
    found = _class(cluster, "node.k8s.io", "RuntimeClass", name) if name else None
    if name and found is None:
        why = f'pod rejected: RuntimeClass "{name}" not found'
        raise errors.forbidden(call.kind, _name(pod), why)
    overhead = ((found or {}).get("overhead") or {}).get("podFixed") or {}
    held = spec.get("overhead") or {}
    if held and held != overhead:
        missing = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
        other = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
        raise errors.forbidden(call.kind, _name(pod), other if overhead else missing)
    if overhead:
        spec["overhead"] = overhead
    scheduling = (found or {}).get("scheduling") or {}
    for key, value in (scheduling.get("nodeSelector") or {}).items():
        chosen = spec.setdefault("nodeSelector", {})
        if chosen.get(key, value) != value:
            why = (
                f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value};"
                f" pod.spec.nodeSelector[{key}] = {chosen[key]}"
            )
            raise errors.forbidden(call.kind, _name(pod), why)
        chosen[key] = value
    tolerations = spec.get("tolerations") or []
    lacking = [one for one in scheduling.get("tolerations") or () if one not in tolerations]
    if lacking:
        spec["tolerations"] = [*tolerations, *lacking]


def storage(claim: Obj, cluster: Cluster) -> None:
    """Give a claim that names no class the default one, in place (`admission/storage/storageclass`)."""
    spec = claim.setdefault("spec", {})
    if spec.get("storageClassName") is not None or _OLD_STORAGE in (claim["metadata"].get("annotations") or {}):
        return
    if usual := _default(cluster, "storage.k8s.io/storageclasses", _DEFAULT_STORAGE):
        spec["storageClassName"] = usual


def _default(cluster: Cluster, resource: str, mark: str) -> str:
    """The newest class that is marked as the default one, and of two as new the first by name."""
    marked = [
        one
        for one in _objects(cluster, resource)
        if (one["metadata"].get("annotations") or {}).get(mark) == "true"
    ]
    ordered = sorted(marked, key=lambda one: str(one["metadata"]["name"]))
    newest = max(ordered, key=lambda one: str(one["metadata"]["creationTimestamp"]), default=None)
    return str(newest["metadata"]["name"]) if newest else ""


def grown(claim: Obj, before: Obj, call: Call, cluster: Cluster) -> None:
    """Refuse more storage where the class does not let claims grow (`storage/persistentvolume/resize`)."""

    def asked(obj: Obj) -> Amount:
        requests = ((obj.get("spec") or {}).get("resources") or {}).get("requests") or {}
        return Amount.read(requests.get("storage", 0))

    if asked(claim).value <= asked(before).value:
        return
    name = (before.get("spec") or {}).get("storageClassName")
    found = _class(cluster, "storage.k8s.io", "StorageClass", name) if name else None
    if not (found or {}).get("allowVolumeExpansion"):
        why = (
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must"
            " support resize"
        )
        raise errors.forbidden(call.kind, call.name, why)


def ingress(obj: Obj, cluster: Cluster) -> None:
    """Give an Ingress that names no class the default one, in place (`admission/network/defaultingressclass`)."""
    spec = obj.setdefault("spec", {})
    if spec.get("ingressClassName") or _OLD_INGRESS in (obj["metadata"].get("annotations") or {}):
        return
    if usual := _default(cluster, "networking.k8s.io/ingressclasses", _DEFAULT_INGRESS):
        spec["ingressClassName"] = usual


def _name(obj: Obj) -> str:
    return str(obj["metadata"].get("name", ""))
