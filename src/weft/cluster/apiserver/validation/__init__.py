"""What Kubernetes refuses beyond the schema, kind by kind (`pkg/apis/*/validation`)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from weft.cluster.apiserver import names
from weft.cluster.apiserver.cel.engine import Engine
from weft.cluster.apiserver.errors import FieldError, forbidden_field, invalid_value, required
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.validation import (
    access,
    config,
    definitions,
    jobs,
    limits,
    networking,
    nodes,
    pods,
    policies,
    policy,
    services,
    storage,
    webhooks,
    workloads,
)

Obj = dict[str, Any]
Check = Callable[[Obj], list[FieldError]]
Change = Callable[[Obj, Obj], list[FieldError]]
_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})
# groups whose objects may have any finalizer that is a qualified name
_ANY_FINALIZER = frozenset({"admissionregistration.k8s.io", "apiextensions.k8s.io", "coordination.k8s.io"})

_EXPRESSIONS: dict[tuple[str, str], Callable[[Obj, Obj | None, Engine], list[FieldError]]] = {
    definitions.KIND: definitions.rules,
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): policies.conditions_of_webhooks,
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): policies.conditions_of_webhooks,
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): policies.expressions_of_policy,
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What is checked of a kind: `each` always, `new` when it is created, `changed` when it is updated."""

    each: Check | None = None
    new: Check | None = None
    changed: Change | None = None
    changed_first: bool = False
    """Whether Kubernetes names what may not change before what is wrong by itself."""


_BY_KIND: dict[tuple[str, str], Rules] = {
    ("", "ConfigMap"): Rules(config.config_map, changed=config.config_map_changed, changed_first=True),
    ("", "Endpoints"): Rules(networking.endpoints),
    ("", "LimitRange"): Rules(limits.limit_range),
    ("", "Namespace"): Rules(),
    ("", "Node"): Rules(nodes.node, changed=nodes.changed),
    ("", "PersistentVolume"): Rules(storage.volume, changed=storage.volume_changed),
    ("", "PersistentVolumeClaim"): Rules(storage.claim, changed=storage.claim_changed),
    ("", "Pod"): Rules(pods.pod, pods.new_pod, pods.changed),
    ("", "PodTemplate"): Rules(pods.pod_template),
    ("", "ReplicationController"): Rules(workloads.replication_controller),
    ("", "ResourceQuota"): Rules(limits.quota, changed=limits.quota_changed),
    ("", "Secret"): Rules(config.secret, changed=config.secret_changed, changed_first=True),
    ("", "Service"): Rules(services.service, changed=services.changed, changed_first=True),
    ("", "ServiceAccount"): Rules(),
    ("apps", "DaemonSet"): Rules(workloads.daemon_set, changed=workloads.selector_changed),
    ("apps", "Deployment"): Rules(workloads.deployment, changed=workloads.selector_changed),
    ("apps", "ReplicaSet"): Rules(workloads.replica_set, changed=workloads.selector_changed),
    ("apps", "StatefulSet"): Rules(workloads.stateful_set, changed=workloads.stateful_set_changed),
    ("autoscaling", "HorizontalPodAutoscaler"): Rules(policy.autoscaler),
    ("batch", "CronJob"): Rules(jobs.cron_job, jobs.new_cron_job),
    ("batch", "Job"): Rules(jobs.job, changed=jobs.job_changed),
    ("certificates.k8s.io", "CertificateSigningRequest"): Rules(
        access.certificate_request, changed=access.request_changed
    ),
    ("coordination.k8s.io", "Lease"): Rules(policy.lease),
    ("discovery.k8s.io", "EndpointSlice"): Rules(networking.endpoint_slice, changed=networking.slice_changed),
    ("networking.k8s.io", "Ingress"): Rules(networking.ingress, networking.new_ingress),
    ("networking.k8s.io", "IngressClass"): Rules(
        networking.ingress_class, changed=networking.ingress_class_changed, changed_first=True
    ),
    ("networking.k8s.io", "NetworkPolicy"): Rules(networking.network_policy),
    ("node.k8s.io", "RuntimeClass"): Rules(policy.runtime_class, changed=policy.runtime_class_changed),
    ("policy", "PodDisruptionBudget"): Rules(policy.disruption_budget),
    ("rbac.authorization.k8s.io", "ClusterRole"): Rules(access.cluster_role),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): Rules(
        access.cluster_role_binding, changed=access.binding_changed
    ),
    ("rbac.authorization.k8s.io", "Role"): Rules(access.role),
    ("rbac.authorization.k8s.io", "RoleBinding"): Rules(access.role_binding, changed=access.binding_changed),
    ("scheduling.k8s.io", "PriorityClass"): Rules(policy.priority_class, changed=policy.priority_class_changed),
    ("storage.k8s.io", "StorageClass"): Rules(storage.storage_class, changed=storage.storage_class_changed),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): Rules(webhooks.configuration),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): Rules(webhooks.configuration),
}
# their rules do not cover all that the schema says is required
_BESIDE_SCHEMA: dict[tuple[str, str], Rules] = {
    definitions.KIND: Rules(definitions.definition, changed=definitions.changed),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): Rules(policies.policy),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"): Rules(policies.binding),
}


