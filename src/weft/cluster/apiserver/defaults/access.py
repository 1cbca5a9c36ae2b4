"""Defaults of what configures the cluster itself: namespaces, secrets, roles, webhooks, definitions."""

import base64
import copy
from typing import Any

Obj = dict[str, Any]


def secret(obj: Obj) -> None:
    """Opaque; what `stringData` says is kept as base64 in `data`."""
    obj.setdefault("type", "Opaque")
    for key, value in (obj.pop("stringData", None) or {}).items():
        obj.setdefault("data", {})[key] = base64.b64encode(str(value).encode()).decode()


def namespace(obj: Obj) -> None:
    """The label that selects a namespace by its name."""
    metadata = obj.setdefault("metadata", {})
    if metadata.get("name"):
        metadata.setdefault("labels", {})["kubernetes.io/metadata.name"] = metadata["name"]


def volume_claim(obj: Obj) -> None:
    """Claims are for file systems."""
    obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def spec(obj: Obj) -> None:
    """Go prints a struct even where nothing is in it."""
    obj.setdefault("spec", {})


def volume(obj: Obj) -> None:
    """Volumes hold file systems and are kept when their claims go."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    if "hostPath" in spec:
        spec["hostPath"].setdefault("type", "")


def limit_range(obj: Obj) -> None:
    """What containers get follows from the most and the least they may have."""
    spec(obj)
    for limit in (obj.get("spec") or {}).get("limits") or ():
        if limit.get("type") != "Container":
            continue
        default, request = dict(limit.get("default") or {}), dict(limit.get("defaultRequest") or {})
        for name, most in (limit.get("max") or {}).items():
            default.setdefault(name, most)
        for name, amount in [*default.items(), *(limit.get("min") or {}).items()]:
            request.setdefault(name, amount)
        for field, amounts in (("default", default), ("defaultRequest", request)):
            if amounts:
                limit[field] = amounts


_RISE = [
    {"type": "Pods", "value": 4, "periodSeconds": 15},
    {"type": "Percent", "value": 100, "periodSeconds": 15},
]
_FALL = [{"type": "Percent", "value": 100, "periodSeconds": 15}]


def autoscaler(obj: Obj) -> None:
    """From one replica on, by 80 percent of CPU; how fast, where something is said about that."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("minReplicas", 1)
    if obj.get("apiVersion") == "autoscaling/v1":
        if "autoscaling.alpha.kubernetes.io/metrics" not in (obj["metadata"].get("annotations") or {}):
            spec.setdefault("targetCPUUtilizationPercentage", 80)
        return
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    if "behavior" in spec:
        rise = spec["behavior"].setdefault("scaleUp", {})
        rise.setdefault("stabilizationWindowSeconds", 0)
        fall = spec["behavior"].setdefault("scaleDown", {})
        for rules, policies in ((rise, _RISE), (fall, _FALL)):
            rules.setdefault("selectPolicy", "Max")
            rules.setdefault("policies", copy.deepcopy(policies))


def csi_driver(obj: Obj) -> None:
    """What a driver is taken to do."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("attachRequired", True)
    spec.setdefault("fsGroupPolicy", "ReadWriteOnceWithFSType")
    spec.setdefault("volumeLifecycleModes", ["Persistent"])
    for name in ("podInfoOnMount", "requiresRepublish", "seLinuxMount", "storageCapacity"):
        spec.setdefault(name, False)


def _webhook(webhook: Obj) -> None:
    webhook.setdefault("failurePolicy", "Fail")
    webhook.setdefault("matchPolicy", "Equivalent")
    webhook.setdefault("namespaceSelector", {})
    webhook.setdefault("objectSelector", {})
    webhook.setdefault("timeoutSeconds", 10)
    service = webhook.get("clientConfig", {}).get("service")
    if service:
        service.setdefault("port", 443)
    for rule in webhook.get("rules") or ():
        rule.setdefault("scope", "*")


def validating_webhooks(obj: Obj) -> None:
    """Fail closed, after ten seconds."""
    for webhook in obj.get("webhooks") or ():
        _webhook(webhook)


def mutating_webhooks(obj: Obj) -> None:
    """As validating ones, and called once."""
    for webhook in obj.get("webhooks") or ():
        _webhook(webhook)
        webhook.setdefault("reinvocationPolicy", "Never")


def _matched(resources: Obj) -> None:
    resources.setdefault("matchPolicy", "Equivalent")
    resources.setdefault("namespaceSelector", {})
    resources.setdefault("objectSelector", {})
    for name in ("resourceRules", "excludeResourceRules"):
        for rule in resources.get(name) or ():
            rule.setdefault("scope", "*")


def admission_policy(obj: Obj) -> None:
    """Fail closed, and for all that a rule names."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("failurePolicy", "Fail")
    if spec.get("matchConstraints") is not None:
        _matched(spec["matchConstraints"])


def admission_binding(obj: Obj) -> None:
    """What a binding narrows has the policy's defaults."""
    spec = obj.setdefault("spec", {})
    if spec.get("matchResources") is not None:
        _matched(spec["matchResources"])


def role_binding(obj: Obj) -> None:
    """Roles and users belong to the RBAC group, service accounts to the core one."""
    obj.get("roleRef", {}).setdefault("apiGroup", "rbac.authorization.k8s.io")
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in {"User", "Group"}:
            subject.setdefault("apiGroup", "rbac.authorization.k8s.io")


def custom_resource_definition(obj: Obj) -> None:
    """Names follow from the kind; versions are not converted."""
    spec = obj.setdefault("spec", {})
    names = spec.setdefault("names", {})
    if kind := names.get("kind"):
        names.setdefault("singular", str(kind).lower())
        names.setdefault("listKind", f"{kind}List")
    spec.setdefault("conversion", {"strategy": "None"})


def storage_class(obj: Obj) -> None:
    """Volumes are deleted with their claims and bound at once."""
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def node(obj: Obj) -> None:
    """A node has a spec, if an empty one, and allocates all of its capacity."""
    obj.setdefault("spec", {})
    status = obj.get("status") or {}
    if status.get("capacity"):
        status.setdefault("allocatable", status["capacity"])


def priority_class(obj: Obj) -> None:
    """Higher priority may preempt lower."""
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")
