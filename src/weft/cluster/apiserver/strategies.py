"""What the server itself writes into objects when they are created or changed (`pkg/registry/*/strategy.go`)."""

import copy
from typing import Any

from weft.cluster.apiserver import crds, podchanges, quantities, servicechanges
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.scheme import Scheme

Obj = dict[str, Any]
_GENERATION = frozenset(
    {
        ("", "Pod"),
        ("", "PodTemplate"),
        ("", "ReplicationController"),
        ("apps", "Deployment"),
        ("apps", "ReplicaSet"),
        ("apps", "DaemonSet"),
        ("apps", "StatefulSet"),
        ("autoscaling", "HorizontalPodAutoscaler"),
        ("batch", "Job"),
        ("batch", "CronJob"),
        ("discovery.k8s.io", "EndpointSlice"),
        ("networking.k8s.io", "Ingress"),
        ("networking.k8s.io", "IngressClass"),
        ("networking.k8s.io", "NetworkPolicy"),
        ("policy", "PodDisruptionBudget"),
        ("scheduling.k8s.io", "PriorityClass"),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
    }
)
# These come with their status: a kubelet registers its node whole.
_KEEPS_STATUS = frozenset({("", "Node")})
# What Go's structs print of a status that nobody has written yet
_FIRST_STATUS: dict[tuple[str, str], Obj] = {
    ("", "Namespace"): {"phase": "Active"},
    ("", "Service"): {"loadBalancer": {}},
    ("", "PersistentVolumeClaim"): {"phase": "Pending"},
    ("", "PersistentVolume"): {"phase": "Pending"},
    ("", "ReplicationController"): {"replicas": 0},
    ("", "ResourceQuota"): {},
    ("apps", "DaemonSet"): {
        "currentNumberScheduled": 0,
        "desiredNumberScheduled": 0,
        "numberMisscheduled": 0,
        "numberReady": 0,
    },
    ("apps", "Deployment"): {},
    ("apps", "ReplicaSet"): {"replicas": 0},
    ("apps", "StatefulSet"): {"availableReplicas": 0, "replicas": 0},
    ("batch", "CronJob"): {},
    ("batch", "Job"): {},
    ("certificates.k8s.io", "CertificateSigningRequest"): {},
    ("networking.k8s.io", "Ingress"): {"loadBalancer": {}},
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): {"observedGeneration": 1, "typeChecking": {}},
    ("policy", "PodDisruptionBudget"): {
        "currentHealthy": 0,
        "desiredHealthy": 0,
        "disruptionsAllowed": 0,
        "expectedPods": 0,
    },
}
# What the server owns in metadata; clients cannot change it.
_OWNED = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")


def has_status(kind: Kind) -> bool:
    """Whether status is written by its own subresource."""
    return "status" in kind.subresources


def counts_generations(kind: Kind, scheme: Scheme) -> bool:
    """Whether `metadata.generation` grows with each change of what is wanted."""
    return (kind.group, kind.kind) in _GENERATION or scheme.custom(kind) is not None


def prepare_create(kind: Kind, obj: Obj, scheme: Scheme, stamp: str) -> None:
    """Set what a new object starts with, in place. `metadata.uid` is there already."""
    if has_status(kind) and (kind.group, kind.kind) not in _KEEPS_STATUS:
        obj.pop("status", None)
    if counts_generations(kind, scheme):
        obj["metadata"]["generation"] = 1
    _begin(kind, obj)
    if (kind.group, kind.kind) == ("apiextensions.k8s.io", "CustomResourceDefinition"):
        obj["metadata"].setdefault("finalizers", []).append(crds.CLEANUP)
        if crds.sound(obj):
            crds.accept(obj, scheme, stamp)


def _begin(kind: Kind, obj: Obj) -> None:
    """The first status, and what else a kind starts with."""
    match kind.group, kind.kind:
        case "", "Pod":
            obj["status"] = {"phase": "Pending", "qosClass": qos_class(obj)}
        case "", "Namespace":
            obj.setdefault("spec", {})["finalizers"] = ["kubernetes"]
        case "batch", "Job":
            _own_pods(obj)
    first = _FIRST_STATUS.get((kind.group, kind.kind))
    if first is not None:
        obj["status"] = copy.deepcopy(first)


