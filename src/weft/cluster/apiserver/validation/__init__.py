"""What Kubernetes refuses beyond the schema, kind by kind (`pkg/apis/*/validation`)."""

from collections.abc import Callable
from typing import Any

from weft.cluster.apiserver import names
from weft.cluster.apiserver.cel.engine import Engine
from weft.cluster.apiserver.errors import FieldError, invalid_value, required
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.validation import (
    cluster,
    definitions,
    network_policies,
    pods,
    policies,
    services,
    workloads,
)

Obj = dict[str, Any]

_NEW: dict[tuple[str, str], Callable[[Obj], list[FieldError]]] = {
    ("", "Pod"): pods.pod,
    ("", "Service"): services.service,
    ("", "ConfigMap"): cluster.config_map,
    ("", "Secret"): cluster.secret,
    ("apps", "Deployment"): workloads.selecting,
    ("apps", "ReplicaSet"): workloads.selecting,
    ("apps", "DaemonSet"): workloads.selecting,
    ("apps", "StatefulSet"): workloads.selecting,
    ("batch", "Job"): workloads.job,
    ("batch", "CronJob"): workloads.cron_job,
    ("networking.k8s.io", "NetworkPolicy"): network_policies.network_policy,
    definitions.KIND: definitions.definition,
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): policies.policy,
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"): policies.binding,
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): cluster.webhooks,
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): cluster.webhooks,
}
_EXPRESSIONS: dict[tuple[str, str], Callable[[Obj, Obj | None, Engine], list[FieldError]]] = {
    definitions.KIND: definitions.rules,
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): policies.conditions_of_webhooks,
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): policies.conditions_of_webhooks,
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): policies.expressions_of_policy,
}
_CHANGED: dict[tuple[str, str], Callable[[Obj, Obj], list[FieldError]]] = {
    ("", "Pod"): pods.changed,
    ("", "Service"): services.changed,
    ("", "ConfigMap"): cluster.immutable_data,
    ("", "Secret"): cluster.immutable_data,
    ("apps", "Deployment"): workloads.selector_changed,
    ("apps", "ReplicaSet"): workloads.selector_changed,
    ("apps", "DaemonSet"): workloads.selector_changed,
    ("apps", "StatefulSet"): workloads.stateful_set_changed,
    ("batch", "Job"): workloads.job_changed,
    definitions.KIND: definitions.changed,
    ("rbac.authorization.k8s.io", "RoleBinding"): cluster.role_changed,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): cluster.role_changed,
}


def metadata(kind: Kind, obj: Obj) -> list[FieldError]:
    """What is wrong with an object's name, labels and annotations."""
    meta = obj.get("metadata", {})
    if not meta.get("name"):
        return [required("metadata.name", "name or generateName is required")]
    found = names.of_kind(kind, meta["name"])
    found += names.labels(meta.get("labels") or {}, "metadata.labels")
    found += names.annotations(meta.get("annotations") or {}, "metadata.annotations")
    owners = meta.get("ownerReferences") or []
    if sum(bool(owner.get("controller")) for owner in owners) > 1:
        found.append(
            invalid_value("metadata.ownerReferences", owners, "Only one reference can have Controller set to true")
        )
    return found


def check(kind: Kind, obj: Obj) -> list[FieldError]:
    """What is wrong with an object by itself."""
    rule = _NEW.get((kind.group, kind.kind))
    return rule(obj) if rule else []


def expressions(kind: Kind, obj: Obj, before: Obj | None, engine: Engine) -> list[FieldError]:
    """What is wrong with the CEL of an object that is sound otherwise; what stood there before is not asked."""
    rule = _EXPRESSIONS.get((kind.group, kind.kind))
    return rule(obj, before, engine) if rule else []


def check_change(kind: Kind, obj: Obj, before: Obj) -> list[FieldError]:
    """What an update may not change."""
    rule = _CHANGED.get((kind.group, kind.kind))
    return rule(obj, before) if rule else []
