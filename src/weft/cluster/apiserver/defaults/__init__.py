"""The values that Kubernetes fills in where users leave them out (`pkg/apis/*/v1/defaults.go`)."""

from collections.abc import Callable
from typing import Any

from weft.cluster.apiserver.defaults import access, networking, pods, workloads
from weft.cluster.apiserver.kinds import Kind

Obj = dict[str, Any]

_BY_KIND: dict[tuple[str, str], Callable[[Obj], None]] = {
    ("", "Pod"): pods.pod,
    ("", "PodTemplate"): workloads.pod_template_object,
    ("", "ReplicationController"): workloads.replication_controller,
    ("", "Service"): networking.service,
    ("", "Endpoints"): networking.endpoints,
    ("", "ResourceQuota"): access.spec,
    ("", "Secret"): access.secret,
    ("", "Namespace"): access.namespace,
    ("", "Node"): access.node,
    ("", "LimitRange"): access.limit_range,
    ("", "PersistentVolume"): access.volume,
    ("", "PersistentVolumeClaim"): access.volume_claim,
    ("apps", "Deployment"): workloads.deployment,
    ("apps", "ReplicaSet"): workloads.replica_set,
    ("apps", "DaemonSet"): workloads.daemon_set,
    ("apps", "StatefulSet"): workloads.stateful_set,
    ("autoscaling", "HorizontalPodAutoscaler"): access.autoscaler,
    ("batch", "Job"): workloads.job,
    ("batch", "CronJob"): workloads.cron_job,
    ("coordination.k8s.io", "Lease"): access.spec,
    ("discovery.k8s.io", "EndpointSlice"): networking.endpoint_slice,
    ("networking.k8s.io", "IngressClass"): networking.ingress_class,
    ("networking.k8s.io", "NetworkPolicy"): networking.network_policy,
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): access.mutating_webhooks,
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): access.validating_webhooks,
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"): access.admission_policy,
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"): access.admission_binding,
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): access.admission_policy,
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"): access.admission_binding,
    ("policy", "PodDisruptionBudget"): access.spec,
    ("rbac.authorization.k8s.io", "RoleBinding"): access.role_binding,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): access.role_binding,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): access.custom_resource_definition,
    ("storage.k8s.io", "CSIDriver"): access.csi_driver,
    ("storage.k8s.io", "StorageClass"): access.storage_class,
    ("scheduling.k8s.io", "PriorityClass"): access.priority_class,
}


def fill(kind: Kind, obj: Obj) -> None:
    """Fill in the defaults of a built-in kind, in place."""
    if setter := _BY_KIND.get((kind.group, kind.kind)):
        setter(obj)