def _own_pods(job: Obj) -> None:
    if job["spec"].get("manualSelector"):
        return
    uid, name = job["metadata"]["uid"], job["metadata"]["name"]
    labels = job["spec"].setdefault("template", {}).setdefault("metadata", {}).setdefault("labels", {})
    for prefix in ("", "batch.kubernetes.io/"):
        labels[f"{prefix}controller-uid"] = uid
        labels[f"{prefix}job-name"] = name
    job["spec"]["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    if not job["metadata"].get("labels"):
        job["metadata"]["labels"] = dict(labels)


def prepare_update(kind: Kind, obj: Obj, before: Obj, subresource: str) -> None:
    """Put back, in place, what this request may not change."""
    meta, old = obj["metadata"], before["metadata"]
    for name in _OWNED:
        if name in old:
            meta[name] = old[name]
        else:
            meta.pop(name, None)
    match subresource:
        case "status":
            _only_status(kind, obj, before)
        case "approval":
            _only_status(kind, obj, before)
            _only_judged(obj, before)
        case "ephemeralcontainers" | "resize":
            _restore(obj, before, "status")
            podchanges.keep_rest(obj, before, subresource)
        case _ if has_status(kind) and subresource != "binding":
            _restore(obj, before, "status")
    _settle(kind, obj, before, subresource)


def _settle(kind: Kind, obj: Obj, before: Obj, subresource: str) -> None:
    """What single kinds keep, in place."""
    match kind.group, kind.kind:
        case "", "Namespace" if subresource != "finalize":
            obj.setdefault("spec", {})["finalizers"] = before.get("spec", {}).get("finalizers") or []
        case "", "Service":
            servicechanges.settle(obj, before)
        case "certificates.k8s.io", "CertificateSigningRequest":
            _restore(obj, before, "spec")
        case "batch", "Job":
            obj["spec"].setdefault("selector", before["spec"].get("selector"))


def _restore(obj: Obj, before: Obj, field: str) -> None:
    if field in before:
        obj[field] = copy.deepcopy(before[field])
    else:
        obj.pop(field, None)


def _only_status(kind: Kind, obj: Obj, before: Obj) -> None:
    for field in {*obj, *before} - {"status", "metadata", "apiVersion", "kind"}:
        _restore(obj, before, field)
    if kind.group:  # a kubelet may label its node while it reports, and a pod's annotations change likewise
        managed = obj["metadata"].get("managedFields")
        version = obj["metadata"].get("resourceVersion")
        obj["metadata"] = copy.deepcopy(before["metadata"])
        for name, value in (("managedFields", managed), ("resourceVersion", version)):
            if value is not None:
                obj["metadata"][name] = value


def _only_judged(obj: Obj, before: Obj) -> None:
    """Of a signing request, `approval` changes the conditions alone, in place."""
    conditions = (obj.get("status") or {}).get("conditions")
    obj["status"] = copy.deepcopy(before.get("status") or {})
    if conditions is not None:
        obj["status"]["conditions"] = conditions


def wanted(obj: Obj) -> Obj:
    """What the object asks for: all but metadata and status."""
    return {key: value for key, value in obj.items() if key not in {"metadata", "status"}}


def count_generation(obj: Obj, before: Obj) -> None:
    """Count one more generation where the update changed what is wanted, in place."""
    if wanted(obj) != wanted(before):
        generation = obj["metadata"]["generation"] = before["metadata"].get("generation", 0) + 1
        if obj["kind"] == "ValidatingAdmissionPolicy":  # in force at once, and checked before it was stored
            obj["status"] = {"observedGeneration": generation, "typeChecking": {}}


def qos_class(pod: Obj) -> str:
    """`Guaranteed`, `Burstable` or `BestEffort`, by what the containers ask for."""
    spec = pod.get("spec", {})
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    resources = [container.get("resources") or {} for container in containers]
    asked = [part.get(name) or {} for part in resources for name in ("requests", "limits")]
    if not any(quantities.parse(str(v)) for some in asked for k, v in some.items() if k in {"cpu", "memory"}):
        return "BestEffort"
    for part in resources:
        limits, requests = part.get("limits") or {}, part.get("requests") or {}
        for name in ("cpu", "memory"):
            if not limits.get(name) or str(requests.get(name, limits[name])) != str(limits[name]):
                return "Burstable"
    return "Guaranteed"
