"""Which kind has which columns."""

from weft.cluster.apiserver.tables import machinery, network, pods, workloads
from weft.cluster.apiserver.tables.columns import AGE, CREATED_AT, NAME, Column

DEFAULT: tuple[Column, ...] = (NAME, AGE)

COLUMNS: dict[tuple[str, str], tuple[Column, ...]] = {
    ("", "ConfigMap"): machinery.CONFIG_MAPS,
    ("", "Endpoints"): network.ENDPOINTS,
    ("", "Event"): machinery.EVENTS,
    ("", "LimitRange"): (NAME, CREATED_AT),
    ("", "Namespace"): machinery.NAMESPACES,
    ("", "Node"): machinery.NODES,
    ("", "PersistentVolume"): machinery.VOLUMES,
    ("", "PersistentVolumeClaim"): machinery.CLAIMS,
    ("", "Pod"): pods.PODS,
    ("", "PodTemplate"): workloads.POD_TEMPLATES,
    ("", "ReplicationController"): workloads.REPLICATION_CONTROLLERS,
    ("", "ResourceQuota"): machinery.RESOURCE_QUOTAS,
    ("", "Secret"): machinery.SECRETS,
    ("", "Service"): network.SERVICES,
    ("", "ServiceAccount"): machinery.SERVICE_ACCOUNTS,
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): machinery.WEBHOOKS,
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): machinery.WEBHOOKS,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): (NAME, CREATED_AT),
    ("apps", "ControllerRevision"): workloads.CONTROLLER_REVISIONS,
    ("apps", "DaemonSet"): workloads.DAEMON_SETS,
    ("apps", "Deployment"): workloads.DEPLOYMENTS,
    ("apps", "ReplicaSet"): workloads.REPLICA_SETS,
    ("apps", "StatefulSet"): workloads.STATEFUL_SETS,
    ("autoscaling", "HorizontalPodAutoscaler"): workloads.AUTOSCALERS,
    ("batch", "CronJob"): workloads.CRON_JOBS,
    ("batch", "Job"): workloads.JOBS,
    ("certificates.k8s.io", "CertificateSigningRequest"): machinery.SIGNING_REQUESTS,
    ("coordination.k8s.io", "Lease"): machinery.LEASES,
    ("discovery.k8s.io", "EndpointSlice"): network.ENDPOINT_SLICES,
    ("events.k8s.io", "Event"): machinery.EVENTS,
    ("networking.k8s.io", "Ingress"): network.INGRESSES,
    ("networking.k8s.io", "IngressClass"): network.INGRESS_CLASSES,
    ("networking.k8s.io", "NetworkPolicy"): network.NETWORK_POLICIES,
    ("node.k8s.io", "RuntimeClass"): machinery.RUNTIME_CLASSES,
    ("policy", "PodDisruptionBudget"): workloads.DISRUPTION_BUDGETS,
    ("rbac.authorization.k8s.io", "ClusterRole"): machinery.ROLES,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): machinery.BINDINGS,
    ("rbac.authorization.k8s.io", "Role"): machinery.ROLES,
    ("rbac.authorization.k8s.io", "RoleBinding"): machinery.BINDINGS,
    ("scheduling.k8s.io", "PriorityClass"): machinery.PRIORITY_CLASSES,
    ("storage.k8s.io", "CSIDriver"): machinery.CSI_DRIVERS,
    ("storage.k8s.io", "CSINode"): machinery.CSI_NODES,
    ("storage.k8s.io", "StorageClass"): machinery.STORAGE_CLASSES,
    ("storage.k8s.io", "VolumeAttachment"): machinery.VOLUME_ATTACHMENTS,
}
"""(group, kind) → columns; all other kinds show `DEFAULT`."""