def complete(kind: Kind) -> bool:
    """Whether a kind's rules say all that there is to say of it."""
    return (kind.group, kind.kind) in _BY_KIND


def check(kind: Kind, obj: Obj, before: Obj | None) -> list[FieldError]:
    """What is wrong with an object of a built-in kind, or with its change from `before`."""
    name = (kind.group, kind.kind)
    rules = _BY_KIND.get(name) or _BESIDE_SCHEMA.get(name) or Rules()
    each = rules.each(obj) if rules.each else []
    if before is None:
        return [*each, *(rules.new(obj) if rules.new else [])]
    changed = rules.changed(obj, before) if rules.changed else []
    return [*changed, *each] if rules.changed_first else [*each, *changed]


def metadata(kind: Kind, obj: Obj, before: Obj | None, *, built_in: bool) -> list[FieldError]:
    """What is wrong with an object's metadata."""
    meta = obj.get("metadata", {})
    if not meta.get("name"):
        return [required("metadata.name", "name or generateName is required")]
    found: list[FieldError] = []
    if before is None:
        if (
            meta.get("generateName") and kind.kind != "Event"
        ):  # those are named after what they are about, and a dot
            found += names.generated(kind, meta["generateName"])
        found += names.of_kind(kind, meta["name"])
    else:
        found += _no_new_finalizers(meta, before["metadata"])
    found += names.labels(meta.get("labels") or {}, "metadata.labels")
    found += names.annotations(meta.get("annotations") or {}, "metadata.annotations")
    found += _owners(meta.get("ownerReferences") or [])
    return found + _finalizers(
        meta.get("finalizers") or [], built_in=built_in and kind.group not in _ANY_FINALIZER
    )


def _no_new_finalizers(meta: Obj, before: Obj) -> list[FieldError]:
    new = sorted({*(meta.get("finalizers") or ())} - {*(before.get("finalizers") or ())})
    if not before.get("deletionTimestamp") or not new:
        return []
    shown = ", ".join(f'"{name}"' for name in new)
    why = (
        f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{shown}}}"
    )
    return [forbidden_field("metadata.finalizers", why)]


def _owners(owners: list[Obj]) -> list[FieldError]:
    path, found, controller = "metadata.ownerReferences", list[FieldError](), ""
    for owner in owners:
        if not str(owner.get("apiVersion", "")).rpartition("/")[2]:
            found.append(
                invalid_value(f"{path}.apiVersion", owner.get("apiVersion", ""), "version must not be empty")
            )
        for field in ("kind", "name", "uid"):
            if not owner.get(field):
                found.append(invalid_value(f"{path}.{field}", owner.get(field, ""), "must not be empty"))
        if (owner.get("apiVersion"), owner.get("kind")) == ("v1", "Event"):
            found.append(invalid_value(path, owner, "/v1, Kind=Event is disallowed from being an owner"))
        if owner.get("controller"):
            this = f"{owner.get('kind')}/{owner.get('name')}"
            if controller:
                both = f'Found "true" in references for {controller} and {this}'
                why = f"Only one reference can have Controller set to true. {both}"
                found.append(invalid_value(path, owners, why))
            else:
                controller = this
    return found


def expressions(kind: Kind, obj: Obj, before: Obj | None, engine: Engine) -> list[FieldError]:
    """What is wrong with the CEL of an object that is sound otherwise; what stood there before is not asked."""
    rule = _EXPRESSIONS.get((kind.group, kind.kind))
    return rule(obj, before, engine) if rule else []


def _finalizers(given: list[str], *, built_in: bool) -> list[FieldError]:
    path = "metadata.finalizers"
    found = [invalid_value(path, name, why) for name in given for why in names.qualified(name)]
    if {"orphan", "foregroundDeletion"} <= {*given}:
        why = "finalizer orphan and foregroundDeletion cannot be both set"
        found.append(invalid_value(path, given, why))
    for index, name in enumerate(given if built_in else ()):
        if "/" not in name and name not in _FINALIZERS:
            why = "name is neither a standard finalizer name nor is it fully qualified"
            found.append(invalid_value(f"{path}[{index}]", name, why))
    return found
